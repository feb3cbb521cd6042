"""The linear evaluation program: checkpoint and labelled set → table, picture, results.json.

Features are extracted once an encoder. A probe is solved for every strength on whole groups of the
training split, the strength is chosen on its other groups, and the probe of the whole training
split at that strength is measured on the test split, which nothing before has seen.
"""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np
from flax import nnx

from histo_simclr import checkpoint, pictures, processes, workdir
from histo_simclr import mesh as meshes
from histo_simclr.errors import InputError
from histo_simclr.evaluate import extract, labelled, metrics, splits
from histo_simclr.evaluate.probe import Probed, probe
from histo_simclr.evaluate.results import format_table, measure, plain
from histo_simclr.model.resnet import ResNet
from histo_simclr.provenance import Provenance
from histo_simclr.records import Rows

PRETRAINED, RANDOM, HISTOGRAM = "pretrained", "random init", "color histogram"
HISTOGRAM_BINS = 32  # a channel
CHECKED = ("floors", "strengths", "validation_fraction", "resamples", "batch_size", "seed")


def run(config: ml_collections.ConfigDict, place: Path) -> None:
    """Evaluates `config.checkpoint` on `config.records`, prints the table, writes into `place`.

    Raises:
      InputError: no or bad checkpoint, record set or workdir.
    """
    if not config.checkpoint:
        raise InputError(
            "no checkpoint given",
            where="config.checkpoint",
            way_out="set --config.checkpoint=WORKDIR of a pretraining run",
        )
    processes.start()
    record_set, unprepared = config.records, config.records.startswith("tfds:")
    step_dir = checkpoint.resolve(config.checkpoint)
    settings = {
        key: value
        for key, value in config.items()
        if key not in ("program", "checkpoint", "records")
    }
    # A mistake found from here on leaves no workdir that belongs to a mistaken configuration.
    check_settings(settings)
    if not unprepared:
        labelled.open_splits(record_set, config.train_split, config.test_split)
    identity = json.loads(config.to_json_best_effort())
    with workdir.claim(place, identity, writer=jax.process_index() == 0):
        if unprepared:
            px = checkpoint.read_provenance(step_dir).px
            tell(f"{record_set}: preparing it as a record set of {px} px in {place / 'records'}")
            record_set = labelled.prepare_tfds(record_set, px=px, out=place / "records")
        results = evaluate_checkpoint(
            step_dir,
            record_set,
            mesh=meshes.make(),
            out=place,
            **settings,
        )
    if jax.process_index() == 0:
        print(format_table(results), flush=True)


def evaluate_checkpoint(
    path: str | Path, record_set: str | Path, *, mesh: jax.sharding.Mesh, **settings: Any
) -> dict[str, Any]:
    """`evaluate` of the encoder of a workdir (its newest checkpoint) or of one step's folder."""
    encoder, provenance, step_dir = checkpoint.load_encoder(path)
    named = step_dir.parents[1] if step_dir.parent.name == checkpoint.FOLDER else step_dir
    origin = {"name": named.name, "step": int(step_dir.name) if step_dir.name.isdigit() else None}
    return evaluate(encoder, provenance, record_set, origin=origin, mesh=mesh, **settings)


def evaluate(
    encoder: ResNet,
    provenance: Provenance,
    record_set: str | Path,
    *,
    origin: dict[str, Any],
    mesh: jax.sharding.Mesh,
    out: Path | None,
    train_split: str,
    test_split: str,
    batch_size: int,
    strengths: Sequence[float],
    validation_fraction: float,
    resamples: int,
    seed: int,
    floors: Sequence[str],
) -> dict[str, Any]:
    """Probes an encoder and its floors on one labelled record set.

    Args:
      encoder: in eval mode.
      provenance: says what input the encoder expects.
      record_set: folder written by `histo-simclr prepare`, with labels.
      origin: name and step of the checkpoint, for the results.
      mesh: features are extracted on it.
      out: folder for results.json and confusion_matrix.png; None writes nothing.
      train_split, test_split: of the record set.
      batch_size: patches at a time; changes no result.
      strengths: candidates for C of scikit-learn's objective, on standardized features.
      validation_fraction: share of the training split that chooses C, in whole groups; in (0, 1).
      resamples: of the bootstrap.
      seed: of random init, validation split and bootstrap.
      floors: any of "random init" and "color histogram".

    Returns:
      Plain JSON values, equal for equal arguments: what was judged; each row's metrics with 95 %
      intervals; each floor's paired difference. The last row is the encoder's.

    Raises:
      InputError: unlabelled set, bad labels, a group on both sides, corrupt records, bad settings,
        or `out` cannot be written.
      NotConverged: a probe did not reach its optimum.
    """
    _check(
        floors=floors,
        strengths=strengths,
        validation_fraction=validation_fraction,
        resamples=resamples,
        batch_size=batch_size,
        seed=seed,
    )
    parts = labelled.open_splits(record_set, train_split, test_split)
    writes = out is not None and jax.process_index() == 0
    if writes:
        # Now: a folder that cannot be made should not cost the minutes of an evaluation.
        with workdir.naming_disk_trouble(out):
            out.mkdir(parents=True, exist_ok=True)
    held, by_group = splits.grouped_holdout(
        parts.labels[0], parts.groups[0].names, fraction=validation_fraction, seed=seed
    )
    rows = {}
    for name in (*floors, PRETRAINED):
        tell(f"{name}: features and probe of {sum(map(len, parts.labels)):,} patches …")
        judged = untrained(provenance.arch, seed) if name == RANDOM else encoder
        settings = {"batch_size": batch_size, "mesh": mesh}
        features = [
            _features(name, judged, part.rows, provenance, **settings) for part in parts.record_sets
        ]
        rows[name] = probe(
            *features,
            labels=parts.labels[0],
            held=held,
            num_classes=len(parts.classes),
            strengths=tuple(strengths),
        )
    groups = parts.groups[1]
    grouped = groups.kind != "example" and groups.count() >= metrics.MIN_GROUPS
    results = plain(
        {
            "format": 1,
            "checkpoint": origin | {"arch": provenance.arch, "provenance": _digest(provenance)},
            "records": labelled.describe(parts, train_split, test_split),
            "strengths": list(strengths),
            "seed": seed,
            "validation": {
                "fraction": validation_fraction,
                "patches": int(held.sum()),
                "unit": parts.groups[0].unit if by_group else "patch",
            },
            "bootstrap": {
                "resamples": resamples,
                "unit": groups.unit if grouped else "patch",
                "units": groups.count() if grouped else len(groups.names),
            },
            "notes": labelled.notes(parts, provenance, validated_by_group=by_group)
            + _ends(rows, strengths),
        }
        | measure(
            rows,
            parts.labels[1],
            groups.names if grouped else None,
            classes=parts.classes,
            resamples=resamples,
            seed=seed,
        )
    )
    if writes:
        _write(results, out)
    return results


