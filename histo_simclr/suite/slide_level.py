"""Protocols for slides with one class each: patches as bags, metrics by patient where known."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from histo_simclr.errors import InputError
from histo_simclr.evaluate import bags, mil, probe, splits
from histo_simclr.suite.cells import Inputs, Outcome
from histo_simclr.suite.frozen import fold_groups
from histo_simclr.suite.tasks import Part, slide_names


def mean_pool(inputs: Inputs, *, strengths: Sequence[float], folds: int) -> Outcome:
    """The convex linear probe on the mean feature of each slide."""
    train, test = inputs.features()
    task = inputs.task
    pooled, names = bags.mean_pool(train, slide_names(task.train))
    pooled_test, test_names = bags.mean_pool(test, slide_names(task.test))
    labels, patients = _slides(task.train, names)
    groups, notes = fold_groups(inputs, labels, patients, folds=folds)
    done = probe.cross_validated(
        pooled,
        pooled_test,
        labels=labels,
        groups=groups,
        num_classes=len(task.classes),
        strengths=tuple(strengths),
        folds=folds,
        seed=inputs.seed,
    )
    said = {"examples": len(names), "chosen": {"C": done.strength}, "notes": notes}
    return _by_patient(task.test, test_names, done.probabilities, said)


def attention(inputs: Inputs, *, most: int, validation_fraction: float, **settings: Any) -> Outcome:
    """Gated attention over the patches of each slide (`mil.attend`), stopped early on patients."""
    train, test = inputs.features()
    task, seed = inputs.task, inputs.seed
    bag, bag_test = (
        bags.bags_of(table, slide_names(part), most=most, seed=seed)
        for table, part in ((train, task.train), (test, task.test))
    )
    labels, patients = _slides(task.train, bag.names)
    held, by_group = splits.grouped_holdout(
        labels, patients, fraction=validation_fraction, seed=seed
    )
    done = mil.attend(
        bag,
        bag_test,
        labels=labels,
        held=held,
        num_classes=len(task.classes),
        seed=seed,
        **settings,
    )
    notes = [] if by_group else ["no patient could be spared for validation: slides chose"]
    said = {"examples": len(bag.names), "chosen": {"epochs": done.epochs}, "notes": notes}
    return _by_patient(task.test, bag_test.names, done.probabilities, said)


def _slides(part: Part, names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The class and the patient (or the slide itself) of each of the slides `names`, sorted."""
    slides = slide_names(part)
    labels, sorted_names = bags.one_label(part.truth, slides)
    first = np.array([np.argmax(slides == name) for name in names])
    if not np.array_equal(sorted_names, names):
        raise ValueError("bags and labels are of different slides")
    return labels, part.groups.names[first]


def _by_patient(
    part: Part, names: np.ndarray, probabilities: np.ndarray, said: dict[str, Any]
) -> Outcome:
    """What is said of patients, the mean over their slides; of slides, where a patient has two."""
    labels, patients = _slides(part, names)
    kind = part.groups.kind
    try:
        truth, groups = bags.one_label(labels, patients)
    except InputError:
        note = "a patient has slides of different classes: slides are judged, not patients"
        said = said | {"notes": [*said["notes"], note]}
        return Outcome(labels, probabilities, patients, kind, **said, extra={})
    predictions, _ = bags.mean_of_group(probabilities, patients)
    return Outcome(truth, predictions, groups, kind, **said, extra={})
