import json
import shutil

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from configs import linear_eval as recipe
from histo_simclr import mesh as meshes
from histo_simclr import provenance
from histo_simclr.errors import InputError
from histo_simclr.evaluate import extract, linear_eval, splits
from histo_simclr.evaluate.results import format_table
from histo_simclr.records import load_record_set

SETTINGS = {
    **recipe.defaults(),
    "strengths": (1e-3, 1e-2, 1e-1),
    "resamples": 300,
    "batch_size": 16,
}
ORIGIN = {"name": "run", "step": 7}
SOURCE = provenance.Provenance(
    arch="resnet18",
    hidden=512,
    out=128,
    px=32,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    mpp=(0.5,),
    mix={"cohorts": {"toy": {}}},
    config={},
    versions={},
    revision="",
)


@pytest.fixture(scope="module")
def evaluate(toy):
    """Evaluates an encoder that was never trained, in place of a pretrained one."""
    encoder, mesh = linear_eval.untrained("resnet18", 5), meshes.make(1)

    def run(record_set=toy, out=None, **changes):
        settings = SETTINGS | {"origin": ORIGIN, "mesh": mesh, "out": out} | changes
        return linear_eval.evaluate(encoder, SOURCE, record_set, **settings)

    return run


@pytest.fixture(scope="module")
def outcome(evaluate, tmp_path_factory):
    """Results and the folder they were written to."""
    out = tmp_path_factory.mktemp("evaluation") / "out"
    return evaluate(out=out), out


def test_histogram_row_is_scikit_learns_probe_chosen_the_same_way(outcome, toy):
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import confusion_matrix, f1_score, log_loss, roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def judge(strength):
        return make_pipeline(StandardScaler(), LogisticRegression(C=strength, tol=1e-8))

    sets = [load_record_set(toy, split) for split in ("train", "test")]
    train, test = (extract.color_histogram(s.rows, bins=32, batch_size=16) for s in sets)
    labels, truth = ((s.columns["label"] == "b").astype(int) for s in sets)
    groups = splits.groups_of(sets[0].columns).names
    held, _ = splits.grouped_holdout(labels, groups, fraction=0.2, seed=0)
    losses = [
        log_loss(labels[held], judge(c).fit(train[~held], labels[~held]).predict_proba(train[held]))
        for c in SETTINGS["strengths"]
    ]
    chosen = SETTINGS["strengths"][int(np.argmin(losses))]
    fitted = judge(chosen).fit(train, labels)
    row = next(row for row in outcome[0]["rows"] if row["name"] == "color histogram")
    np.testing.assert_allclose(row["validation_cross_entropy"], losses, rtol=1e-3)
    assert row["strength"] == chosen
    assert row["confusion"] == confusion_matrix(truth, fitted.predict(test)).tolist()
    assert row["macro_f1"]["value"] == pytest.approx(
        f1_score(truth, fitted.predict(test), average="macro"), abs=1e-5
    )
    assert row["auroc"]["value"] == pytest.approx(
        roc_auc_score(truth, fitted.predict_proba(test)[:, 1]), abs=0.01
    )


def test_rows_and_differences_name_the_floors(outcome):
    results, _ = outcome
    names = [row["name"] for row in results["rows"]]
    assert names == ["random init", "color histogram", "pretrained"]
    values = {row["name"]: row["macro_f1"]["value"] for row in results["rows"]}
    for difference in results["differences"]:
        expected = values["pretrained"] - values[difference["floor"]]
        assert difference["macro_f1"]["value"] == pytest.approx(expected, abs=1e-5)
        assert difference["macro_f1"]["low"] <= difference["macro_f1"]["high"]


def test_results_say_what_was_judged_on_what(outcome):
    results, _ = outcome
    assert results["checkpoint"]["name"] == "run"
    assert results["checkpoint"]["step"] == 7
    assert results["records"]["test"] == {
        "split": "test",
        "patches": 36,
        "groups": 6,
        "group": "slide",
        "classes": [18, 18],
    }
    assert results["bootstrap"] == {"resamples": 300, "unit": "slide", "units": 6}
    assert results["validation"]["unit"] == "slide"
    assert "the pretraining mix holds patches of toy too, without labels" in results["notes"]


