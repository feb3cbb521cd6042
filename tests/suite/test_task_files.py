"""Each file of configs/tasks: what it says is checked, what it commands is run.

The commands run on stand-ins: tiny made-up images in the real download's folders and file names, of
its file types, with its tables. TFDS's own builders read theirs.
"""

import csv
import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs import task as tasks
from histo_simclr import cli, records
from histo_simclr.evaluate import labelled, masked, measured, splits
from histo_simclr.prepare import registry

ROOT = Path(__file__).parents[2]
FILES = sorted(path.stem for path in (ROOT / "configs/tasks").glob("*.py"))
EMBEDDED = ("sample_osteosarcoma", "sample_pcam")


def _stand_ins():
    """The module stand_ins.py beside this file (tests are no package)."""
    place = Path(__file__).with_name("stand_ins.py")
    spec = importlib.util.spec_from_file_location("stand_ins", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


stand_ins = _stand_ins()


def get_task(name, power=None):
    module = importlib.import_module(f"configs.tasks.{name}")
    given = [power or stand_ins.POWERS[0]] if name == "breakhis" else []
    return module.get_task(*given)


CLASSES = {
    "bach": ["Benign", "InSitu", "Invasive", "Normal"],
    "bach_segmentation": ["background", "benign", "in_situ", "invasive"],
    "breakhis": ["B", "M"],
    "camelyon16": ["normal", "tumor"],
    "digestpath": ["background", "malignant"],
    "glas": ["background", "gland"],
    "gleason2019": ["background", "benign", "grade3", "grade4", "grade5"],
    "glomeruli": ["background", "glomerulus"],
    "kather2016": ["adipose", "complex", "debris", "empty", "lympho", "mucosa", "stroma", "tumor"],
    "lymph": ["CLL", "FL", "MCL"],
    "nct_crc": ["ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM"],
    "nuclei": ["background", "nucleus"],
    "pcam": ["0", "1"],
    "sample_osteosarcoma": ["non_tumor", "non_viable_tumor", "viable_tumor"],
    "sample_pcam": ["normal", "tumor"],
}
# What keeps patches together, and how many of them: train, test.
GROUPS = {
    "bach": ("slide", 16, 4),
    "bach_segmentation": ("slide", 4, 1),
    "breakhis": ("patient", 8, 2),
    "breastpathq": ("slide", 2, 2),
    "camelyon16": ("slide", 8, 2),
    "digestpath": ("slide", 4, 1),
    "glas": ("slide", 4, 3),
    "gleason2019": ("slide", 5, 1),
    "glomeruli": ("slide", 6, 2),
    "kather2016": ("slide", 8, 2),
    "lymph": ("patient", 12, 3),
    "nct_crc": ("example", 18, 9),
    "nuclei": ("slide", 6, 2),
    "pcam": ("example", 8, 8),
    "sample_osteosarcoma": ("patient", 3, 1),
    "sample_pcam": ("example", 2000, 1000),
}


@pytest.mark.parametrize("name", FILES)
def test_file_says_what_the_suite_needs(name):
    task = get_task(name)
    assert task.metric in tasks.METRICS[task.kind]
    assert len(task.split_rule) > 20
    cohorts = registry.load()
    cohort = registry.find(task.cohort, cohorts)
    doc = importlib.import_module(f"configs.tasks.{name}").__doc__
    assert re.search(r"licence\s\(([\w.-]*\w)", doc)[1] == cohort.license
    shown = re.search(r"`histo-simclr\s+datasets\s+(\S+)`", doc)[1]
    assert registry.find(shown, cohorts) == cohort


def commands_of(name):
    return [shlex.split(each) for each in get_task(name).prepare.split(" && ")]


@pytest.mark.parametrize("name", sorted(set(FILES) - set(EMBEDDED)))
def test_prepare_parses_and_names_its_record_set_and_cohort(name):
    task = get_task(name)
    *_, last = commands_of(name)
    assert last[0] == "histo-simclr"
    args = cli.parser("prepare").parse_args(last[1:])
    cohorts = registry.load()
    assert registry.find(args.name, cohorts) == registry.find(task.cohort, cohorts)
    assert Path(args.out).parts[0] == "labelled"
    assert (task.kind == "slides") == args.slides
    assert (task.kind == "segmentation") == bool(args.mask_classes)


def test_every_task_file_is_tried():
    assert set(FILES) == set(CLASSES) | {"breastpathq"} == set(GROUPS)


def run(words):
    """One command of a task, in this process where it is Python."""
    if words[0] == "python":
        path = ROOT / words[1]
        spec = importlib.util.spec_from_file_location(f"task_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", words[1:])
            module.main()
    elif words[0] == "histo-simclr":
        assert cli.main([*words[1:], "--workers", "1"]) == 0
    else:
        subprocess.run(words, check=True)


def downloaded(downloads, urls):
    """Where the stand-ins of these addresses lie, in the same structure."""
    if isinstance(urls, dict):
        return {name: downloaded(downloads, url) for name, url in urls.items()}
    return str(downloads[urls.rpartition("/")[2]])


@pytest.fixture
def prepared(tmp_path, monkeypatch, request):
    """prepared(name): the task after its own commands, and its record set."""
    import tensorflow_datasets as tfds

    def call(name, power=None):
        if name in EMBEDDED:
            return get_task(name), ROOT / "data/sample/records" / get_task(name).records
        monkeypatch.chdir(tmp_path)
        stand_in = getattr(stand_ins, name)
        given = stand_in.__code__.co_varnames[1 : stand_in.__code__.co_argcount]
        downloads = stand_in(tmp_path / "raw", *map(request.getfixturevalue, given))
        if downloads:
            builder = tfds.builder
            monkeypatch.setattr(
                tfds, "builder", lambda each: builder(each, data_dir=tmp_path / "tfds")
            )
            monkeypatch.setattr(
                tfds.download.DownloadManager,
                "download_and_extract",
                lambda _, urls: downloaded(downloads, urls),
            )
        task = get_task(name, power)
        for command in task.prepare.split(" && "):
            run(shlex.split(command))
        return task, tmp_path / "labelled" / task.records

    return call


def opened(task, path):
    """(train rows, test rows, classes or None, groups) by the checks of its kind."""
    if task.kind == "segmentation":
        train, test, classes = masked.open_splits(path, task.train_split, task.test_split)
        return len(train.images), len(test.images), classes, (train.groups, test.groups)
    if task.kind == "regression":
        found = measured.open_targets(path, task.train_split, task.test_split, task.bounds)
        sizes = [len(part.rows) for part in found.record_sets]
        return *sizes, None, found.groups
    found = labelled.open_splits(path, task.train_split, task.test_split)
    return *[len(part.rows) for part in found.record_sets], found.classes, found.groups


@pytest.mark.parametrize("name", FILES)
def test_commands_make_the_record_set_that_the_task_names(name, prepared):
    task, path = prepared(name)
    train, test, classes, groups = opened(task, path)
    assert classes == CLASSES.get(name)
    unit, *counts = GROUPS[name]
    assert (groups[0].kind, groups[1].kind) == (unit, unit)
    assert [each.count() for each in groups] == counts
    splits.check_disjoint(*groups, where=name)
    assert train >= counts[0]
    assert test >= counts[1]
    rows = records.load_record_set(path, task.test_split).rows
    if name not in EMBEDDED:
        flags = dict(zip((words := commands_of(name)[-1]), words[1:], strict=False))
        assert rows.px == int(flags["--px"])
        text = (records.resolve_record_set(path) / "rejected.csv").read_text(encoding="utf-8")
        rejected = list(csv.reader(text.splitlines()))
        assert all("by its name" in reason for _, reason in rejected[1:])


@pytest.mark.parametrize("power", stand_ins.POWERS[1:])
def test_breakhis_takes_the_images_of_its_power_alone(power, prepared):
    task, path = prepared("breakhis", power)
    columns = records.load_record_set(path, "train").columns
    assert all(f"-{power}-" in source for source in columns["source"])
    assert len(columns["source"]) == 16
    assert task.records == f"breakhis_{power}"


def test_breastpathq_has_the_mean_of_its_pathologists(prepared):
    task, path = prepared("breastpathq")
    targets = measured.open_targets(path, "train", "test", task.bounds).targets
    np.testing.assert_allclose(targets[0], [0.25, 0.5, 0.75] * 2)
    np.testing.assert_allclose(targets[1], [0.2, 0.3, 0.4] * 2)


def test_gleason2019_takes_the_class_of_most_votes(prepared):
    _, path = prepared("gleason2019")
    columns = [records.load_record_set(path, split).columns for split in ("train", "test")]
    label = {
        source.rsplit("_", 2)[1]: label
        for each in columns
        for source, label in zip(each["source"], each["label"], strict=True)
    }
    # From 896 px on two of three say 5 for 300 of 448 columns: 600 votes; 3 has the other 744.
    assert label == {
        "0": "background",
        "448": "benign",
        "896": "grade3",
        "1344": "grade4",
        "1792": "grade5",
    }


def test_bach_squares_show_the_regions_of_the_xml(prepared):
    _, path = prepared("bach_segmentation")
    train, test, _ = masked.open_splits(path, "train", "test")
    for mask in (*train.masks, *test.masks):
        # 256 px of level 0 are 128 of the squares; edges of polygons are theirs by a pixel.
        assert [mask[5, x] for x in (60, 190, 320, 450)] == [1, 2, 3, 0]
    assert len(train.masks) + len(test.masks) == 5


def test_nuclei_leave_fluorescence_out_and_merge_masks(prepared, tmp_path):
    _, path = prepared("nuclei")
    train, test, _ = masked.open_splits(path, "train", "test")
    assert len(train.images) + len(test.images) == 8
    merged = np.asarray(Image.open(tmp_path / "raw/DSB2018/merged/masks" / f"{0:064x}.png"))
    assert np.unique(merged).tolist() == [0, 1, 2]
    assert (train.masks[0] == (merged[:, :256] > 0)).all()


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("breastpathq", "no train_labels.csv"),
        ("gleason2019", "no 'Train Imgs'"),
        ("bach_slides", r"no .xml"),
        ("dsb2018", "no ID/images/ID.png"),
    ],
)
def test_scripts_say_what_is_not_there(script, says, tmp_path):
    with pytest.raises(SystemExit, match=f"error: {says} .*{tmp_path.name}"):
        run(["python", f"data/tasks/{script}.py", str(tmp_path), str(tmp_path / "out")])
