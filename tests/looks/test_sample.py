from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.evaluate import labelled, splits
from histo_simclr.input import reader
from histo_simclr.looks import sample as sample_patches

RECORDS = Path(__file__).parents[2] / "data/sample/records"


class Part(NamedTuple):
    rows: records.Rows
    columns: dict
    truth: np.ndarray
    groups: splits.Groups


class Task(NamedTuple):
    name: str
    kind: str
    classes: list
    train: Part
    test: Part


def _task(name, **changes):
    opened = labelled.open_splits(RECORDS / name, "train", "test")
    parts = [
        Part(each.rows, each.columns, truth, groups)
        for each, truth, groups in zip(
            opened.record_sets, opened.labels, opened.groups, strict=True
        )
    ]
    return Task(name, "classification", opened.classes, *parts)._replace(**changes)


@pytest.fixture(scope="module")
def tasks():
    return [_task("pcam"), _task("osteosarcoma")]


@pytest.fixture(scope="module")
def sample(tasks):
    return sample_patches.draw(tasks, count=96, side=48, seed=0)


def _directly(part, row):
    (patches,) = reader.read(part.rows, lambda step: np.array([row]), start=0, stop=1)
    return patches[0]


def test_tasks_splits_and_classes_give_equally_many(sample):
    cells = np.stack([sample.task, sample.split, sample.label], axis=1)
    counts = Counter(map(tuple, cells.tolist()))
    assert {count for (task, *_), count in counts.items() if task == "pcam"} == {12}
    assert {count for (task, *_), count in counts.items() if task == "osteosarcoma"} == {8}
    assert len(counts) == 2 * 2 + 2 * 3


def test_the_draw_depends_on_the_seed_alone(tasks, sample):
    again = sample_patches.draw(tasks, count=96, side=48, seed=0)
    for first, second in zip(sample, again, strict=True):
        np.testing.assert_array_equal(first, second)
    other = sample_patches.draw(tasks, count=96, side=48, seed=1)
    assert (sample.row != other.row).any()


def test_pixels_and_columns_are_those_of_the_row(tasks):
    """At the side that is stored nothing is resized."""
    sample = sample_patches.draw(tasks, count=20, side=96, seed=0)
    by_name = {task.name: task for task in tasks}
    for number in range(20):
        task = by_name[sample.task[number]]
        part, row = getattr(task, sample.split[number]), sample.row[number]
        np.testing.assert_array_equal(sample.patches[number], _directly(part, row))
        assert sample.label[number] == part.columns["label"][row]
        assert sample.cohort[number] == part.columns["cohort"][row]
        assert sample.mpp[number] == part.columns["mpp"][row]


def test_smaller_patches_are_pillows(tasks, sample):
    """Bilinear and antialiased; Pillow rounds between its two passes."""
    part = getattr(tasks[0], sample.split[0])
    image = Image.fromarray(_directly(part, sample.row[0]))
    expected = np.asarray(image.resize((48, 48), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(sample.patches[0] - expected).max() <= 1


def test_features_are_those_of_the_drawn_rows(tasks, sample):
    cached = {
        (task.name, split): np.arange(len(getattr(task, split).rows))[:, None] * [1, scale]
        for task in tasks
        for split, scale in (("train", 2), ("test", 3))
    }
    found = sample.features(cached)
    np.testing.assert_array_equal(found[:, 0], sample.row)
    scale = np.where(sample.split == "train", 2, 3)
    np.testing.assert_array_equal(found[:, 1], sample.row * scale)


def test_a_patient_is_one_group_in_all_tasks_and_unknown_ones_are_told_by_their_key(tasks):
    twice = [tasks[1], tasks[1]._replace(name="again"), tasks[0]]
    sample = sample_patches.draw(twice, count=90, side=8, seed=0)
    groups = {name: set(sample.group[sample.task == name]) for name in np.unique(sample.task)}
    assert groups["osteosarcoma"] == groups["again"]
    assert "osteosarcoma patient:Case-3" in groups["again"]
    assert len(groups["pcam"]) == 30
    assert all(name.startswith(sample_patches.ALONE + "pcam/") for name in groups["pcam"])


def test_targets_become_thirds_and_masks_no_class(tasks):
    rng = np.random.default_rng(0)
    parts = [
        part._replace(truth=rng.random(len(part.rows))) for part in (tasks[1].train, tasks[1].test)
    ]
    regression = Task("cells", "regression", [], *parts)
    empty = [part._replace(truth=np.empty(0)) for part in parts]
    masks = Task("glands", "segmentation", ["rest", "gland"], *empty)
    sample = sample_patches.draw([regression, masks], count=72, side=8, seed=0)
    of_targets = sample.task == "cells"
    assert set(sample.label[~of_targets]) == {""}
    counts = Counter(sample.label[of_targets].tolist())
    assert sorted(counts.values()) == [12, 12, 12]
    for number in np.flatnonzero(of_targets):
        low, high = map(float, sample.label[number].split(" to "))
        truth = getattr(regression, sample.split[number]).truth[sample.row[number]]
        assert low - 1e-3 <= truth <= high + 1e-3


def test_a_rare_class_gives_all_and_groups_take_turns():
    cells = np.array(["rare"] * 3 + ["common"] * 97)
    groups = np.array(["a"] * 90 + ["b"] * 5 + ["c"] * 5)
    chosen = sample_patches.spread(cells, groups, 15, seed=0)
    assert Counter(cells[chosen].tolist()) == {"rare": 3, "common": 12}
    assert Counter(groups[chosen[chosen >= 3]].tolist()) == {"a": 4, "b": 4, "c": 4}
    np.testing.assert_array_equal(sample_patches.spread(cells, groups, 500, seed=0), range(100))


def test_classes_compare_between_tasks_of_equal_class_names(make_sample):
    task = np.repeat(["a", "b", "c", "d"], 2)
    label = np.array(["tumor", "normal", "normal", "tumor", "tumor", "stroma", "", ""])
    sample = make_sample(task, label, np.arange(8).astype(str))
    assert sample.families().tolist() == ["a + b"] * 4 + ["c"] * 2 + ["d"] * 2


def test_no_task_is_refused():
    with pytest.raises(InputError, match="no task"):
        sample_patches.draw([], count=10, side=8, seed=0)
