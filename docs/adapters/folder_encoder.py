"""A folder of `histo-simclr export --format timm` (or hf) → model and transform, by timm alone.

Works with timm from 0.9.16 on, which TRIDENT pins; `local-dir:` came later.
"""

import json
from collections.abc import Callable
from pathlib import Path

import timm
import torch


def load(folder: str) -> tuple[torch.nn.Module, Callable]:
    """The encoder in eval mode, and what makes its input of a PIL image.

    Args:
      folder: with config.json and model.safetensors.
    """
    config = json.loads(Path(folder, "config.json").read_text())
    # Strict: every tensor of the file is loaded, and every one of the model is in the file.
    model = timm.create_model(
        config["architecture"],
        num_classes=0,
        checkpoint_path=str(Path(folder, "model.safetensors")),
    )
    look = timm.data.resolve_data_config({}, pretrained_cfg=config["pretrained_cfg"])
    return model.eval(), timm.data.create_transform(**look)


def microns_per_pixel(folder: str) -> list[float]:
    """µm/px that the encoder was trained on; cut patches at one of them."""
    return json.loads(Path(folder, "config.json").read_text())["histo_simclr"]["mpp"]
