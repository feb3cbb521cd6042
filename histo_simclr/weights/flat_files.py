"""An encoder as one file of tensors under torchvision's names: torch, safetensors, npz.

Each says of itself what every export says (`weights.label`); a torch file cannot carry text, so a
JSON file of the same name lies beside it.
"""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np

from histo_simclr import workdir
from histo_simclr.model.resnet import ResNet
from histo_simclr.provenance import Provenance
from histo_simclr.weights import names, npz_file, safetensors_file, torch_file
from histo_simclr.weights.label import KEY


def write_torch(encoder: ResNet, provenance: Provenance, label: dict[str, Any], out: Path) -> None:
    """A state dict for `torch.load(weights_only=True)`, and `sidecar(out)`.

    Args:
      encoder, provenance: what is written.
      label: `label.label` of them.
      out: file to write.

    Raises:
      OSError: it cannot be written.
    """
    torch_file.write(out, names.to_torch(encoder))
    workdir.write_json(sidecar(out), looks(provenance) | {KEY: label})


def write_safetensors(
    encoder: ResNet, provenance: Provenance, label: dict[str, Any], out: Path
) -> None:
    """As `write_torch`: a safetensors file with the label in its metadata."""
    # `format` is what transformers asks for, and means torch's names and order of axes.
    metadata = {"format": "pt"} | {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in (looks(provenance) | {KEY: label}).items()
    }
    safetensors_file.write(out, names.to_torch(encoder), metadata)


def write_npz(encoder: ResNet, provenance: Provenance, label: dict[str, Any], out: Path) -> None:
    """As `write_torch`: arrays for `np.load` without pickle; the label is one of them, as text."""
    told = (KEY, np.array(json.dumps(label)))
    npz_file.write(out, itertools.chain(names.to_torch(encoder).items(), [told]))


def sidecar(path: Path) -> Path:
    """The JSON file beside a torch file."""
    return path.with_name(path.name + ".json")


def looks(provenance: Provenance) -> dict[str, Any]:
    """What a reader of the file wants to know first: how the input must look."""
    return {
        "architecture": provenance.arch,
        "input_size": [3, provenance.px, provenance.px],
        "mean": list(provenance.mean),
        "std": list(provenance.std),
        "mpp": [value for value in provenance.mpp if value > 0],
    }
