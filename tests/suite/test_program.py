"""The suite, whole, on small record sets: a network of four blocks, four tasks, every protocol."""

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optax
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from configs import evaluate as recipe
from configs import task as tasks
from histo_simclr import checkpoint, cli, fingerprint, provenance, state
from histo_simclr import mesh as meshes
from histo_simclr.errors import InputError
from histo_simclr.evaluate import metrics, precomputed
from histo_simclr.model import resnet
from histo_simclr.model.simclr import SimCLR
from histo_simclr.records import load_record_set, resolve_record_set
from histo_simclr.suite import cells
from histo_simclr.suite import program as suite

PX = 32
LOOKS = {"px": PX, "mean": (0.6, 0.4, 0.65), "std": (0.2, 0.2, 0.2)}
FROZEN = ("linear", "knn", "centroid", "sgd", "ridge", "least_squares", "mean_pool", "attention")


@pytest.fixture(scope="module", autouse=True)
def small():
    """An architecture of four blocks: seconds to compile where ResNet-18 takes a minute."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(resnet.STAGE_BLOCKS, "small", (1, 1, 1, 1))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory, write_record_set) -> Path:
    """Record sets: toy (two classes), slides (a class a slide), targets, masks."""
    folder = tmp_path_factory.mktemp("data")
    write_record_set(folder / "a", lambda split, slide, index: "ab"[index % 2])
    write_record_set(folder / "b", lambda split, slide, index: "ab"[slide % 2])
    out = folder / "records"
    for made, name in (("a", "toy"), ("b", "slides")):
        shutil.copytree(folder / made / "records" / "toy", out / name)
    _write_targets(folder / "c", out)
    _write_masks(folder / "d", out)
    return out


@pytest.fixture(scope="module")
def save_checkpoint():
    """save_checkpoint(place, mix=…, config=…): the checkpoint of a run that did not train."""

    def save(place, *, mix, config):
        split = state.init(
            lambda rngs: SimCLR("small", hidden=8, out=8, rngs=rngs),
            optax.sgd(0.1),
            seed=3,
            sharding=meshes.replicated(meshes.make()),
        )
        told = {"arch": "small", "hidden": 8, "out": 8, "mpp": (0.5,), "versions": {}}
        source = provenance.Provenance(**told, **LOOKS, mix=mix, config=config, revision="")
        saved = checkpoint.Checkpoints(place, keep=1, keep_every=0)
        features = fingerprint.of_training(split.arrays[0]["encoder"], source)
        saved.save(7, split.arrays, source, features=features)
        saved.close()
        return place

    return save


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, save_checkpoint) -> Path:
    """Of a run on a mix that has nothing to do with the tasks."""
    place = tmp_path_factory.mktemp("pretraining") / "ours"
    return save_checkpoint(place, mix={"name": "mix", "cohorts": {"elsewhere": {}}}, config={})


def configured(records, workdir, **changes):
    """The recipe at a size of seconds."""
    config = recipe.suite()
    config.checkpoints, config.data = str(workdir), str(records)
    said = {"about": "small", "split_rule": "by slide", "prepare": "histo-simclr prepare …"}
    for kind, name, metric in (
        ("classification", "toy", "macro_f1"),
        ("slides", "slides", "auroc"),
        ("regression", "targets", "l1"),
        ("segmentation", "masks", "dice"),
    ):
        bounds = {"bounds": (0.0, 1.0)} if kind == "regression" else {}
        config.tasks[name] = tasks.task(
            kind=kind, cohort=name, metric=metric, records=name, **said, **bounds
        )
    config.protocols, config.seeds = FROZEN, (0, 1)
    config.fractions, config.shots = (0.01, 0.5, 1.0), (1, 4)
    config.resamples, config.permutations = 200, 100
    config.batch_size, config.look.patches = 16, 0
    config.settings.sgd.epochs, config.settings.attention.epochs = 5, 5
    config.settings.linear.strengths = config.settings.mean_pool.strengths = (1e-3, 1e-2, 1e-1)
    config.update(changes)
    return config


@pytest.fixture(scope="module")
def done(data, workdir, tmp_path_factory):
    """A whole suite of frozen protocols: its folder and its results."""
    place = tmp_path_factory.mktemp("suite") / "out"
    suite.run(configured(data, workdir), place)
    return SimpleNamespace(place=place, results=json.loads((place / "results.json").read_text()))


def row_of(results, **wanted):
    found = [
        row for row in results["rows"] if all(row[key] == value for key, value in wanted.items())
    ]
    assert len(found) == 1
    return found[0]


def test_histogram_row_is_scikit_learns_probe_chosen_by_the_same_folds(done, data):
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import confusion_matrix, f1_score, log_loss
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from histo_simclr.evaluate import extract, folds, splits

    def judge(strength):
        return make_pipeline(StandardScaler(), LogisticRegression(C=strength, tol=1e-8))

    sets = [load_record_set(data / "toy", split) for split in ("train", "test")]
    train, test = (extract.color_histogram(s.rows, bins=32, batch_size=16) for s in sets)
    labels, truth = ((s.columns["label"] == "b").astype(int) for s in sets)
    fold = folds.grouped_folds(labels, splits.groups_of(sets[0].columns).names, folds=5, seed=0)
    strengths = (1e-3, 1e-2, 1e-1)
    losses = [
        sum(
            np.sum(fold == k)
            * log_loss(
                labels[fold == k],
                judge(c).fit(train[fold != k], labels[fold != k]).predict_proba(train[fold == k]),
            )
            for k in range(fold.max() + 1)
        )
        for c in strengths
    ]
    best = strengths[int(np.argmin(losses))]
    guess = judge(best).fit(train, labels).predict(test)
    row = row_of(
        done.results,
        task="toy",
        encoder="color histogram",
        protocol="linear",
        subset="100 %",
    )
    assert row["chosen"] == {"C": best}
    assert row["confusion"] == confusion_matrix(truth, guess).tolist()
    value = row["metrics"]["macro_f1"]
    assert value["per_seed"][0] == pytest.approx(f1_score(truth, guess, average="macro"), abs=1e-6)
    assert value["value"] == pytest.approx(np.mean(value["per_seed"]), abs=1e-6)
    assert value["low"] <= value["value"] <= value["high"]


def test_a_row_stands_for_every_task_encoder_protocol_and_subset(done):
    encoders = ["random init", "color histogram", "ours"]
    assert list(done.results["encoders"]) == encoders
    found = {(row["task"], row["protocol"], row["subset"]) for row in done.results["rows"]}
    few = [("linear", "50 %"), ("linear", "4-shot")]
    few += [("centroid", each) for each in ("50 %", "1-shot", "4-shot")]
    whole = [("toy", name, "100 %") for name in ("linear", "knn", "centroid", "sgd")]
    whole += [("targets", name, "100 %") for name in ("ridge", "least_squares")]
    whole += [("slides", name, "100 %") for name in ("mean_pool", "attention")]
    assert found == {*whole, *(("toy", *each) for each in few)}
    assert len(done.results["rows"]) == len(found) * len(encoders)


def test_what_was_left_out_is_said(done):
    told = {(each["task"], each["protocol"]): each["why"] for each in done.results["skipped"]}
    assert "fewer than 2" in told["toy", "linear, 1 %"]
    assert told["toy", "linear, 1-shot"] == "needs 2 examples a class to choose by folds"
    assert told["masks", ""] == "none of the protocols judges a segmentation"


def test_slides_are_judged_as_wholes(done):
    row = row_of(done.results, task="slides", encoder="ours", protocol="attention")
    assert row["resampled"] == {"unit": "slide", "units": 6}
    assert np.sum(row["confusion"]) == 6


def test_differences_are_those_of_the_rows_and_holm_never_lowers_p(done):
    assert {(each["first"], each["second"]) for each in done.results["differences"]} == {
        ("ours", "random init"),
        ("ours", "color histogram"),
    }
    for each in done.results["differences"]:
        pair = [
            row_of(
                done.results,
                task=each["task"],
                encoder=each[side],
                protocol=each["protocol"],
                subset="100 %",
            )["metrics"][each["metric"]]["value"]
            for side in ("first", "second")
        ]
        assert each["value"] == pytest.approx(pair[0] - pair[1], abs=2e-6)
        assert each["p_holm"] >= each["p"]


def test_the_same_command_computes_nothing_again(done, data, workdir, monkeypatch):
    before = (done.place / "results.json").read_bytes()
    monkeypatch.setattr(cells, "save", lambda *_, **__: pytest.fail("a cell was made again"))
    suite.run(configured(data, workdir), done.place)
    assert (done.place / "results.json").read_bytes() == before


def test_an_interrupted_suite_goes_on_to_the_same_results(
    done, data, workdir, tmp_path, monkeypatch
):
    saved, kept = [], cells.save

    def stop_at_the_tenth(path, outcome, *, revision):
        if len(saved) == 10:
            raise KeyboardInterrupt
        save(path, outcome, revision=revision)

    def save(path, outcome, *, revision):
        saved.append(path)
        kept(path, outcome, revision=revision)

    monkeypatch.setattr(cells, "save", stop_at_the_tenth)
    with pytest.raises(KeyboardInterrupt):
        suite.run(configured(data, workdir), tmp_path)
    assert len(list(tmp_path.rglob("cells/*/*/*.npz"))) == 10
    assert not (tmp_path / "results.json").exists()
    monkeypatch.setattr(cells, "save", save)
    suite.run(configured(data, workdir), tmp_path)
    assert len(saved) == len(set(saved))
    assert (tmp_path / "results.json").read_bytes() == (done.place / "results.json").read_bytes()


def test_more_encoders_keep_the_cells_that_are_there(done, data, workdir, tmp_path):
    """Features that others computed stand beside the rest; the same ones give the same numbers."""
    place, folder = tmp_path / "suite", tmp_path / "foreign"
    shutil.copytree(done.place, place)
    mine = next((place / "features" / "toy").glob("ours-*.npz"))
    with np.load(mine) as arrays:
        for split in ("train", "test"):
            keys = load_record_set(data / "toy", split).columns["key"].astype(str)
            about = {"name": "foreign", "weights": "ours", "normalization": "ours", "px": PX}
            precomputed.write(folder, about, "toy", split, keys, arrays[split])
    before = {path: path.stat().st_mtime_ns for path in place.rglob("cells/*/*/*.npz")}
    config = configured(data, workdir, checkpoints=f"{workdir},foreign=features:{folder}")
    config.update({"floors": (), "choose": "toy", "seeds": (0, 1, 2), "few_labels": ()})
    config.protocols = ("linear", "finetune")
    config.settings.finetune.update({"epochs": 1, "batch_size": 8, "warmup_epochs": 0.0})
    suite.run(config, place)
    after = {path: path.stat().st_mtime_ns for path in place.rglob("cells/*/*/*.npz")}
    assert before.items() <= after.items()
    results = json.loads((place / "results.json").read_text())
    rows = [
        row_of(results, encoder=name, protocol="linear", subset="100 %")["metrics"]
        for name in ("ours", "foreign")
    ]
    assert rows[0] == rows[1]
    assert any(
        (each["encoder"], each["protocol"]) == ("foreign", "finetune")
        for each in results["skipped"]
    )


def test_fine_tuning_and_segmentation_are_cells_like_others(data, workdir, tmp_path):
    config = configured(data, workdir, floors=(), seeds=(0,))
    config.protocols, config.few_labels = ("finetune", "unet_frozen", "unet_finetuned"), ()
    config.settings.finetune.update({"epochs": 2, "batch_size": 8})
    for name in ("unet_frozen", "unet_finetuned"):
        config.settings[name].update(
            {"tile": PX, "batch_size": 8, "steps": 2, "widths": (16, 16, 8, 8, 8)}
        )
    suite.run(config, tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert {(row["task"], row["protocol"]) for row in results["rows"]} == {
        ("toy", "finetune"),
        ("targets", "finetune"),
        ("masks", "unet_frozen"),
        ("masks", "unet_finetuned"),
    }
    row = row_of(results, task="masks", protocol="unet_frozen")
    assert [each["class"] for each in row["per_class"]] == ["nothing", "gland"]
    with Image.open(tmp_path / row["pictures"][0]) as picture:
        assert min(picture.size) > 100
    assert set(row_of(results, task="targets")["metrics"]) == {"l1", "r2", "spearman"}


def test_test_pixels_in_the_pretraining_mix_are_refused_unless_allowed(
    data, workdir, tmp_path, save_checkpoint
):
    """Patches of the test split join a mix under another name, as a leak would."""
    planted = tmp_path / "planted"
    pixels = data.parent / "a" / "patches" / "test"
    _prepare(pixels, planted / "records", "elsewhere", "--pattern", "{slide}/{}/*")
    arguments = [str(planted / "records"), "--out", str(planted / "mix"), "--size", "36"]
    assert cli.main(["mix", *arguments]) == 0
    told = json.loads((planted / "mix" / "mix.json").read_text())
    place = save_checkpoint(
        planted / "run",
        mix=provenance.mix_summary(told),
        config={"data": {"mix": str(planted / "mix")}},
    )
    config = configured(data, place, choose="toy", floors=())
    with pytest.raises(InputError, match="test data was seen before") as error:
        suite.run(config, tmp_path / "out")
    assert "toy, run: 36 of 36 test patches with the same pixels as patches of" in str(error.value)
    assert not (tmp_path / "out").exists()
    config.allow_leaks, config.protocols = True, ("centroid",)
    suite.run(config, tmp_path / "out")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    (leak,) = results["tasks"]["toy"]["leaks"]["run"]["leaks"]
    assert (leak["kind"], leak["patches"]) == ("pixels", 36)
    assert "36 of 36" in (tmp_path / "out" / "report.html").read_text()


def edited(data, folder, name, change) -> Path:
    """A copy of the record sets with one manifest changed."""
    shutil.copytree(data, folder)
    path = resolve_record_set(folder / name) / "manifest.parquet"
    table = pyarrow.parquet.read_table(path)
    columns = table.to_pydict()
    change(columns)
    pyarrow.parquet.write_table(pyarrow.table(columns, schema=table.schema), path)
    return folder


def _gap(columns):
    columns["label"][3] = None


def _only_train(columns):
    columns["split"] = ["train"] * len(columns["split"])


def _one_class(columns):
    columns["label"] = [
        "a" if split == "train" else label
        for split, label in zip(columns["split"], columns["label"], strict=True)
    ]


def _out_of_range(columns):
    columns["target"][2] = 1.5


def _no_slide(columns):
    columns["slide"][5] = ""


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("toy", _gap, "task toy: .*label '' is not one of its classes"),
        ("toy", _only_train, "task toy: .*no split 'test', only train"),
        ("toy", _one_class, "task toy: .*label 'b' occurs in the test split only"),
        ("targets", _out_of_range, "task targets: .*1 targets are not numbers from 0 to 1"),
        ("slides", _no_slide, "task slides: .*1 of 36 patches have no slide"),
    ],
)
def test_bad_record_sets_are_refused_by_the_name_of_their_task(
    data, workdir, tmp_path, name, change, said
):
    config = configured(edited(data, tmp_path / "data", name, change), workdir)
    with pytest.raises(InputError, match=said):
        suite.run(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_group_is_judged_by_patch_and_it_is_said(data, workdir, tmp_path):
    def unite(columns):
        columns["slide"] = columns["split"]

    config = configured(
        edited(data, tmp_path / "data", "toy", unite), workdir, choose="toy", floors=()
    )
    config.protocols = ("linear",)
    suite.run(config, tmp_path / "out")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    row = row_of(results, subset="100 %")
    assert row["resampled"] == {"unit": "patch", "units": 36}
    assert "single patches chose" in row["notes"][0]
    assert "only 1 test slide(s)" in results["tasks"]["toy"]["notes"][0]


def test_a_class_without_test_examples_is_said(data, workdir, tmp_path):
    def relabel(columns):
        columns["label"] = [
            "a" if split == "test" else label
            for split, label in zip(columns["split"], columns["label"], strict=True)
        ]

    config = configured(
        edited(data, tmp_path / "data", "toy", relabel), workdir, choose="toy", floors=()
    )
    config.protocols = ("centroid",)
    suite.run(config, tmp_path / "out")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert "no test example of b" in results["tasks"]["toy"]["notes"][0]


def test_a_checkpoint_without_statistics_is_refused_before_anything_is_computed(
    data, workdir, tmp_path
):
    broken = tmp_path / "broken"
    shutil.copytree(workdir, broken)
    shutil.rmtree(next(broken.glob("checkpoints/*/batch_stats")))
    with pytest.raises(InputError, match="batch_stats"):
        suite.run(configured(data, broken), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_bounds_of_targets_are_another_task(data, workdir, tmp_path):
    config = configured(data, workdir, floors=(), choose="targets")
    config.protocols = ("least_squares",)
    suite.run(config, tmp_path)
    config.tasks.targets.bounds = (0.4, 0.6)
    with pytest.raises(InputError, match="are not numbers from 0.4 to 0.6"):
        suite.run(config, tmp_path)
    config.tasks.targets.bounds = (-9.0, 9.0)
    suite.run(config, tmp_path)
    assert len(list(tmp_path.rglob("cells/targets/ours/*.npz"))) == 4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"checkpoints": ""}, "no encoder given"),
        ({"floors": ("histogram",)}, "config.floors: cannot be 'histogram'"),
        ({"protocols": ("probe",)}, "config.protocols: cannot be ['probe']"),
        ({"few_labels": ("probe",)}, "config.few_labels: cannot be ['probe']"),
        ({"fractions": (0.0, 1.0)}, "config.fractions: cannot be (0.0, 1.0)"),
        ({"seeds": ()}, "config.seeds"),
        ({"choose": "tooy"}, "no task 'tooy'; choose from"),
        ({"near_distance": 99}, "config.near_distance: cannot be 99; give 1 to 8"),
        ({"precision": "half"}, "config.precision: cannot be half"),
        ({"data": "nowhere"}, "4 of 4 tasks have no record set"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_computed(
    data, workdir, tmp_path, changes, said
):
    with pytest.raises(InputError) as error:
        suite.run(configured(data, workdir, **changes), tmp_path / "out")
    assert said in str(error.value)
    assert not (tmp_path / "out").exists()


def test_missing_record_sets_are_named_with_their_command_or_passed_over(data, workdir, tmp_path):
    config = configured(data, workdir, floors=("color histogram",))
    config.tasks.toy.records = "absent"
    config.protocols, config.few_labels = ("centroid", "mean_pool"), ()
    with pytest.raises(InputError) as error:
        suite.run(config, tmp_path / "out")
    assert "1 of 4 tasks have no record set" in str(error.value)
    assert "to make it: histo-simclr prepare" in str(error.value)
    config.skip_missing = True
    suite.run(config, tmp_path / "out")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert "toy" in {each["task"] for each in results["skipped"]}


def test_two_encoders_of_one_name_are_refused(data, workdir, tmp_path):
    config = configured(data, workdir, checkpoints=f"{workdir},{workdir}")
    with pytest.raises(InputError, match="two encoders are named 'ours'"):
        suite.run(config, tmp_path / "out")


def test_nan_features_are_refused_and_name_the_encoder(data, workdir, tmp_path, monkeypatch):
    from histo_simclr.suite import encoders

    def broken(candidate, encoder, task, **_):
        sizes = [len(part.rows) for part in (task.train, task.test)]
        return tuple(np.full((size, 4), np.nan, np.float32) for size in sizes)

    monkeypatch.setattr(encoders, "features", broken)
    config = configured(data, workdir, floors=(), choose="toy")
    with pytest.raises(InputError, match="ours, toy: 36 of 36 rows of the training features"):
        suite.run(config, tmp_path)


def test_metrics_are_the_ones_that_the_protocols_predictions_have(done):
    """The stored predictions of a cell, measured by hand."""
    path = next((done.place / "cells" / "toy" / "ours").glob("centroid_100pct_0-*.npz"))
    outcome, _ = cells.load(path)
    row = row_of(done.results, task="toy", encoder="ours", protocol="centroid", subset="100 %")
    found = metrics.values(outcome.truth, outcome.predictions)
    for name, value in found.items():
        assert row["metrics"][name]["per_seed"][0] == pytest.approx(float(value), abs=1e-6)


def test_a_damaged_cell_is_named(done, data, workdir, tmp_path):
    place = tmp_path / "suite"
    shutil.copytree(done.place, place)
    path = next(place.rglob("cells/toy/ours/centroid_100pct_0-*.npz"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="remove it and run the same command again") as error:
        suite.run(configured(data, workdir), place)
    assert path.name in str(error.value)


def _write_targets(folder: Path, out: Path) -> None:
    """Brightness is the target."""
    rng, lines = np.random.default_rng(3), []
    (folder / "patches").mkdir(parents=True)
    for split in ("train", "test"):
        for slide in range(6):
            for index in range(4):
                target = rng.uniform()
                pixels = 60 + 120 * target + rng.normal(0, 5, (PX, PX, 3))
                name = f"{split}{slide}_{index}.png"
                Image.fromarray(pixels.astype(np.uint8)).save(folder / "patches" / name)
                lines.append([name, split, f"{split}{slide}", f"{target:.6f}"])
    with (folder / "targets.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "split", "slide", "target"], *lines])
    _prepare(folder / "patches", out, "targets", "--labels", str(folder / "targets.csv"))


def _write_masks(folder: Path, out: Path) -> None:
    rng = np.random.default_rng(4)
    y, x = np.indices((PX, PX))
    for split in ("train", "test"):
        for slide in range(3):
            mask = (np.hypot(y - 12 - slide, x - 16) < 8).astype(np.uint8)
            pixels = np.where(mask[..., None], 90, 190) + rng.normal(0, 10, (PX, PX, 3))
            name = f"{split}/{split}{slide}_a.png"
            for part, image in (("patches", pixels.astype(np.uint8)), ("masks", mask)):
                (folder / part / name).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(folder / part / name)
    flags = ["--masks", "../masks/{folder}/{stem}.png", "--mask-classes", "nothing,gland"]
    _prepare(
        folder / "patches",
        out,
        "masks",
        "--pattern",
        "{split}/{slide}_*",
        "--encoding",
        "png",
        *flags,
    )


def _prepare(source: Path, out: Path, name: str, *flags: str) -> None:
    given = [str(source), "--name", name, "--out", str(out), "--px", str(PX)]
    assert cli.main(["prepare", *given, *flags, "--workers", "1"]) == 0
