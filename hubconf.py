"""Encoders for `torch.hub.load`, from files and folders that `histo-simclr export` wrote.

    repo = "/path/to/this/repository"  # or "OWNER/NAME" on GitHub, without source="local"
    encoder = torch.hub.load(repo, "resnet18", weights="encoder.safetensors", source="local")
    look = torch.hub.load(repo, "transform", weights="encoder.safetensors", source="local")
    features = encoder(look(patch).unsqueeze(0))  # patch: PIL image, RGB

`weights` is what `--format torch`, `safetensors`, `timm` or `hf` wrote. Needs torch, torchvision
and safetensors, and neither JAX nor the package of this repository. Nothing is downloaded.
"""

import base64
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image

dependencies = ["torch", "torchvision", "safetensors"]

_LABEL = "histo_simclr"
_TOLERANCE = 1e-3  # of the largest feature, as histo_simclr.fingerprint


def resnet18(weights: str) -> torch.nn.Module:
    """ResNet-18: (N, 3, px, px), normalized → (N, 512). In eval mode."""
    return _encoder("resnet18", Path(weights))


def resnet34(weights: str) -> torch.nn.Module:
    """ResNet-34: (N, 3, px, px), normalized → (N, 512). In eval mode."""
    return _encoder("resnet34", Path(weights))


def resnet50(weights: str) -> torch.nn.Module:
    """ResNet-50: (N, 3, px, px), normalized → (N, 2048). In eval mode."""
    return _encoder("resnet50", Path(weights))


def resnet101(weights: str) -> torch.nn.Module:
    """ResNet-101: (N, 3, px, px), normalized → (N, 2048). In eval mode."""
    return _encoder("resnet101", Path(weights))


def transform(weights: str) -> torchvision.transforms.Compose:
    """PIL image, RGB → (3, px, px) as the encoder in `weights` expects it."""
    return _transform(_label(Path(weights)))


def _transform(label: dict) -> torchvision.transforms.Compose:
    looks, steps = label["provenance"], torchvision.transforms
    return steps.Compose(
        [
            steps.Resize((looks["px"], looks["px"]), antialias=True),
            steps.ToTensor(),
            steps.Normalize(looks["mean"], looks["std"]),
        ]
    )


def _encoder(arch: str, path: Path) -> torch.nn.Module:
    label = _label(path)
    if (found := label["provenance"]["arch"]) != arch:
        raise ValueError(f"{path}: holds a {found}, not a {arch}")
    encoder = getattr(torchvision.models, arch)(weights=None)
    encoder.fc = torch.nn.Identity()
    encoder.load_state_dict(_tensors(path))  # every key, or an error
    encoder.eval()
    _check(encoder, label, path)
    return encoder


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    import safetensors.torch

    file = path / "model.safetensors" if path.is_dir() else path
    if file.suffix == ".safetensors":
        return safetensors.torch.load_file(file)
    return torch.load(file, map_location="cpu", weights_only=True)


def _label(path: Path) -> dict:
    """What the export says of itself: provenance and fingerprint."""
    import safetensors

    file = path / "model.safetensors" if path.is_dir() else path
    if file.suffix == ".safetensors":
        with safetensors.safe_open(file, "pt") as opened:
            text = (opened.metadata() or {}).get(_LABEL)
        label = None if text is None else json.loads(text)
    else:
        beside = file.with_name(f"{file.name}.json")
        label = json.loads(beside.read_text())[_LABEL] if beside.is_file() else None
    if label is None:
        raise ValueError(f"{path}: not written by `histo-simclr export`, or its .json is missing")
    if path.is_dir():
        _check_agreement(json.loads((path / "config.json").read_text()), label, path)
    return label


def _check_agreement(config: dict, label: dict, path: Path) -> None:
    for name in ("mean", "std"):
        theirs, ours = config["pretrained_cfg"].get(name), label["provenance"][name]
        if theirs != ours:
            raise ValueError(f"{path}: config.json says {name} {theirs}, the label {ours}")


def _check(encoder: torch.nn.Module, label: dict, path: Path) -> None:
    """Refuses weights that do not give the features they were exported with."""
    strip = np.asarray(Image.open(Path(__file__).parent / "histo_simclr/fingerprint_patches.png"))
    side, looks, stored = strip.shape[0], label["provenance"], label["fingerprint"]
    if not isinstance(stored, dict):
        raise ValueError(f"{path}: its label has no fingerprint: get it anew")
    # Patches side by side: (row, patch, column, channel) → (patch, channel, row, column).
    patches = strip.reshape(side, -1, side, 3).transpose(1, 3, 0, 2)
    digest = hashlib.sha256(patches.transpose(0, 2, 3, 1).tobytes()).hexdigest()
    if stored["patches"] != digest:
        raise ValueError(f"{path}: its fingerprint is of other patches: update this repository")
    pixels = torch.tensor(patches.copy()) / 255
    pixels = torchvision.transforms.functional.resize(pixels, [looks["px"]] * 2, antialias=True)
    with torch.inference_mode():
        mean, std = torch.tensor([looks["mean"], looks["std"]])[:, :, None, None]
        found = encoder((pixels - mean) / std).numpy()
    expected = np.frombuffer(base64.b64decode(stored["float32"]), "<f4").reshape(stored["shape"])
    if not np.abs(found - expected).max() <= _TOLERANCE * np.abs(expected).max():
        raise ValueError(f"{path}: gives other features than it was exported with: get it anew")
