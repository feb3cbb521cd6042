"""Only what was measured with this very checkpoint, and its floors, gets into a card."""

import json

import pytest

from histo_simclr import checkpoint
from histo_simclr.errors import InputError
from histo_simclr.weights import card_results


def measured(value: float) -> dict:
    return {"value": value, "low": value - 0.02, "high": value + 0.03}


@pytest.fixture
def workdir(tmp_path):
    """A run with steps 50 and 122, of which the later was evaluated (as linear_eval writes it)."""
    place = tmp_path / "run" / "evaluation" / "pcam"
    place.mkdir(parents=True)
    rows = [
        {"name": name, "macro_f1": measured(value), "auroc": measured(value + 0.1), "strength": 1}
        for name, value in (("random init", 0.7), ("color histogram", 0.8), ("pretrained", 0.75))
    ]
    content = {
        "checkpoint": {"name": "run", "step": 122, "arch": "resnet18"},
        "records": {"name": "pcam", "test": {"patches": 1000}},
        "bootstrap": {"unit": "patient", "units": 20},
        "notes": ["the mix holds patches of pcam too"],
        "rows": rows,
    }
    (place / "results.json").write_text(json.dumps(content))
    for step in ("50", "122"):
        (tmp_path / "run" / checkpoint.FOLDER / step).mkdir(parents=True)
    return tmp_path / "run"


def suite(place, digest: str):
    """As `suite.results.gather` writes it: floors, this encoder and another, few labels too."""
    encoders = {
        "random init": {"kind": "random", "digest": "r"},
        "ours": {"kind": "checkpoint", "digest": digest},
        "theirs": {"kind": "checkpoint", "digest": "t"},
    }
    rows = [
        {
            "task": "bach",
            "encoder": encoder,
            "protocol": "linear",
            "fraction": fraction,
            "resampled": {"unit": "patient", "units": 30},
            "metrics": {"macro_f1": measured(0.6), "auroc": {"value": None, "low": 0, "high": 0}},
            "notes": ["C is at the end"],
        }
        for encoder in encoders
        for fraction in (1.0, 0.1)
    ]
    place.mkdir()
    content = {"encoders": encoders, "rows": rows, "tasks": {"bach": {"notes": ["small"]}}}
    (place / "results.json").write_text(json.dumps(content))
    return place


def test_a_workdirs_evaluation_comes_with_its_floors_and_notes(workdir):
    found = card_results.find(workdir / checkpoint.FOLDER / "122")
    assert [each.encoder for each in found] == ["random init", "color histogram", "this encoder"]
    assert [each.is_this for each in found] == [False, False, True]
    assert found[-1].metrics == {
        "macro_f1": (0.75, 0.73, 0.78),
        "auroc": (0.85, pytest.approx(0.83), pytest.approx(0.88)),
    }
    assert found[-1].test == "1,000 patches, intervals by patient"
    assert found[-1].notes == ("the mix holds patches of pcam too",)


def test_results_of_another_step_are_not_this_checkpoints(workdir):
    assert card_results.find(workdir / checkpoint.FOLDER / "50") == ()


def test_an_imported_folder_has_no_workdir_to_look_in(workdir, tmp_path):
    (tmp_path / "imported").mkdir()
    assert card_results.find(tmp_path / "imported") == ()


def test_a_suite_counts_for_the_checkpoint_that_it_judged(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "digest", lambda path: f"digest of {path.name}")
    place = suite(tmp_path / "suite", "digest of mine")
    found = card_results.find(tmp_path / "mine", [place])
    assert [(each.task, each.encoder) for each in found] == [
        ("bach", "random init"),
        ("bach", "this encoder"),
    ]
    assert list(found[1].metrics) == ["macro_f1"]  # a value that could not be had is left out
    assert found[1].notes == ("C is at the end", "small")
    with pytest.raises(InputError, match="did not judge this checkpoint, but random init, ours"):
        card_results.find(tmp_path / "another", [place / "results.json"])


def test_what_is_no_suite_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "digest", lambda path: "d")
    with pytest.raises(InputError, match="results.json: cannot be read"):
        card_results.find(tmp_path, [tmp_path])
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(InputError, match="results.json: lacks encoders"):
        card_results.find(tmp_path, [tmp_path])
