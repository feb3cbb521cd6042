"""Tasks: opened, checked, told apart."""

import shutil

import pyarrow
import pyarrow.parquet
import pytest

from configs import task as recipe
from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.suite import tasks


def settings(kind="classification", **changes):
    said = {"about": "small", "split_rule": "by slide", "prepare": "histo-simclr prepare …"}
    given = {"kind": kind, "cohort": "toy", "metric": recipe.METRICS[kind][0], "records": "toy"}
    return recipe.task(**(said | given | changes)).to_dict()


@pytest.fixture
def data(toy, tmp_path):
    shutil.copytree(toy, tmp_path / "toy")
    return tmp_path


def edit(data, change):
    path = records.resolve_record_set(data / "toy") / "manifest.parquet"
    before = pyarrow.parquet.read_table(path)
    table = before.to_pydict()
    change(table)
    pyarrow.parquet.write_table(pyarrow.table(table, schema=before.schema), path)


def test_the_metrics_that_a_task_file_may_name_are_those_that_are_measured():
    assert {kind: names for kind, (_, names) in tasks.MEASURES.items()} == recipe.METRICS


def test_a_task_says_what_it_is_and_how_large(data):
    task = tasks.open_task("toy", settings(), data)
    assert task.classes == ["a", "b"]
    assert task.about["about"] == "small"
    assert task.about["train"] == {
        "split": "train",
        "patches": 36,
        "groups": 6,
        "unit": "slide",
        "classes": [18, 18],
    }
    assert set(tasks.slide_names(task.test)) == {f"test{n}" for n in range(6)}


def test_another_label_is_another_task(data):
    before = tasks.open_task("toy", settings(), data).digest
    assert tasks.open_task("toy", settings(), data).digest == before

    def relabel(table):
        table["label"][0] = "ab"[table["label"][0] == "a"]

    edit(data, relabel)
    assert tasks.open_task("toy", settings(), data).digest != before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metric": "dice"}, "'dice' is not measured of a classification"),
        ({"kind": "ranking", "metric": "dice"}, "cannot be 'ranking'"),
        ({"test_split": "valid"}, "no split 'valid', only test, train"),
        ({"kind": "segmentation", "metric": "dice"}, "record set without masks"),
        ({"kind": "regression", "metric": "l1"}, "record set without targets"),
        ({"kind": "slides", "metric": "auroc"}, "has the labels"),
    ],
)
def test_what_a_record_set_does_not_hold_is_refused(data, changes, said):
    with pytest.raises(InputError, match=said):
        tasks.open_task("toy", settings() | changes, data)


def test_a_class_in_the_test_split_only_is_refused(data):
    def drop(table):
        table["label"] = [
            "a" if split == "train" else label
            for split, label in zip(table["split"], table["label"], strict=True)
        ]

    edit(data, drop)
    with pytest.raises(InputError, match="label 'b' occurs in the test split only"):
        tasks.open_task("toy", settings(), data)


def test_a_slide_in_both_splits_is_refused(data):
    def straddle(table):
        table["slide"][0] = next(
            slide
            for slide, split in zip(table["slide"], table["split"], strict=True)
            if split != table["split"][0]
        )

    edit(data, straddle)
    with pytest.raises(InputError, match="in both train and test"):
        tasks.open_task("toy", settings(), data)


def test_slides_without_names_are_refused(data):
    def forget(table):
        table["slide"] = [""] * len(table["slide"])

    edit(data, forget)
    with pytest.raises(InputError, match="36 of 36 patches have no slide"):
        tasks.open_task("toy", settings("slides"), data)
