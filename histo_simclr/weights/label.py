"""What every export says of itself, in one JSON value under the key `histo_simclr`.

Provenance, fingerprint and digest of the weights travel with the tensors, in whatever place a
format has for it: metadata of safetensors and ONNX, an entry of an npz, a file beside the others.
"""

import hashlib
import importlib.metadata
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from histo_simclr import fingerprint
from histo_simclr.errors import InputError
from histo_simclr.model.resnet import ResNet
from histo_simclr.provenance import Provenance
from histo_simclr.weights import names

KEY = "histo_simclr"
FORMAT_VERSION = 1


class Label(NamedTuple):
    """What `label` wrote: provenance, `fingerprint.to_json`, and the digest of the weights."""

    provenance: Provenance
    fingerprint: dict[str, Any]
    model_sha256: str


def label(encoder: ResNet, provenance: Provenance) -> dict[str, Any]:
    """Plain JSON values for an encoder in eval mode; the fingerprint is computed here."""
    looks = {"px": provenance.px, "mean": provenance.mean, "std": provenance.std}
    return {
        "format_version": FORMAT_VERSION,
        "provenance": provenance.published().to_json(),
        "fingerprint": fingerprint.to_json(fingerprint.compute(encoder, **looks)),
        "model_sha256": model_sha256(names.to_torch(encoder)),
        "exported_by": f"histo-simclr {version()}",
    }


def version() -> str:
    """Of this package; "unknown" in a checkout that was not installed."""
    try:
        return importlib.metadata.version("histo-simclr")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def read(content: Any, *, where: object) -> Label:
    """What a file says of itself.

    Raises:
      InputError: it is no label, or one of a later version of histo_simclr.
    """
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        found = "no label of histo_simclr" if version is None else f"a label of version {version}"
        raise InputError(
            f"carries {found}", where=where, way_out="get it anew, or update histo_simclr"
        )
    if missing := {"provenance", "fingerprint", "model_sha256"} - content.keys():
        raise InputError(
            f"its label lacks {', '.join(sorted(missing))}", where=where, way_out="get it anew"
        )
    if not isinstance(content["fingerprint"], dict):
        raise InputError("its label has no fingerprint", where=where, way_out="get it anew")
    provenance = Provenance.from_json(content["provenance"], where=where)
    return Label(provenance, content["fingerprint"], content["model_sha256"])


def model_sha256(tensors: Mapping[str, np.ndarray]) -> str:
    """Digest of an encoder's weights: of sorted torchvision names and their float32 bytes.

    The same for a checkpoint and all that was exported of it, whatever the format.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        if not name.endswith(names.BATCHES):
            digest.update(name.encode() + b"\0")
            digest.update(np.ascontiguousarray(tensors[name], "<f4").tobytes())
    return digest.hexdigest()
