"""Labelled record sets for evaluation: opened, checked, described. Reads manifests, no pixels."""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.evaluate import metrics, splits
from histo_simclr.provenance import Provenance


class Labelled(NamedTuple):
    """A labelled record set, checked; of each pair the first is train, the second test."""

    path: Path
    record_sets: tuple[records.RecordSet, records.RecordSet]
    labels: tuple[np.ndarray, np.ndarray]
    groups: tuple[splits.Groups, splits.Groups]
    classes: list[str]


def open_splits(path: str | Path, train_split: str, test_split: str) -> Labelled:
    """Opens both splits of a labelled record set and refuses what would make results untrue.

    Raises:
      InputError: unlabelled, bad labels, or a patient or slide in both splits.
    """
    train, test = (records.load_record_set(path, split) for split in (train_split, test_split))
    if train.class_names is None:
        raise InputError(
            "record set without labels",
            where=path,
            way_out="prepare it with --labels or --pattern, or choose a labelled one",
        )
    groups = splits.groups_of(train.columns), splits.groups_of(test.columns)
    splits.check_disjoint(*groups, where=path)
    *labels, classes = splits.encode_labels(
        train.columns["label"], test.columns["label"], train.class_names, where=path
    )
    return Labelled(train.path, (train, test), tuple(labels), groups, classes)


def describe(labelled: Labelled, train_split: str, test_split: str) -> dict[str, Any]:
    """What was evaluated on, as JSON values; `digest` changes with any key, pixel or label."""
    digest = hashlib.sha256()
    described = {}
    names = {"train": train_split, "test": test_split}
    for (key, split), part, labels, groups in zip(
        names.items(), labelled.record_sets, labelled.labels, labelled.groups, strict=True
    ):
        columns = part.columns
        for row in zip(columns["key"], columns["pixels_sha256"], columns["label"], strict=True):
            digest.update(json.dumps([split, *map(str, row)]).encode())
        described[key] = {
            "split": split,
            "patches": len(part.rows),
            "groups": groups.count(),
            "group": groups.unit,
            "classes": np.bincount(labels, minlength=len(labelled.classes)).tolist(),
        }
    return described | {
        "name": labelled.path.parent.name,
        "px": labelled.record_sets[0].rows.px,
        "classes": labelled.classes,
        "digest": digest.hexdigest(),
    }


def notes(labelled: Labelled, provenance: Provenance, *, validated_by_group: bool) -> list[str]:
    """What a reader of the results must know to believe them no more than they deserve."""
    said = []
    train, test = labelled.groups
    if test.kind == "example":
        said.append("patients and slides are unknown: intervals hold for patches, not patients")
    elif test.count() < metrics.MIN_GROUPS:
        said.append(
            f"only {test.count()} test {test.kind}(s): intervals hold for more patches of the same"
        )
    if train.kind != "example" and not validated_by_group:
        said.append(f"no {train.kind} could be spared for validation: single patches chose C")
    columns = labelled.record_sets[1].columns
    cohorts = set(map(str, columns["cohort"]))
    for stage, each in enumerate(provenance.lineage()):
        if seen := sorted(cohorts & set(each.mix.get("cohorts", ()))):
            whose = " of the weights it started from" if stage else ""
            names = ", ".join(seen)
            said.append(f"the pretraining mix{whose} holds patches of {names} too, without labels")
    mpp, known = (
        sorted({round(float(x), 3) for x in found} - {0.0})
        for found in (columns["mpp"], provenance.mpp)
    )
    if mpp and known and not known[0] <= mpp[0] <= mpp[-1] <= known[-1]:
        said.append(f"patches at {_span(mpp)} µm/px, the encoder saw {_span(known)}")
    return said


def prepare_tfds(name: str, *, px: int, out: Path) -> Path:
    """What `histo-simclr prepare NAME --out OUT --px PX` does, unless it was done before.

    Args:
      name: tfds:NAME[/CONFIG][:VERSION].
      px: side of the stored patches.
      out: folder of record sets, seen by all processes; the first of them writes.

    Returns:
      The record set.

    Raises:
      InputError: no such set, not on this machine, or it cannot be prepared.
    """
    from histo_simclr.prepare import write

    cohort = name.removeprefix("tfds:").split(":")[0].replace("/", "_")
    if jax.process_index() == 0 and not any(out.glob("*/*/manifest.parquet")):
        parser = argparse.ArgumentParser()
        write.add_arguments(parser)
        write.run(parser.parse_args([name, "--name", cohort, "--out", str(out), "--px", str(px)]))
    multihost_utils.sync_global_devices("labelled set prepared")
    return records.resolve_record_set(out)


def _span(values: list[float]) -> str:
    low, high = f"{values[0]:g}", f"{values[-1]:g}"
    return low if low == high else f"{low} to {high}"
