import pytest

from histo_simclr.errors import InputError
from histo_simclr.prepare import slide_list
from histo_simclr.prepare.item import Item


def find(*source, pattern="", labels=""):
    defaults = Item("", "", split="train", stain="H&E")
    items, _ = slide_list.find(
        [str(each) for each in source], defaults=defaults, pattern=pattern, labels=str(labels)
    )
    return items


def tree(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_every_format_is_found_by_its_extension_in_order(tmp_path):
    names = ["a.svs", "b/c.ndpi", "b/d.OME.TIFF", "e.mrxs", "e/Data0001.dat", "f.txt", "g.png"]
    found = find(tree(tmp_path, *names))
    assert [item.name for item in found] == ["a.svs", "b/c.ndpi", "b/d.OME.TIFF", "e.mrxs", "g.png"]
    assert [item.slide for item in found] == ["a", "c", "d", "e", "g"]
    assert found[0].data == str(tmp_path / "a.svs")


def test_files_and_folders_can_be_mixed(tmp_path):
    tree(tmp_path, "x/a.svs", "y/b.svs", "c.svs")
    found = find(tmp_path / "c.svs", tmp_path / "x", tmp_path / "y")
    assert [item.name for item in found] == ["c.svs", "x/a.svs", "y/b.svs"]


@pytest.mark.parametrize(
    ("slide", "patient"),
    [
        ("TCGA-AA-A00B-01Z-00-DX1.0f3c", "TCGA-AA-A00B"),
        ("TCGA-AA-A00B.x", "TCGA-AA-A00B"),
        ("TCGA-AA-A00BX-01Z", ""),
        ("tcga-aa-a00b-01z", ""),
        ("CMU-1", ""),
        ("C3L-00001-21", ""),
    ],
)
def test_patient_is_tcgas_only_where_the_id_is_tcgas(tmp_path, slide, patient):
    (item,) = find(tree(tmp_path, f"{slide}.svs"))
    assert (item.slide, item.patient) == (slide, patient)


def test_pattern_and_csv_say_more(tmp_path):
    tree(tmp_path / "s", "P1/TCGA-AA-0001-01.svs", "P2/b.svs")
    found = find(tmp_path / "s", pattern="{patient}/{}.svs")
    assert [item.patient for item in found] == ["P1", "P2"]
    (tmp_path / "list.csv").write_text("path,slide,stain\nP1/TCGA-AA-0001-01.svs,one,Ki-67\n")
    (item,) = find(tmp_path / "s", labels=tmp_path / "list.csv")
    assert (item.slide, item.stain, item.split) == ("one", "Ki-67", "train")


def test_two_slides_of_one_name_are_refused(tmp_path):
    tree(tmp_path, "x/a.svs", "y/a.ndpi")
    with pytest.raises(InputError, match=r"ids are there twice, e.g. 'a' \(x/a.svs, y/a.ndpi"):
        find(tmp_path)


def test_images_beside_a_vms_file_are_its_parts(tmp_path):
    found = find(tree(tmp_path, "h/s.vms", "h/s_0.jpg", "h/s_1.jpg", "other.jpg"))
    assert [item.name for item in found] == ["h/s.vms", "other.jpg"]


def test_masks_are_set_aside_and_no_slides_of_the_same_name(tmp_path):
    tree(tmp_path, "tumor_1.tif", "masks/tumor_1.tif", "tumor_2_mask.tif")
    items, set_aside = slide_list.find(
        [str(tmp_path)], defaults=Item("", ""), pattern="", labels=""
    )
    assert [item.name for item in items] == ["tumor_1.tif"]
    assert set_aside == ["masks/tumor_1.tif", "tumor_2_mask.tif"]
    assert [item.name for item in find(tmp_path / "tumor_2_mask.tif")] == ["tumor_2_mask.tif"]
    with pytest.raises(InputError, match=r"no slides, but gt/tumor_1.tif …, .* list the files in"):
        find(tree(tmp_path / "m", "gt/tumor_1.tif"))


def test_no_slide_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no slides; give files that end in .svs"):
        find(tree(tmp_path, "a.txt"))
