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
POWERS = (40, 100, 200, 400)


def get_task(name, power=None):
    module = importlib.import_module(f"configs.tasks.{name}")
    given = [power or POWERS[0]] if name == "breakhis" else []
    return module.get_task(*given)


def picture(path, width, height, seed=None):
    """A picture of no two alike, in the format that the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(map(ord, str(path))) if seed is None else seed
    coarse = np.random.default_rng(seed).integers(60, 250, (6, 8, 3), np.uint8)
    Image.fromarray(coarse).resize((width, height)).save(path)


def drawn(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values)).save(path)


def half(width, height, value, dtype=np.uint8):
    """0 at the left, `value` at the right."""
    values = np.zeros((height, width), dtype)
    values[:, width // 2 :] = value
    return values


def bach(raw):
    for label, letter in (("Benign", "b"), ("InSitu", "is"), ("Invasive", "iv"), ("Normal", "n")):
        for number in range(1, 6):
            name = f"BACH/ICIAR2018_BACH_Challenge/Photos/{label}/{letter}{number:03d}.tif"
            picture(raw / name, 64, 48)


ANNOTATION = """<?xml version="1.0" encoding="UTF-8"?>
<Annotations MicronsPerPixel="0.467"><Annotation Id="1" Name=""><Regions>{}</Regions></Annotation>
</Annotations>"""
REGION = """<Region Id="{}" Text="{}" NegativeROA="0"><Attributes>{}</Attributes><Vertices>
<Vertex X="{left}" Y="0" Z="0"/><Vertex X="{right}" Y="0" Z="0"/>
<Vertex X="{right}" Y="1024" Z="0"/><Vertex X="{left}" Y="1024" Z="0"/></Vertices></Region>"""


def bach_segmentation(raw, write_tiff):
    folder = raw / "BACH/ICIAR2018_BACH_Challenge/WSI"
    folder.mkdir(parents=True)
    for number in range(1, 6):
        pixels = np.random.default_rng(number).integers(60, 250, (64, 128, 3), np.uint8)
        pixels = pixels.repeat(16, 0).repeat(16, 1)  # two squares, of which one is annotated
        write_tiff(folder / f"A{number:02d}.svs", [pixels], mpp=0.467, tile=(512, 512))
        said = ['<Attribute Id="1" Name="" Value="Benign"/>', ""]
        text = ["", "Carcinoma in situ"]
        regions = [
            REGION.format(i, text[i], said[i], left=256 * i, right=256 + 256 * i) for i in (0, 1)
        ]
        regions.append(REGION.format(3, "Invasive carcinoma", "", left=512, right=768))
        (folder / f"A{number:02d}.xml").write_text(ANNOTATION.format("".join(regions)))
    # Slides without annotation lie beside them.
    write_tiff(folder / "11.svs", [pixels], mpp=0.467, tile=(512, 512))


def breakhis(raw):
    kinds = {"benign": ("B", "adenosis", "A"), "malignant": ("M", "ductal_carcinoma", "DC")}
    for label, (letter, kind, short) in kinds.items():
        for patient in ("22549AB", "22549CD", "29960AB", "4372", "9146"):
            stem = f"SOB_{letter}_{short}"
            for power in POWERS:
                for number in (1, 2):
                    name = f"{stem}-14-{patient}{letter}-{power}-{number:03d}.png"
                    folder = (
                        f"histology_slides/breast/{label}/SOB/{kind}/{stem}_14-{patient}{letter}"
                    )
                    picture(raw / f"BreaKHis_v1/{folder}/{power}X/{name}", 70, 46)


def breastpathq(raw):
    folder = raw / "breastpathq/breastpathq/datasets"
    folder.mkdir(parents=True)
    tables = {"train": ["slide,rid,y"], "validation": ["slide,rid,p1,p2"]}
    for part, lines in tables.items():
        for slide in (1, 2) if part == "train" else (3, 4):
            for region in range(1, 4):
                picture(folder / part / f"9{slide}_{region}.tif", 64, 64)
                scores = [f"{region / 4:g}"] if part == "train" else ["0.2", f"{region / 5:g}"]
                lines.append(",".join([f"9{slide}", f"{region}", *scores]))
    (folder / "train_labels.csv").write_text("\n".join(tables["train"]))
    later = raw / "breastpathq/breastpathq-test"
    later.mkdir()
    (later / "val_labels.csv").write_text("\n".join(tables["validation"]))


def camelyon16(raw, write_tiff, cmu):
    from histo_simclr.slides import reader

    (raw / "CAMELYON16/images").mkdir(parents=True)
    names = [f"{kind}_{number:03d}" for kind in ("normal", "tumor") for number in range(1, 6)]
    with reader.open_slide(cmu) as slide:
        for number, name in enumerate([*names, "test_001"]):
            tissue = slide.read(600 + 40 * number, 1000, mpp=0.5, px=512)
            write_tiff(raw / f"CAMELYON16/images/{name}.tif", [tissue], tile=(256, 256))


def digestpath(raw):
    folder = raw / "digestpath/tissue-train-pos-v1"
    for slide in range(5):
        for number in range(2):
            stem = f"2018_6498{slide}_1-1_2019-02-25 21_57_36-lv1-{number}20594-11520-64-48"
            picture(folder / f"{stem}.jpg", 64, 64)
            drawn(folder / f"{stem}_mask.jpg", half(72, 64, 255)[:, 4:68])


def glas(raw):
    for part, count in (("train", 4), ("testA", 2), ("testB", 1)):
        for number in range(1, count + 1):
            picture(raw / f"Warwick_QU/{part}_{number}.bmp", 530, 260)
            drawn(raw / f"Warwick_QU/{part}_{number}_anno.bmp", half(530, 260, number))
    (raw / "Warwick_QU/Grade.csv").write_text("name,patient ID, grade (GlaS)\ntestA_1,4,benign\n")


def gleason2019(raw):
    for core in range(6):
        stem = f"slide001_core00{core}"
        picture(raw / f"gleason2019/Train Imgs/Train Imgs/{stem}.jpg", 5 * 448, 460)
        for pathologist in (1, 3, 5):
            values = np.repeat([0, 1 if pathologist == 1 else 6, 3, 4, 5], 448).astype(np.uint8)
            values[2 * 448 : 2 * 448 + 300] = 3 if pathologist == 1 else 5  # outvoted below
            drawn(
                raw / f"gleason2019/Maps{pathologist}_T/{stem}_classimg_nonconvex.png",
                np.tile(values, (460, 1)),
            )


def glomeruli(raw):
    for number in range(8):
        picture(raw / f"glomeruli_pas/images/{10003 + number}.png", 64, 64)
        mask = np.zeros((64, 64, 3), np.uint8)
        mask[20:50, 20:50, 0] = 255
        drawn(raw / f"glomeruli_pas/masks/{10003 + number}.png", mask)


def kather2016(raw):
    names = ("TUMOR", "STROMA", "COMPLEX", "LYMPHO", "DEBRIS", "MUCOSA", "ADIPOSE", "EMPTY")
    for index, label in enumerate(names, 1):
        for slide in range(1, 11):
            odd = "_009.tif" if slide % 2 else "c.tif"  # both kinds of names are there
            name = f"1{index}{slide:03d}_CRC-Prim-HE-{slide:02d}{odd}_Row_301_Col_151.tif"
            folder = "Kather_texture_2016_image_tiles_5000"
            picture(raw / f"{folder}/{index:02d}_{label}/{name}", 150, 150)
    return {"Kather_texture_2016_image_tiles_5000.zip": raw}


def lymph(raw):
    for label in ("CLL", "FL", "MCL"):
        for case in range(5):
            for number in (1, 2):
                picture(
                    raw / f"Lymph/{label}/sj-03-28{ord(label[0])}{case}_{number:03d}.tif", 64, 48
                )


def nct_crc(raw):
    classes = ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM")
    for label in classes:
        for letters in ("AAAICEHS", "AAACVTLK"):
            picture(raw / f"NCT-CRC-HE-100K/{label}/{label}-{letters}.tif", 224, 224)
        picture(raw / f"CRC-VAL-HE-7K/{label}/{label}-TCGA-ALPPQLSF.tif", 224, 224)


def nuclei(raw):
    for number in range(9):
        folder = raw / f"DSB2018/stage1_train/{number:064x}"
        picture(folder / f"images/{number:064x}.png", 320, 256)
        if number == 8:  # fluorescence: gray
            Image.open(folder / f"images/{number:064x}.png").convert("L").convert("RGBA").save(
                folder / f"images/{number:064x}.png"
            )
        for nucleus in range(2):
            values = np.zeros((256, 320), np.uint8)
            values[20:60, 20 + 100 * nucleus : 60 + 100 * nucleus] = 255
            drawn(folder / f"masks/{nucleus:064x}.png", values)


def pcam(raw):
    import h5py

    raw.mkdir()
    rng, found = np.random.default_rng(0), {}
    for split in ("train", "valid", "test"):
        stem = f"camelyonpatch_level_2_split_{split}"
        with h5py.File(raw / f"{stem}_x.h5", "w") as file:
            file["x"] = rng.integers(0, 256, (8, 96, 96, 3), np.uint8)
        with h5py.File(raw / f"{stem}_y.h5", "w") as file:
            file["y"] = (np.arange(8) % 2).reshape(8, 1, 1, 1)
        found |= {f"{stem}_{each}.h5.gz": raw / f"{stem}_{each}.h5" for each in "xy"}
    return found


STAND_INS = {
    each.__name__: each
    for each in (bach, bach_segmentation, breakhis, breastpathq, camelyon16, digestpath, glas)
} | {
    each.__name__: each
    for each in (gleason2019, glomeruli, kather2016, lymph, nct_crc, nuclei, pcam)
}
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
    assert set(FILES) == {*STAND_INS, *EMBEDDED}


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
        stand_in = STAND_INS[name]
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


@pytest.mark.parametrize("power", POWERS[1:])
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
