"""`histo-simclr prepare --slides` as a user calls it; slides are read in spawned processes."""

import csv
import json
import shutil

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from histo_simclr import cli, records
from histo_simclr.prepare import slide_flags
from histo_simclr.slides import reader


@pytest.fixture
def prepare(tmp_path, capsys):
    """prepare(*arguments): runs the command on tmp_path/in; (exit code, stdout, stderr)."""

    def call(*arguments, out="out", mpp="1.0", workers=1, source="in"):
        given = ["prepare", tmp_path / source, "--slides", "--name", "C", "--out", tmp_path / out]
        given += ["--px", 64, "--stain", "H&E", "--workers", workers, *arguments]
        given += ["--mpp", mpp] if mpp else []
        code = cli.main([str(each) for each in given])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def slides(tmp_path, cmu):
    """tmp_path/in with two copies of the real slide, one of them named as TCGA does."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.svs", "TCGA-AA-0001-01Z-00-DX1.svs"):
        shutil.copy(cmu, folder / name)
    return folder


def table(folder):
    with open(folder / "slides.csv", encoding="utf-8") as file:
        return {row["wsi"]: row for row in csv.DictReader(file)}


def content(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_records_hold_the_slides_pixels_and_say_where_they_are(prepare, slides, tmp_path):
    import tensorflow_datasets as tfds

    code, out, _ = prepare("--patches", 8, "--encoding", "png", mpp="0.5,1.0:1,1")
    assert code == 0
    folder = tmp_path / "out/c/1.0.0"
    columns = records.load_record_set(folder, "train").columns
    assert sorted(zip(columns["slide"], columns["mpp"], strict=True)) == sorted(
        (slide, mpp) for slide in ("a", "TCGA-AA-0001-01Z-00-DX1") for mpp in [0.5] * 4 + [1.0] * 4
    )
    assert set(columns["patient"]) == {"", "TCGA-AA-0001"}
    assert set(zip(columns["mpp"], columns["magnification"], strict=True)) == {(0.5, 20), (1.0, 10)}
    builder = tfds.builder_from_directory(str(folder))
    with reader.open_slide(slides / "a.svs") as slide:
        for example in builder.as_dataset(split="train").as_numpy_iterator():
            mpp, x, y = float(example["mpp"]), int(example["x"]), int(example["y"])
            expected = slide.read(x, y, mpp=mpp, px=64)
            np.testing.assert_array_equal(example["image"], expected)
            key = f"C/{example['slide'].decode()}/{x}_{y}_{mpp:g}"
            assert example["key"].decode() == key
    for line in ("slides: 2 ok", "by mpp: 0.5: 8, 1: 8", "20x: 8, 10x: 8", "by stain: H&E: 16"):
        assert line in out


def test_plan_comes_first_and_gives_the_same_records_again(prepare, slides, tmp_path):
    code, out, _ = prepare("--patches", 6, "--plan-only", out="first")
    assert code == 0
    plan = tmp_path / "first/c/plan"
    assert not list(plan.rglob("*tfrecord*"))
    assert f"--plan {plan / 'plan.parquet'}" in out
    assert json.loads((plan / "summary.json").read_text())["patches"]["mpp"] == {"1": 12}
    assert prepare("--patches", 6, out="whole", workers=2)[0] == 0
    assert prepare("--plan", plan / "plan.parquet", mpp="", out="again")[0] == 0
    whole, again = tmp_path / "whole/c/1.0.0", tmp_path / "again/c/1.0.0"
    for name in ("plan.parquet", "manifest.parquet", "c-train.tfrecord-00000-of-00001"):
        assert (whole / name).read_bytes() == (again / name).read_bytes(), name
    planned = pyarrow.parquet.read_table(plan / "plan.parquet")
    columns = records.load_record_set(again, "train").columns
    assert columns["x"].tolist() == planned["x"].to_pylist()
    assert columns["slide"].tolist() == planned["slide"].to_pylist()


def test_bytes_do_not_depend_on_the_number_of_workers(prepare, slides, tmp_path):
    (slides / "text.svs").write_text("no slide")
    one = prepare("--patches", 5, out="one")
    two = prepare("--patches", 5, out="two", workers=3)
    assert one[0] == two[0] == 0
    found = content(tmp_path / "one/c/1.0.0")
    assert found == content(tmp_path / "two/c/1.0.0")
    assert {"qc/a.jpg", "qc/contact_sheets/001.jpg", "slides.csv"} <= set(found)
    assert all(str(tmp_path).encode() not in data for data in found.values())


def test_every_slide_ends_in_one_row_with_its_reason(prepare, slides, tmp_path, cmu, write_tiff):
    (slides / "zero.svs").write_bytes(b"")
    (slides / "text.svs").write_text("no slide")
    (slides / "torn.svs").write_bytes(cmu.read_bytes()[:900_000])
    write_tiff(slides / "glass.tif", [np.full((1000, 1000, 3), 245, np.uint8)], mpp=0.5)
    write_tiff(slides / "coarse.tif", [np.full((500, 500, 3), 245, np.uint8)], mpp=2.0)
    write_tiff(slides / "no_mpp.tif", [np.full((500, 500, 3), 245, np.uint8)], mpp=0)
    code, out, _ = prepare("--patches", 3, "--skip-no-mpp")
    assert code == 0
    folder = tmp_path / "out/c/1.0.0"
    found = {wsi: (row["status"], row["reason"]) for wsi, row in table(folder).items()}
    assert list(found) == sorted(found)
    assert found.pop("a.svs") == found.pop("TCGA-AA-0001-01Z-00-DX1.svs") == ("ok", "")
    assert found.pop("zero.svs") == ("unreadable", "zero bytes")
    assert found.pop("glass.tif") == ("no_tissue", "no tissue found")
    assert found.pop("no_mpp.tif") == ("no_mpp", "no µm/px and no objective power")
    assert found.pop("coarse.tif") == ("failed", "every µm/px asked for is finer than its 2")
    for name in ("text.svs", "torn.svs"):
        status, reason = found.pop(name)
        assert status == "unreadable"
        assert reason.startswith("no reader opens it (OpenSlide: unknown format; tifffile: ")
    assert not found
    assert "slides: 2 ok, 1 no_tissue, 3 unreadable, 1 no_mpp, 1 failed" in out
    assert json.loads((folder / "record_set.json").read_text())["rejected"] == 6


def test_masks_beside_slides_are_no_slides(prepare, tmp_path, cmu):
    (tmp_path / "in/masks").mkdir(parents=True)
    for name in ("tumor_1.svs", "masks/tumor_1.svs"):
        shutil.copy(cmu, tmp_path / "in" / name)
    assert prepare("--patches", 3)[0] == 0
    folder = tmp_path / "out/c/1.0.0"
    assert list(table(folder)) == ["tumor_1.svs"]
    lines = (folder / "rejected.csv").read_text().splitlines()
    croissant = json.loads((folder / "croissant.json").read_text())
    listed = {each["name"] for each in croissant["distribution"]}
    assert {"slides.csv", "summary.json", "plan.parquet", "rejected.csv"} <= listed
    assert lines[1:] == ['masks/tumor_1.svs,"a mask or annotation, by its name"']


def test_slides_without_mpp_are_listed_at_once_before_any_work(
    prepare, slides, tmp_path, write_tiff
):
    for name, mpp in (("x, y.tif", 0), ("zero.tif", 352.8), ("good.tif", 0.5)):
        write_tiff(slides / name, [np.full((300, 300, 3), 200, np.uint8)], mpp=mpp)
    code, out, err = prepare()
    assert code == 2
    assert out == 'wsi,mpp\n"x, y.tif",\nzero.tif,\n'
    assert "2 slides do not say their µm/px" in err
    assert "--mpp-table" in err
    assert not (tmp_path / "out/c").exists()
    (tmp_path / "mpp.csv").write_text('wsi,mpp\n"x, y.tif",0.5\nzero,0.25\na.svs,0.25\n')
    assert prepare("--mpp-table", tmp_path / "mpp.csv", "--plan-only")[0] == 0
    found = table(tmp_path / "out/c/plan")
    assert {found[name]["mpp_x"] for name in ("zero.tif", "a.svs")} == {"0.25"}
    assert found["a.svs"]["mpp_source"] == "given"


@pytest.mark.usefixtures("fragile_openslide")
def test_a_reader_that_crashes_or_hangs_costs_its_slide_only(prepare, tmp_path, cmu):
    (tmp_path / "in").mkdir()
    for name in ("segfault.svs", "hang.svs", "late.svs", "good.svs"):
        shutil.copy(cmu, tmp_path / "in" / name)
    (tmp_path / "mpp.csv").write_text("good.svs,0.499\n")
    # The silence allowed is long: a process may take seconds to start on a busy machine.
    settings = ("--patches", 4, "--silence", 15, "--mpp-table", tmp_path / "mpp.csv")
    code, out, _ = prepare(*settings, workers=2)
    assert code == 0
    folder = tmp_path / "out/c/1.0.0"
    found = {wsi: (row["status"], row["reason"]) for wsi, row in table(folder).items()}
    assert found["good.svs"] == ("ok", "")
    assert found["segfault.svs"] == ("failed", "its process crashed (SIGSEGV)")
    assert found["hang.svs"] == ("failed", "no sign of life for 15 s")
    # It died after the first patches: none of them is in the record set.
    assert found["late.svs"] == ("failed", "its process crashed (SIGSEGV)")
    columns = records.load_record_set(folder, "train").columns
    assert columns["slide"].tolist() == ["good"] * 4
    assert not list(folder.rglob("*.spool"))
    assert "slides: 1 ok, 3 failed" in out


def test_regions_of_the_user_go_before_the_rules(prepare, slides, tmp_path):
    (tmp_path / "regions").mkdir()
    corners = [[1500, 100], [2200, 100], [2200, 800], [1500, 800], [1500, 100]]  # empty glass
    geometry = {"type": "Polygon", "coordinates": [corners]}
    (tmp_path / "regions/a.geojson").write_text(json.dumps({"geometry": geometry}))
    assert prepare("--regions", tmp_path / "regions", "--plan-only")[0] == 0
    plan = pyarrow.parquet.read_table(tmp_path / "out/c/plan/plan.parquet").to_pydict()
    rows = zip(plan["wsi"], plan["x"], plan["y"], strict=True)
    mine = [(x, y) for wsi, x, y in rows if wsi == "a.svs"]
    assert mine
    assert all(1400 < x < 2150 and 30 < y < 750 for x, y in mine)
    masks = {wsi: row["mask"] for wsi, row in table(tmp_path / "out/c/plan").items()}
    assert masks == {"a.svs": "a.geojson", "TCGA-AA-0001-01Z-00-DX1.svs": "rules"}


def test_regions_that_do_not_fit_are_named_before_any_work(prepare, slides, tmp_path):
    (tmp_path / "regions").mkdir()
    Image.new("L", (100, 100), 255).save(tmp_path / "regions/a.png")
    (tmp_path / "regions/TCGA-AA-0001-01Z-00-DX1.geojson").write_text("{")
    code, _, err = prepare("--regions", tmp_path / "regions")
    assert code == 2
    assert "2 regions cannot be used" in err
    assert "a.png is 100 × 100 px, of another shape than the slide's 2220 × 2967" in err
    assert not (tmp_path / "out/c").exists()


def test_plan_that_does_not_fit_is_refused(prepare, slides, tmp_path):
    assert prepare("--patches", 4, "--plan-only")[0] == 0
    plan = tmp_path / "out/c/plan/plan.parquet"
    code, _, err = prepare("--plan", plan, "--px", 96, mpp="")
    assert (code, "a plan of 64 px patches; give --px 64" in err) == (2, True)
    code, _, err = prepare("--plan", plan)
    assert (code, "a plan to follow says the places" in err) == (2, True)
    (slides / "a.svs").unlink()
    code, _, err = prepare("--plan", plan, mpp="")
    assert code == 2
    assert "1 slides of the plan are not in" in err
    assert "e.g. a.svs" in err
    assert not (tmp_path / "out/c/1.0.0").exists()


def test_plan_of_another_file_or_outside_the_slide_fails_for_that_slide(prepare, slides, tmp_path):
    assert prepare("--patches", 4, "--plan-only")[0] == 0
    shutil.copy(slides / "a.svs", slides / "b.svs")
    plan = pyarrow.parquet.read_table(tmp_path / "out/c/plan/plan.parquet").to_pylist()
    of_a = [row for row in plan if row["wsi"] == "a.svs"]
    rows = [row for row in plan if row["wsi"] != "a.svs"]
    rows += [row | {"quickhash": "0123"} for row in of_a]
    rows += [row | {"wsi": "b.svs", "slide": "b", "x": row["x"] + 5000} for row in of_a]
    with open(tmp_path / "plan.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert prepare("--plan", tmp_path / "plan.csv", mpp="")[0] == 0
    found = {wsi: row["reason"] for wsi, row in table(tmp_path / "out/c/1.0.0").items()}
    assert found["a.svs"] == "another file than the plan was made for"
    assert found["b.svs"] == "4 of 4 places of the plan are outside the slide or too fine"
    assert found["TCGA-AA-0001-01Z-00-DX1.svs"] == ""


def test_slide_that_loses_its_tissue_to_the_rules_is_warned_of(prepare, tmp_path, write_tiff):
    (tmp_path / "in").mkdir()
    green = np.full((2000, 2000, 3), (40, 150, 90), np.uint8)
    green[:400] = 245
    write_tiff(tmp_path / "in/pen.tif", [green], mpp=0.5)
    code, _, err = prepare()
    assert code == 2
    assert "pen.tif: no_tissue: all of its tissue was removed" in err
    assert prepare("--keep", "pen,blur", "--plan-only")[0] == 0
    assert table(tmp_path / "out/c/plan")["pen.tif"]["warning"] == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--mpp", ""], "--mpp: not given; give the µm/px of the patches"),
        (["--mpp", "20x"], "--mpp: '20x'"),
        (["--mpp", "0"], "--mpp: '0'"),
        (["--mpp", "1e6"], "--mpp: '1e6'"),
        (["--mpp", "0.5:0"], "--mpp: '0.5:0'"),
        (["--mpp", "0.5,1:2"], "--mpp: '0.5,1:2'"),
        (["--mpp", "0.5,nan"], "--mpp: '0.5,nan'"),
        (["--mpp", "0.5,0.50"], "has one twice"),
        (["--tissue", "2"], "--tissue: 2.0; give 0 to 1"),
        (["--keep", "ink"], "no cause 'ink'; use border, pen, blur, speck"),
        (["--cut", "96"], "--cut: is about patch images"),
        (["--regions", "nowhere"], "nowhere: no such folder"),
        (["--mpp-table", "nowhere.csv"], "not a readable CSV"),
    ],
)
def test_flags_that_cannot_be_right_are_refused(prepare, slides, arguments, says):
    code, _, err = prepare(*arguments, mpp="" if "--mpp" in arguments else "0.5")
    assert code == 2
    assert says in err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5", [(0.5, 1)]),
        ("0.25,0.5,1.0", [(0.25, 1), (0.5, 1), (1, 1)]),
        ("0.25,0.5:3,1", [(0.25, 3), (0.5, 1)]),
    ],
)
def test_mpp_says_resolutions_and_shares(text, expected):
    assert list(slide_flags.targets(text)) == expected


def test_slide_flags_without_slides_are_refused(tmp_path, capsys):
    base = ["prepare", str(tmp_path), "--name", "C", "--out", str(tmp_path / "out")]
    assert cli.main([*base, "--plan-only"]) == 2
    assert "--plan-only: is about whole slides; add --slides" in capsys.readouterr().err
    assert cli.main([*base, "--mpp", "0.25,0.5"]) == 2
    assert "several only with --slides" in capsys.readouterr().err
    assert cli.main(base) == 2
    assert "for whole slides add --slides" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--seed", 9),
        ("--patches", 3),
        ("--tissue", 0.9),
        ("--keep", "pen"),
        ("--mpp-table", "mpp.csv"),
        ("--regions", "regions"),
    ],
)
def test_what_a_plan_has_settled_cannot_be_given_with_it(prepare, slides, tmp_path, flag, value):
    (tmp_path / "regions").mkdir()
    value = tmp_path / value if flag in ("--mpp-table", "--regions") else value
    code, _, err = prepare("--plan", tmp_path / "plan.parquet", flag, value, mpp="")
    assert code == 2
    assert f"{flag}: a plan to follow says the places" in err


def test_what_no_slide_takes_is_said(prepare, slides, tmp_path):
    (tmp_path / "mpp.csv").write_text("a.svs,0.5\nb.svs,0.25\n")
    (tmp_path / "regions").mkdir()
    (tmp_path / "regions/A.geojson").write_text("{}")
    code, _, err = prepare(
        *("--mpp-table", tmp_path / "mpp.csv", "--regions", tmp_path / "regions", "--plan-only")
    )
    assert code == 0
    assert "mpp.csv: no slide is named b.svs" in err
    assert "regions: 1 files fit no slide, e.g. A.geojson" in err


def test_command_of_the_datasheet_has_all_that_decides_the_records(prepare, slides, tmp_path):
    (tmp_path / "mpp.csv").write_text("a.svs,0.5\n")
    (tmp_path / "regions").mkdir()
    flags = ("--mpp-table", tmp_path / "mpp.csv", "--regions", tmp_path / "regions")
    assert prepare(*flags, "--skip-no-mpp", "--patches", 3)[0] == 0
    folder = tmp_path / "out/c/1.0.0"
    text = (folder / "README.md").read_text()
    for words in ("--mpp-table mpp.csv", "--regions regions", "--skip-no-mpp", "--patches 3"):
        assert words in text
    settings = json.loads((folder / "record_set.json").read_text())["settings"]
    assert (settings["mpp_table"], settings["regions"]) == ("mpp.csv", "regions")


def test_pictures_of_slides_with_like_names_are_apart(prepare, slides, tmp_path, cmu):
    (slides / "a").mkdir()
    for name in ("a/b.svs", "a_b.svs", "contact_sheets.svs"):
        shutil.copy(cmu, slides / name)
    (tmp_path / "l.csv").write_text("path,slide\na/b.svs,a/b\na_b.svs,a_b\ncontact_sheets.svs,\n")
    assert prepare("--plan-only", "--labels", tmp_path / "l.csv")[0] == 0
    found = {path.name for path in (tmp_path / "out/c/plan/qc").iterdir()}
    assert found == {"a%2Fb.jpg", "a_b.jpg", "contact_sheets.jpg", "contact_sheets"}


def test_a_link_to_itself_is_no_slide(prepare, slides, tmp_path):
    (slides / "loop.svs").symlink_to("loop.svs")
    (slides / "loop").symlink_to("loop")
    assert prepare("--plan-only", "--patches", 3)[0] == 0
    row = table(tmp_path / "out/c/plan")["loop.svs"]
    assert row["status"] == "unreadable"


def test_flags_of_folders_are_refused_for_slide_files(prepare, slides, tmp_path):
    (tmp_path / "l.csv").write_text("path,slide\na.svs,x\n")
    code, _, err = prepare("--labels", tmp_path / "l.csv", source="in/a.svs")
    assert code == 2
    assert "--pattern, --labels and --only describe a folder of slides" in err
