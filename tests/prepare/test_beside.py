import csv
import json
import shlex

import pytest

from histo_simclr import cli
from histo_simclr.errors import InputError
from histo_simclr.prepare import acquire, beside, holdings, registry

COHORTS = registry.load()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("train_1_anno.bmp", True),
        ("masks/tumor_001_mask.tif", True),
        ("masks/tumor_001.tif", True),
        ("train_label_masks/0018ae58b01b.tiff", True),
        ("a/Annotations/b/1.png", True),
        ("image_GT.png", True),
        ("gt_1.png", True),
        ("GT/1.png", True),
        ("labels/", True),
        ("train_1.bmp", False),
        ("unlabelled/1.png", False),
        ("maskless_3.bmp", False),
        ("annotated/1.png", False),
        ("TCGA-GT-A0BC-01Z-00-DX1.svs", False),
        ("tumor.mask/", False),
    ],
)
def test_masks_and_annotations_are_told_by_their_names(path, expected):
    assert beside.is_beside(path) == expected


@pytest.fixture
def glas(tmp_path, images):
    """raw/GlaS as downloaded, in small: 4 images, each with its annotation."""
    names = [f"train_{i}{end}.bmp" for i in range(4) for end in ("", "_anno")]
    files = {name: images.encode(images.pixels(32, 32, i), "BMP") for i, name in enumerate(names)}
    return images.tree(tmp_path / "raw/GlaS", files)


def rejected(folder):
    with open(folder / "rejected.csv", newline="") as file:
        return [tuple(row.values()) for row in csv.DictReader(file)]


def test_command_of_the_registry_takes_the_images_and_not_their_annotations(
    glas, tmp_path, capsys, caplog
):
    cohort = registry.find("GlaS", COHORTS)
    line = acquire.commands(cohort, glas.parent, tmp_path / "records")[-1]
    assert cli.main([*shlex.split(line)[1:], "--px", "32", "--workers", "1"]) == 0
    path = tmp_path / "records/glas/1.0.0"
    info = json.loads((path / "record_set.json").read_text())
    assert (info["counts"], info["rejected"]) == ({"train": 4}, 0)
    expected = [(f"train_{i}_anno.bmp", "a mask or annotation, by its name") for i in range(4)]
    assert rejected(path) == expected
    assert (
        "4 files left out, each a mask or annotation, by its name, e.g. train_0_an" in caplog.text
    )
    assert "- 4: a mask or annotation, by its name" in (path / "README.md").read_text()
    (held,), _ = holdings.check(tmp_path / "records", COHORTS)
    assert (held.patches, held.state) == (4, "incomplete")


def test_share_of_images_that_may_be_unusable_is_one_of_images(glas, prepare, tmp_path):
    (glas / "train_0.bmp").write_bytes(b"")
    prepare(glas, max_rejected=0.25)
    with pytest.raises(InputError, match=r"more than 20.0% of 4 images cannot be used"):
        prepare(glas, max_rejected=0.2, out=tmp_path / "other")


def test_what_a_csv_lists_is_taken(glas, prepare):
    (glas / "list.csv").write_text("path\ntrain_1_anno.bmp\ntrain_1.bmp\n")
    path = prepare(glas, labels=str(glas / "list.csv"))
    assert json.loads((path / "record_set.json").read_text())["counts"] == {"train": 2}
    assert rejected(path) == []


def test_folder_of_masks_alone_is_refused_with_the_way_out(tmp_path, images, prepare):
    source = images.tree(tmp_path / "s", {"masks/1.png": b"x", "masks/2.png": b"x"})
    with pytest.raises(InputError, match=r"no images, but 2 files.*masks/1.png.*list the files in"):
        prepare(source)
