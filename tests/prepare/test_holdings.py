import os

import pytest

from histo_simclr.errors import InputError
from histo_simclr.prepare import holdings, registry

COHORTS = registry.load()


@pytest.fixture
def data(tmp_path):
    """Makes empty files below a folder of data folders and returns it; nothing opens them."""

    def make(*names):
        for name in names:
            path = tmp_path / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / "data"

    return make


def _only(folder):
    held, foreign = holdings.check(folder, COHORTS)
    assert foreign == []
    (one,) = held
    return one


def test_slides_are_counted_against_the_registry(data):
    # PAIP2019 has 100 slides.
    folder = data(*(f"PAIP2019/part{i % 3}/{i}.svs" for i in range(99)))
    one = _only(folder)
    assert one == (folder / "PAIP2019", "PAIP2019", "files", 99, None, "incomplete", "")
    data("PAIP2019/more/last.SVS")
    assert _only(folder)[3:6] == (100, None, "complete")


def test_patches_and_slides_of_one_cohort_are_counted_apart(data):
    # BACH has 400 images and 30 slides.
    folder = data(*(f"bach/{i}.tif" for i in range(400)), *(f"bach/wsi/{i}.svs" for i in range(29)))
    assert _only(folder)[1:6] == ("BACH", "files", 29, 400, "incomplete")
    data("bach/wsi/29.svs")
    assert _only(folder).state == "complete"


def test_a_cohort_of_unknown_size_is_neither_complete_nor_not(data):
    one = _only(data("PanNuke/1.png", "PanNuke/2.png"))
    assert (one.patches, one.state) == (2, "unknown")


def test_masks_and_annotations_beside_images_are_not_counted(data):
    folder = data(
        *("GlaS/train_1.bmp", "GlaS/train_1_anno.bmp", "GlaS/masks/train_1.png"),
        *("GlaS/labels/train_1.png", "GlaS/Grade.csv", "GlaS/.train_2.bmp", "GlaS/mask-b.png"),
        *("GlaS/unlabelled/2.bmp", "GlaS/maskless_3.bmp"),
    )
    assert _only(folder).patches == 3


def test_more_than_the_registry_counts_is_not_complete(data):
    folder = data(*(f"PAIP2019/{i}.svs" for i in range(101)))
    assert _only(folder).state == "more than expected"
    data("BACH/1.svs", *(f"BACH/{i}.tif" for i in range(401)))
    held, _ = holdings.check(folder, COHORTS)
    assert [each.state for each in held] == ["incomplete", "more than expected"]


def test_slides_and_patches_of_one_cohort_are_record_sets_of_their_own(prepare, tmp_path, images):
    source = images.tree(tmp_path / "s", {"1.jpg": images.encode(images.pixels(32, 32))})
    prepare(source, name="BACH", out=tmp_path / "all")
    path = prepare(source, name="BACH-slides", out=tmp_path / "all")
    (path / "slides.csv").touch()  # what a record set of slides has
    held, _ = holdings.check(tmp_path / "all", COHORTS)
    assert [(each.cohort, each.slides, each.patches) for each in held] == [
        ("BACH", None, 1),
        ("BACH", 1, None),
    ]


def test_a_dicom_slide_is_a_folder(data):
    levels = [
        f"CPTAC-SAR/P{p}/SM_{s}/{i}.dcm" for p in range(3) for s in range(2) for i in range(5)
    ]
    assert _only(data(*levels)).slides == 6


def test_archives_alone_ask_to_be_unpacked(data):
    one = _only(data("NCT-CRC-HE-100K/a.zip", "NCT-CRC-HE-100K/b.zip"))
    assert (one.patches, one.state) == (0, "incomplete")
    assert one.detail == "archives only (2): unpack them"


def test_folders_of_no_cohort_are_named_and_files_passed_over(data):
    folder = data("Our own/1.png", "TCGA-LUAD/1.svs", ".cache/1.png", "notes.txt")
    held, foreign = holdings.check(folder, COHORTS)
    assert [each.cohort for each in held] == ["TCGA-LUAD"]
    assert foreign == ["Our own"]


def test_a_record_set_counts_the_images_it_was_made_from(prepare, tmp_path, images):
    """Lymph has 374 images; each gives several patches, and a rejected one was there too."""
    files = {f"{i}.png": images.encode(images.pixels(16, 40, i), "PNG") for i in range(373)}
    source = images.tree(tmp_path / "source", files | {"torn.png": b"no image"})
    prepare(source, name="Lymph", out=tmp_path / "all", px=16, max_rejected=1.0)
    one = _only(tmp_path / "all")
    assert one[1:6] == ("Lymph", "records", None, 374, "complete")
    assert one.detail == "746 patches of 373 sources, 1 rejected"
    assert one.folder.name == "lymph"


def test_a_record_set_of_some_images_is_incomplete(prepare, tmp_path, images):
    source = images.tree(tmp_path / "source", {"1.jpg": images.encode(images.pixels(32, 32))})
    prepare(source, name="CAMELYON16", out=tmp_path / "all")
    assert _only(tmp_path / "all")[1:6] == ("CAMELYON16", "records", 1, None, "incomplete")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("manifest.parquet", b"PAR1"),
        ("manifest.parquet", None),
        ("record_set.json", b"{"),
        ("record_set.json", b"{}"),
        ("record_set.json", b"[]"),
        ("record_set.json", b'{"counts": 3, "rejected": 0}'),
        ("record_set.json", b'{"counts": {"train": 3}, "rejected": "some"}'),
    ],
)
def test_a_damaged_record_set_is_named_and_the_others_are_checked(
    prepare, tmp_path, images, name, content
):
    source = images.tree(tmp_path / "source", {"1.jpg": images.encode(images.pixels(32, 32))})
    path = prepare(source, name="GlaS", out=tmp_path / "all")
    prepare(source, name="PanNuke", out=tmp_path / "all")
    (path / name).unlink()
    if content is not None:
        (path / name).write_bytes(content)
    damaged, whole = holdings.check(tmp_path / "all", COHORTS)[0]
    assert (damaged.cohort, damaged.state, damaged.patches) == ("GlaS", "damaged", None)
    assert str(path.parent) in damaged.detail
    assert (whole.cohort, whole.state, whole.patches) == ("PanNuke", "unknown", 1)


def test_a_link_to_a_data_folder_counts_and_one_within_is_not_followed(data, tmp_path):
    folder = data("GlaS/1.bmp")
    os.symlink(folder / "GlaS", folder / "GlaS" / "again")
    (tmp_path / "linked").mkdir()
    os.symlink(folder / "GlaS", tmp_path / "linked" / "GlaS")
    assert _only(tmp_path / "linked").patches == 1


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"gone: cannot be listed .*one folder a cohort"):
        holdings.check(tmp_path / "gone", COHORTS)
