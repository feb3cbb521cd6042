import argparse

import numpy as np
import pytest
from PIL import Image

from histo_simclr.errors import InputError
from histo_simclr.evaluate import measured
from histo_simclr.prepare import write

ROWS = [("train", "S1", 0.0), ("train", "S2", 0.5), ("test", "S3", 1.0), ("test", "S4", 0.25)]


@pytest.fixture
def prepared(tmp_path):
    """prepared(rows of split, slide, target): record set of one patch a row."""

    def call(rows):
        lines = ["path,split,slide,target"]
        for number, (split, slide, target) in enumerate(rows):
            pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{number}.png")
            lines.append(f"{number}.png,{split},{slide},{target}")
        (tmp_path / "list.csv").write_text("\n".join(lines))
        parser = argparse.ArgumentParser()
        write.add_arguments(parser)
        flags = ["--name", "x", "--out", str(tmp_path / "r"), "--px", "16", "--workers", "1"]
        write.run(parser.parse_args([str(tmp_path / "list.csv"), *flags]))
        return tmp_path / "r"

    return call


def test_targets_and_groups_of_both_splits(prepared):
    opened = measured.open_targets(prepared(ROWS), "train", "test", (0, 1))
    assert opened.targets[0].tolist() == [0.0, 0.5]
    assert opened.targets[1].tolist() == [1.0, 0.25]
    assert opened.groups[1].names.tolist() == ["slide:S3", "slide:S4"]
    assert opened.record_sets[0].rows.px == 16


@pytest.mark.parametrize(
    ("change", "bounds", "says"),
    [
        ({}, (0, 0.9), "split test: 1 targets are not numbers from 0 to 0.9, e.g. 1 of x/2.png"),
        ({3: ("test", "S4", 1.0)}, (0, 1), "all 2 targets are 1: nothing to predict"),
    ],
)
def test_targets_that_cannot_be_right_are_refused(prepared, change, bounds, says):
    rows = [change.get(number, row) for number, row in enumerate(ROWS)]
    with pytest.raises(InputError, match=says):
        measured.open_targets(prepared(rows), "train", "test", bounds)


def test_group_in_both_splits_is_refused(prepared, monkeypatch):
    from histo_simclr import records

    path, load = prepared(ROWS), records.load_record_set

    def one_slide(path, split):  # prepare refuses to write such a set
        opened = load(path, split)
        return opened._replace(columns=opened.columns | {"slide": np.array(["S1", "S1"])})

    monkeypatch.setattr(records, "load_record_set", one_slide)
    with pytest.raises(InputError, match="slide 'S1' and 0 more are in both train and test"):
        measured.open_targets(path, "train", "test")


def test_set_without_targets_is_refused(toy):
    with pytest.raises(InputError, match="record set without targets.*column target"):
        measured.open_targets(toy, "train", "test")