def untrained(arch: str, seed: int) -> ResNet:
    """The floor of an architecture: fresh parameters, BatchNorm's initial statistics."""
    encoder = ResNet(arch, rngs=nnx.Rngs(seed))
    encoder.eval()
    return encoder


def _features(
    name: str,
    encoder: ResNet,
    rows: Rows,
    provenance: Provenance,
    *,
    batch_size: int,
    mesh: jax.sharding.Mesh,
) -> np.ndarray:
    if name == HISTOGRAM:
        return extract.color_histogram(rows, bins=HISTOGRAM_BINS, batch_size=batch_size)
    return extract.features(
        encoder,
        rows,
        px=provenance.px,
        mean=provenance.mean,
        std=provenance.std,
        batch_size=batch_size,
        mesh=mesh,
    )


def _ends(rows: dict[str, Probed], strengths: Sequence[float]) -> list[str]:
    return [
        f"{name}: C = {row.strength:g} is at the end of the strengths tried"
        for name, row in rows.items()
        if len(strengths) > 1 and row.strength in (min(strengths), max(strengths))
    ]


def tell(text: str) -> None:
    """Progress on stderr, of the first process only."""
    if jax.process_index() == 0:
        print(text, file=sys.stderr, flush=True)


def check_settings(settings: Mapping[str, Any], *, where: str = "config") -> None:
    """InputError when a setting of `evaluate` cannot be used; for checks before long work.

    `where` names the part of the configuration that the settings are.
    """
    _check(where=where, **{key: settings[key] for key in CHECKED})


def _check(
    *,
    floors: Sequence[str],
    strengths: Sequence[float],
    validation_fraction: float,
    resamples: int,
    batch_size: int,
    seed: int,
    where: str = "config",
) -> None:
    unknown = [floor for floor in floors if floor not in (RANDOM, HISTOGRAM)]
    for key, value, wrong, way_out in (
        ("floors", unknown, unknown, f"choose from {RANDOM!r} and {HISTOGRAM!r}"),
        ("strengths", strengths, not strengths or min(strengths) <= 0, "give values above 0"),
        (
            "validation_fraction",
            validation_fraction,
            not 0 < validation_fraction < 1,
            "give a share between 0 and 1",
        ),
        ("resamples", resamples, resamples < 1, "give 1 or more"),
        ("batch_size", batch_size, batch_size < 1, "give 1 or more"),
        ("seed", seed, seed < 0, "give 0 or more"),
    ):
        if wrong:
            raise InputError(f"cannot be {value}", where=f"{where}.{key}", way_out=way_out)


def _digest(provenance: Provenance) -> str:
    return hashlib.sha256(json.dumps(provenance.to_json(), sort_keys=True).encode()).hexdigest()


def _write(results: dict[str, Any], out: Path) -> None:
    judged = results["rows"][-1]
    with workdir.naming_disk_trouble(out):
        pictures.confusion_matrix(
            np.array(judged["confusion"]),
            results["records"]["classes"],
            out / "confusion_matrix.png",
            title=f"{results['records']['name']}, {judged['name']}: "
            f"macro-F1 {judged['macro_f1']['value']:.3f}",
        )
        workdir.write_json(out / "results.json", results)
