"""Linear probes in npz files: what turns features into the probability of each class.

  weights  (D, K) floats, of features as the H5 files hold them
  bias     (K,)
  classes  (K,) text
  model_sha256  text, of the encoder's weights; empty, or left out, when it is not known

Any program that has numpy can write one: of scikit-learn's LogisticRegression,
numpy.savez("probe.npz", weights=fitted.coef_.T, bias=fitted.intercept_, classes=fitted.classes_);
of two classes it has one column, which is the second class's.
"""

import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from histo_simclr.errors import InputError
from histo_simclr.prepare import storage

# Each class costs a page one byte a patch.
MOST_CLASSES = 32
_TORN = (OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)


class Probe(NamedTuple):
    """weights: (D, K) float64; bias: (K,); classes: K names; model: sha256, empty if unknown."""

    weights: np.ndarray
    bias: np.ndarray
    classes: list[str]
    model: str


def read(path: str | Path) -> Probe:
    """A probe of the form above.

    Raises:
      InputError: no such file, torn, or arrays that do not fit each other.
    """
    path = Path(path)
    try:
        # numpy leaves open what it finds to be torn.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except _TORN as error:
        found = "no such file" if not path.is_file() else "no npz file, or a torn one"
        raise _unusable(path, found) from error
    if missing := [name for name in ("weights", "bias", "classes") if name not in arrays]:
        raise _unusable(path, f"lacks {', '.join(missing)}")
    weights, bias, classes = (np.asarray(arrays[name]) for name in ("weights", "bias", "classes"))
    if weights.ndim != 2 or weights.dtype.kind != "f" or bias.shape != weights.shape[1:]:
        raise _unusable(path, f"weights {weights.shape} do not go with bias {bias.shape}")
    if weights.shape[1] == 1 and len(classes) == 2:
        # The logit of the second class against the first.
        weights = np.concatenate([np.zeros_like(weights), weights], axis=1)
        bias = np.concatenate([np.zeros_like(bias), bias])
    if classes.shape != bias.shape:
        raise _unusable(path, f"{len(np.ravel(classes))} classes for {len(bias)} columns")
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise _unusable(path, f"{len(classes)} classes; 2 to {MOST_CLASSES} can be shown")
    if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
        raise _unusable(path, "weights with NaN or inf")
    model = str(arrays.get("model_sha256", ""))
    return Probe(weights.astype(np.float64), bias.astype(np.float64), _names(classes), model)


def write(path: Path, probe: Probe) -> None:
    """Writes what `read` reads, whole or not at all."""
    with storage.new_file(str(path)) as file:
        np.savez(
            file,
            weights=probe.weights,
            bias=probe.bias,
            classes=np.array(probe.classes),
            model_sha256=np.array(probe.model),
        )


def probabilities(probe: Probe, features: np.ndarray) -> np.ndarray:
    """(n, K) float64 of features (n, D)."""
    logits = features @ probe.weights + probe.bias
    logits -= logits.max(1, keepdims=True)
    shares = np.exp(logits)
    return shares / shares.sum(1, keepdims=True)


def check(probe: Probe, *, dimensions: int, model: str, where: object) -> None:
    """Refuses a probe of another encoder.

    Raises:
      InputError: another number of features, or other weights of the encoder.
    """
    if len(probe.weights) != dimensions:
        raise InputError(
            f"is for {len(probe.weights)} features, the slides have {dimensions}",
            where=where,
            way_out="fit the probe on features of the same encoder (--labels, --checkpoint)",
        )
    if probe.model and model and probe.model != model:
        raise InputError(
            f"is for the encoder {probe.model[:12]}…, the slides' features are of {model[:12]}…",
            where=where,
            way_out="fit the probe on features of the same encoder (--labels, --checkpoint)",
        )


def _names(classes: np.ndarray) -> list[str]:
    return [
        each.decode("utf-8", "replace") if isinstance(each, bytes) else str(each)
        for each in classes.tolist()
    ]


def _unusable(path: Path, what: str) -> InputError:
    return InputError(
        what,
        where=path,
        way_out="give an npz of weights (D, K), bias (K,) and classes (K,), as "
        "histo-simclr look --labels RECORD_SET --checkpoint CHECKPOINT writes it",
    )
