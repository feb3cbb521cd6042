"""Protocols that learn more than a head: fine-tuning, and a U-Net on the encoder's stages."""

from typing import Any

import numpy as np

from histo_simclr.errors import InputError
from histo_simclr.evaluate import finetune as finetuning
from histo_simclr.evaluate import masked, overlap, overlap_metrics, segment, splits
from histo_simclr.evaluate.segment_step import Pixels
from histo_simclr.suite.cells import Inputs, Outcome
from histo_simclr.suite.frozen import outcome

SHOWN = 3  # images of each end, worst and best


def finetune(inputs: Inputs, *, validation_fraction: float, **settings: Any) -> Outcome:
    """Encoder and linear layer trained together; held-out groups choose the epoch."""
    train, provenance = inputs.task.train, inputs.candidate.provenance
    rows, groups = np.flatnonzero(inputs.chosen), train.groups.names[inputs.chosen]
    truth = train.truth[rows]
    is_regression = inputs.task.kind == "regression"
    labels = np.zeros(len(rows), np.int64) if is_regression else truth
    held, by_group = splits.grouped_holdout(
        labels, groups, fraction=validation_fraction, seed=inputs.seed
    )
    parts = [
        finetuning.Examples(train.rows.take(rows[part]), truth[part]) for part in (~held, held)
    ]
    done = finetuning.finetune(
        inputs.network(),
        provenance,
        *parts,
        inputs.task.test.rows,
        num_classes=None if is_regression else len(inputs.task.classes),
        mesh=inputs.mesh,
        seed=inputs.seed,
        dtype=inputs.dtype,
        tell=inputs.tell,
        **settings,
    )
    notes = [] if by_group else ["no group could be spared for validation: patches chose"]
    predictions = done.probabilities
    if is_regression:
        predictions = done.values.astype(np.float64).clip(*inputs.task.bounds)
    return outcome(inputs, predictions, {"epoch": done.best_epoch}, notes)


def unet(inputs: Inputs, *, overlap_of_tiles: float, **settings: Any) -> Outcome:
    """A U-Net decoder on the encoder's stages; whole images by overlapping tiles."""
    task, looks = inputs.task, inputs.candidate.provenance
    train, test, names = masked.open_splits(task.path, *task.splits)
    pixels = Pixels(looks.mean, looks.std)
    fitted = segment.fit(
        inputs.network(),
        train.images,
        train.masks,
        num_classes=len(names),
        pixels=pixels,
        seed=inputs.seed,
        mesh=inputs.mesh,
        **settings,
    )
    if not np.isfinite(fitted.losses[-1]):
        raise InputError(
            f"loss is {fitted.losses[-1]}",
            where=f"{task.name}, segmentation",
            way_out="set a smaller rate",
        )
    segment.check(test.images, test.masks, len(names))
    tables = segment.probabilities(
        fitted.model,
        test.images,
        pixels=pixels,
        tile=settings["tile"],
        overlap=overlap_of_tiles,
        batch_size=settings["batch_size"],
        mesh=inputs.mesh,
    )
    predicted = np.stack([table.argmax(-1) for table in tables]).astype(np.uint8)
    counts = overlap.count(test.masks, predicted, num_classes=len(names))
    shown = overlap.worst_and_best(overlap.foreground_dice(counts), SHOWN)
    extra = {
        "shown": shown,
        "images": test.images[shown],
        "masks": test.masks[shown],
        "predicted": predicted[shown],
        "scores": overlap.foreground_dice(counts)[shown],
        "keys": test.keys[shown].astype(str),
    }
    truth, predictions = overlap_metrics.counts_of(counts.pixels, counts.objects)
    return Outcome(
        truth,
        predictions,
        *test.groups,
        examples=len(train.images),
        chosen={},
        notes=[],
        extra=extra,
    )