def test_second_run_leaves_the_same_bytes(outcome, evaluate, tmp_path):
    results, out = outcome
    assert sorted(path.name for path in out.iterdir()) == ["confusion_matrix.png", "results.json"]
    again = evaluate(out=tmp_path)
    assert again == results
    for name in ("results.json", "confusion_matrix.png"):
        assert (out / name).read_bytes() == (tmp_path / name).read_bytes()
    assert json.loads((out / "results.json").read_text()) == results
    Image.open(out / "confusion_matrix.png").verify()


def _relabelled(toy, folder, label_of):
    """A copy of the record set with other labels in its manifest: (split, label, row) -> label."""
    shutil.copytree(toy, folder)
    manifest = next(folder.glob("*/manifest.parquet"))
    table = pyarrow.parquet.read_table(manifest)
    columns = table.to_pydict()
    old = zip(columns["split"], columns["label"], range(len(table)), strict=True)
    columns["label"] = [label_of(*row) for row in old]
    pyarrow.parquet.write_table(pyarrow.table(columns, schema=table.schema), manifest)
    info = manifest.with_name("record_set.json")
    content = json.loads(info.read_text()) | {"class_names": ["a", "b", "c"]}
    info.write_text(json.dumps(content))
    return folder


def test_test_labels_choose_nothing(outcome, evaluate, toy, tmp_path):
    # The labels of the test split turned round: every choice and prediction stays.
    other = {"a": "b", "b": "a"}
    turned = _relabelled(
        toy, tmp_path / "toy", lambda split, label, _: other[label] if split == "test" else label
    )
    before, after = outcome[0], evaluate(turned, floors=("color histogram",))
    for row in after["rows"]:
        old = next(old for old in before["rows"] if old["name"] == row["name"])
        assert row["strength"] == old["strength"]
        assert row["validation_cross_entropy"] == old["validation_cross_entropy"]
        assert row["confusion"] == old["confusion"][::-1]
    assert after["records"]["digest"] != before["records"]["digest"]


def test_table_shows_every_number_once_and_aligned(outcome):
    results, out = outcome
    table = format_table(json.loads((out / "results.json").read_text()))
    lines = table.splitlines()
    rows = [line for line in lines if line.startswith(("random init", "color hist", "pretrained "))]
    for row, line in zip(results["rows"], rows, strict=False):
        for metric in ("macro_f1", "accuracy", "balanced_accuracy", "auroc"):
            entry = row[metric]
            assert f"{entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]" in line
    assert len({len(line) for line in lines[2:6]}) == 1
    assert "300 bootstrap resamples of 6 test slides" in table


@pytest.mark.parametrize(
    ("label_of", "message"),
    [
        (lambda split, label, _: "c" if split == "test" else label, "'c' occurs in the test split"),
        (lambda _, label, row: "c" if row == 36 else label, "'c' has one example"),
    ],
    ids=["seen in test only", "one example"],
)
def test_labels_that_spoil_the_probe_are_refused(label_of, message, evaluate, toy, tmp_path):
    spoiled = _relabelled(toy, tmp_path / "toy", label_of)
    with pytest.raises(InputError, match=rf"toy: .*{message}.*; "):
        evaluate(spoiled, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"floors": ("random",)}, r"config.floors: cannot be \['random'\].*'random init'"),
        ({"floors": (None, -1.0)}, r"config.floors: cannot be \[None, -1.0\]"),
        ({"strengths": (0.0, 1.0)}, "config.strengths: .*above 0"),
        ({"validation_fraction": 1.0}, "config.validation_fraction: cannot be 1.0"),
        ({"train_split": "training"}, "no split 'training', only test, train"),
        ({"record_set": "nowhere"}, "nowhere: no such record set"),
    ],
)
def test_bad_settings_are_one_line(change, message, evaluate):
    with pytest.raises(InputError, match=message):
        evaluate(**change)


def test_a_workdir_that_cannot_be_made_is_one_line(evaluate, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/out: cannot be written"):
        evaluate(out=tmp_path / "file" / "out", floors=())


def test_program_needs_a_checkpoint(tmp_path):
    with pytest.raises(InputError, match=r"--config\.checkpoint=WORKDIR"):
        linear_eval.run(recipe.get_config(), tmp_path)


def test_a_mistake_claims_no_workdir(tmp_path, toy):
    (tmp_path / "run" / "checkpoints" / "7").mkdir(parents=True)
    config = recipe.get_config()
    for records, fraction in ((str(toy), 1.5), (str(tmp_path / "none"), 0.2)):
        config.update(
            checkpoint=str(tmp_path / "run"), records=records, validation_fraction=fraction
        )
        with pytest.raises(InputError):
            linear_eval.run(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()
