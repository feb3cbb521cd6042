"""A labelled record set and an encoder → the linear probe whose heat map is shown."""

import math
import sys
from pathlib import Path

import numpy as np

from histo_simclr import encoder as encoders
from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.evaluate import folds, probe
from histo_simclr.evaluate.splits import groups_of
from histo_simclr.input import order, reader
from histo_simclr.maps.probe_files import MOST_CLASSES, Probe

# scikit-learn's C on standardized features: configs/linear_eval.py, half as dense.
STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
FOLDS = 5
_BATCH = 256


def fit(record_set: Path, checkpoint: Path, *, split: str, seed: int) -> tuple[Probe, str]:
    """Fits on one split, the strength chosen by folds of whole patients or slides.

    Args:
      record_set: labelled; its test split stays unseen.
      checkpoint: whatever `encoder.load_encoder` takes.
      split: fitted on.
      seed: of the folds.

    Returns:
      The probe, and a line that says how it came about.

    Raises:
      InputError: no such set or encoder, no labels, or too few or too many classes.
    """
    opened = records.load_record_set(record_set, split)
    classes, labels = _classes(opened, split)
    encoder = encoders.load_encoder(checkpoint)
    print(f"probe: features of {len(labels):,} patches of {opened.path} …", file=sys.stderr)
    features = _features(encoder, opened.rows)
    groups = groups_of(opened.columns)
    names, unit = groups.names, groups.unit
    try:
        folds.grouped_folds(labels, names, folds=FOLDS, seed=seed)
    except InputError:
        # A class of one patient only: single patches choose C, which is too kind.
        names, unit = np.arange(len(labels)).astype(str), "patch"
    fitted = probe.fit(
        features,
        labels=labels,
        groups=names,
        num_classes=len(classes),
        strengths=STRENGTHS,
        folds=FOLDS,
        seed=seed,
    )
    loss = fitted.validation[STRENGTHS.index(fitted.strength)]
    said = (
        f"linear probe of {len(labels):,} patches of {opened.path.parent.name} ({split}), "
        f"{len(classes)} classes, C = {fitted.strength:g}; cross-entropy {loss:.3f} on folds by "
        f"{unit} (knowing nothing: {math.log(len(classes)):.3f})"
    )
    return Probe(fitted.weights, fitted.bias, classes, encoder.sha256), said


def _classes(opened: records.RecordSet, split: str) -> tuple[list[str], np.ndarray]:
    """Names of the classes that the split has, in the set's order, and each row's number."""
    if opened.class_names is None:
        raise InputError(
            "record set without labels",
            where=opened.path,
            way_out="prepare it with --labels or --pattern, or choose a labelled one",
        )
    given = opened.columns["label"].astype(str)
    classes = [name for name in opened.class_names if name in set(given.tolist())]
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise InputError(
            f"{len(classes)} classes in the split {split!r}; 2 to {MOST_CLASSES} can be shown",
            where=opened.path,
            way_out="choose another record set, or another --split",
        )
    number = {name: index for index, name in enumerate(classes)}
    return classes, np.array([number[name] for name in given.tolist()])


def _features(encoder: encoders.Encoder, rows: records.Rows) -> np.ndarray:
    sequence, _ = order.sequential(len(rows), _BATCH)
    batches = reader.read(rows, sequence.__getitem__, start=0, stop=len(sequence))
    return np.concatenate(list(encoder.stream(batches)))[: len(rows)]
