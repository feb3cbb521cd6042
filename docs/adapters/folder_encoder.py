"""A folder of `histo-simclr export --format timm` (or hf) → model and transform, by timm alone.

Works with timm from 0.9.16 on, which TRIDENT pins; `local-dir:` came later.
"""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image

TOLERANCE = 1e-3  # of the largest feature, as histo_simclr itself has it


def load(folder: str) -> tuple[torch.nn.Module, Callable]:
    """The encoder in eval mode, and what makes its input of a PIL image.

    Args:
      folder: with config.json and model.safetensors.

    Raises:
      ValueError: weights or normalization are not those that the folder was written with.
    """
    config = json.loads(Path(folder, "config.json").read_text())
    # Strict: every tensor of the file is loaded, and every one of the model is in the file.
    model = timm.create_model(
        config["architecture"],
        num_classes=0,
        checkpoint_path=str(Path(folder, "model.safetensors")),
    )
    look = timm.data.resolve_data_config({}, pretrained_cfg=config["pretrained_cfg"])
    _check(model.eval(), look, config["histo_simclr"]["fingerprint"], Path(folder))
    return model, timm.data.create_transform(**look)


def microns_per_pixel(folder: str) -> list[float]:
    """µm/px that the encoder was trained on; cut patches at one of them."""
    return json.loads(Path(folder, "config.json").read_text())["histo_simclr"]["mpp"]


def _check(model: torch.nn.Module, look: dict, stored: dict, folder: Path) -> None:
    """Eight patches that lie in the folder must give the features that the export gave."""
    strip = torch.tensor(np.array(Image.open(folder / "fingerprint_patches.png")))
    side = strip.shape[0]
    pixels = strip.reshape(side, -1, side, 3).permute(1, 3, 0, 2) / 255
    pixels = torch.nn.functional.interpolate(
        pixels, look["input_size"][1:], mode="bilinear", antialias=True
    )
    mean, std = torch.tensor([look["mean"], look["std"]])[:, :, None, None]
    with torch.inference_mode():
        found = model((pixels - mean) / std).numpy()
    expected = np.frombuffer(base64.b64decode(stored["float32"]), "<f4").reshape(stored["shape"])
    if not np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max():
        raise ValueError(f"{folder}: gives other features than it was exported with: get it anew")
