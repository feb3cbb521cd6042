"""Tables that say what the paper does not; a picture; JSON and CSV with the same numbers."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from histo_simclr.experiment import collect, declared, outcome

ENCODERS = {(f"n{size}", seed): f"n{size}_seed{seed}" for size in (10, 20) for seed in (0, 1)}


@pytest.fixture
def collected(experiment, row, write_results):
    rows = [
        row(task, name, 0.5 + 0.1 * name.startswith("n20") + 0.02 * seed)
        for (_, seed), name in ENCODERS.items()
        for task in ("pcam", "bach")
    ]
    rows += [row("pcam", "random init", 0.4), row("bach", "random init", 0.4)]
    rows += [{**each, "protocol": "knn"} for each in rows]
    return collect.read(experiment, ENCODERS, write_results(rows))


def test_the_table_has_our_curve_and_says_that_the_papers_is_not_recovered(experiment, collected):
    text = outcome.text(experiment, collected)
    line = next(line for line in text.splitlines() if line.split()[:2] == ["pretrained", "20"])
    assert line.split()[2:] == [
        "61.0",
        "[53.9,",
        "68.1]",
        "1.4",
        "(2)",
        "61.0",
        "61.0",
        "not",
        "recovered",
    ]
    assert "A demonstration." in text
    assert "must not be compared as equals" in text


def test_the_papers_numbers_stand_beside_ours(experiment, collected):
    lines = outcome.text(experiment, collected).splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("What the paper says"))
    level, *differences, of_task = lines[start + 2 : start + 6]
    assert level.split()[:2] == ["69.3", "61.0"]
    assert "ours: linear, mean: pretrained 20" in level
    assert [line.split()[:3] for line in differences] == [[">", "+2", "+10.0"]] * 2
    assert {line.partition("ours: ")[2][:3] for line in differences} == {"lin", "knn"}
    assert of_task.startswith("> +40  no such point here")


def test_missing_runs_are_named(experiment, collected):
    text = outcome.text(experiment, collected._replace(missing=[("n20", 1)]))
    assert "not evaluated yet, so left out: n20 (seed 1)" in text


def test_files_hold_the_points_of_the_table(experiment, collected, tmp_path):
    paths = outcome.write(experiment, collected, tmp_path)
    assert [path.name for path in paths] == [
        "experiment." + kind for kind in ("json", "csv", "png")
    ]
    assert sorted(paths) == sorted(path for path in tmp_path.glob("experiment.*"))
    content = json.loads(paths[0].read_text(), parse_constant=pytest.fail)  # no NaN
    table = list(csv.DictReader(paths[1].read_text().splitlines()))
    assert len(table) == len(content["points"]) == len(collected.points)
    for line, point in zip(table, content["points"], strict=True):
        assert float(line["macro_f1"]) == pytest.approx(point["score"], abs=1e-6)
        assert (line["series"], line["task"]) == (point["series"], point["task"])
    assert content["paper"][1]["ours"] == pytest.approx({"linear": 10.0, "knn": 10.0})
    assert "must not be compared" in content["caution"]


def test_the_picture_shows_the_points(experiment, collected, tmp_path):
    drawn = []
    higher = [p._replace(score=p.score + 0.2 * (p.value == 20)) for p in collected.points]
    for points in (collected.points, higher):
        outcome.write(experiment, collected._replace(points=points), tmp_path)
        with Image.open(tmp_path / "experiment.png") as picture:
            drawn.append(np.asarray(picture.convert("L"), float))
    assert drawn[0].std() > 5
    assert drawn[0].shape == drawn[1].shape
    assert (drawn[0] != drawn[1]).any()


def test_shares_of_labels_are_shown_as_such(experiment, row, write_results):
    labels = experiment._replace(runs=(declared.Run("mix", None, {"size": 20}),), seeds=(0,))
    rows = [row("pcam", "mix_seed0", 0.6, fraction=f) for f in (0.05, 1.0)]
    collected = collect.read(labels, {("mix", 0): "mix_seed0"}, write_results(rows))
    lines = outcome.text(labels, collected).splitlines()
    assert [line.split()[1] for line in lines if line.startswith("pretrained")] == ["5%", "100%"]
