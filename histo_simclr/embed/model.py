"""The encoder of a job: its weights, what it expects of patches, what files say of it."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from histo_simclr import encoder
from histo_simclr.embed import layouts
from histo_simclr.errors import InputError
from histo_simclr.model.resnet import ResNet
from histo_simclr.provenance import Provenance
from histo_simclr.slides.resolution import LARGEST, SMALLEST
from histo_simclr.weights import label, names


class Model(NamedTuple):
    """An encoder in eval mode, its provenance, and the digest of its weights."""

    network: ResNet
    provenance: Provenance
    sha256: str


def load(source: str | Path) -> Model:
    """The encoder of whatever holds one, as `encoder.load_encoder` takes it.

    Raises:
      InputError: no encoder there, a damaged one, or one of unknown normalization.
    """
    network, provenance = encoder.read(source)
    return Model(network, provenance, label.model_sha256(names.to_torch(network)))


def mpp_for(model: Model, asked: float, where: object) -> float:
    """The µm/px to read patches at: the one asked for, else the only one the encoder knows.

    Raises:
      InputError: none was asked for, and the encoder was trained on several, or does not say; an
        absurd one was asked for.
    """
    if asked:
        if not SMALLEST <= asked <= LARGEST:
            raise InputError(
                f"{asked:g}", where="--mpp", way_out=f"give µm/px, {SMALLEST:g} to {LARGEST:g}"
            )
        return asked
    known = [each for each in model.provenance.mpp if each]
    if len(known) == 1 and len(model.provenance.mpp) == 1:
        return known[0]
    said = f"was trained on {', '.join(f'{each:g}' for each in known)} µm/px" if known else ""
    if known and len(known) < len(model.provenance.mpp):
        said += " and on patches of unknown µm/px"
    raise InputError(
        f"this encoder {said or 'does not say on which µm/px it was trained'}",
        where=where,
        way_out="give the µm/px to read patches at, e.g. --mpp "
        f"{min(known, key=lambda each: abs(each - 0.5)) if known else 0.5:g}",
    )


def attributes(model: Model, px: int) -> dict[str, Any]:
    """What the dataset `features` says of the encoder."""
    return {
        "model_sha256": model.sha256,
        "mean": np.array(model.provenance.mean),
        "std": np.array(model.provenance.std),
        "input_size": px,
        "interpolation": layouts.INTERPOLATION,
        "histo_simclr_version": label.version(),
    }
