"""Cells: what their names depend on, and what is kept."""

from types import SimpleNamespace

import numpy as np
import pytest

from histo_simclr.errors import InputError
from histo_simclr.suite import cells
from histo_simclr.suite.cells import WHOLE, Cell, Outcome, Subset

TASK = SimpleNamespace(name="toy", digest="t")
ENCODER = SimpleNamespace(name="ours")
CELL = Cell(TASK, ENCODER, "linear", WHOLE, 0, "e", "", {"folds": 5, "strengths": (0.1, 1.0)})


@pytest.mark.parametrize(
    "changes",
    [
        {"task": SimpleNamespace(name="toy", digest="other")},
        {"identity": "other"},
        {"dtype": "bfloat16"},
        {"protocol": "sgd"},
        {"subset": Subset(0.5)},
        {"subset": Subset(None, 1)},
        {"seed": 1},
        {"settings": {"folds": 4, "strengths": (0.1, 1.0)}},
        {"settings": {"folds": 5, "strengths": (0.1,)}},
    ],
)
def test_whatever_decides_a_cell_decides_its_name(tmp_path, changes):
    assert CELL._replace(**changes).path(tmp_path) != CELL.path(tmp_path)
    assert CELL._replace(settings={"strengths": [0.1, 1.0], "folds": 5}).path(
        tmp_path
    ) == CELL.path(tmp_path)


def test_an_outcome_comes_back_as_it_was(tmp_path):
    rng = np.random.default_rng(0)
    kept = Outcome(
        np.arange(4),
        rng.uniform(size=(4, 2)),
        np.array(["patient:a", "patient:b", "patient:b", "patient:µ"]),
        "patient",
        17,
        {"C": 0.1},
        ["said"],
        {"images": rng.integers(0, 9, (2, 3))},
    )
    path = tmp_path / "a" / "cell.npz"
    cells.save(path, kept, revision="r1")
    found, revision = cells.load(path)
    assert revision == "r1"
    for name in ("truth", "predictions", "groups"):
        np.testing.assert_array_equal(getattr(found, name), getattr(kept, name))
    assert found[3:7] == kept[3:7]
    np.testing.assert_array_equal(found.extra["images"], kept.extra["images"])
    assert [each.name for each in path.parent.iterdir()] == ["cell.npz"]


def test_a_torn_cell_is_named(tmp_path):
    (tmp_path / "cell.npz").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(InputError, match="cell.npz: cannot be read"):
        cells.load(tmp_path / "cell.npz")


def test_features_are_computed_once_and_again_for_another_encoder(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return np.full((2, 3), len(calls), np.float32), np.ones((1, 3), np.float32)

    first = cells.kept_features(tmp_path, TASK, ENCODER, "e", compute)
    again = cells.kept_features(tmp_path, TASK, ENCODER, "e", compute)
    np.testing.assert_array_equal(first[0], again[0])
    other = cells.kept_features(tmp_path, TASK, ENCODER, "trained further", compute)
    assert other[0][0, 0] == 2
    assert len(calls) == 2
