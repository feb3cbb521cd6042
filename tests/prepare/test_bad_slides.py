"""What a user may hand to `histo-simclr prepare --slides` by mistake, on the command itself."""

import csv
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from histo_simclr import cli, records


@pytest.fixture
def prepare(tmp_path, capsys):
    """prepare(*arguments): the command on tmp_path/in; (exit code, stdout, stderr)."""

    def call(*arguments, name="C", mpp="1.0"):
        code = cli.main(command(tmp_path, *arguments, name=name, mpp=mpp))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def command(folder, *arguments, name="C", mpp="1.0"):
    given = ["prepare", folder / "in", "--slides", "--name", name, "--out", folder / "out"]
    given += ["--px", 64, "--workers", 1, "--patches", 4, "--mpp", mpp, *arguments]
    return [str(each) for each in given]


@pytest.fixture
def slides(tmp_path, cmu):
    """tmp_path/in with the real slide as a.svs."""
    (tmp_path / "in").mkdir()
    shutil.copy(cmu, tmp_path / "in/a.svs")
    return tmp_path / "in"


def table(folder):
    with open(folder / "slides.csv", encoding="utf-8") as file:
        return {row["wsi"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize(
    ("stated", "source", "reason"),
    [
        ((b"MPP = 0.0000", b"AppMag = 20"), "objective power", ""),
        ((b"MPP = 1.0e6 ", b"AppMag = 20"), "objective power", ""),
        ((b"MPP = 0.0000", b"AppMag = 00"), "", "absurd µm/px: 0 by "),
        ((b"MPP = 1.0e6 ", b"AppMag = ??"), "", "absurd µm/px: 1e+06 by "),
    ],
)
def test_a_slide_that_states_an_absurd_mpp(prepare, slides, tmp_path, stated, source, reason):
    """Its objective's power is taken instead; without one it is listed and not guessed."""
    data = (slides / "a.svs").read_bytes()
    mpp, power = stated
    damaged = data.replace(b"MPP = 0.4990", mpp).replace(b"AppMag = 20", power)
    (slides / "b.svs").write_bytes(damaged)
    code, out, err = prepare("--plan-only")
    if reason:
        assert (code, out) == (2, "wsi,mpp\nb.svs,\n")
        assert f"b.svs: {reason}" in err
        assert not (tmp_path / "out/c").exists()
        return
    assert code == 0
    row = table(tmp_path / "out/c/plan")["b.svs"]
    assert (row["mpp_x"], row["mpp_source"]) == ("0.5", source)


@pytest.mark.parametrize("mpp", ["0", "1e6", "nan", "20x"])
def test_an_absurd_mpp_in_the_table_is_refused(prepare, slides, tmp_path, mpp):
    (tmp_path / "mpp.csv").write_text(f"wsi,mpp\na.svs,{mpp}\n")
    code, _, err = prepare("--mpp-table", tmp_path / "mpp.csv")
    assert code == 2
    assert f"mpp.csv:2: mpp is '{mpp}'; give µm/px of the full resolution, 0.05 to 20" in err
    assert not (tmp_path / "out").exists()


def test_a_region_that_crosses_itself_is_used_and_said(prepare, slides, tmp_path):
    (tmp_path / "regions").mkdir()
    bow_tie = [[800, 200], [1800, 2200], [1800, 200], [800, 2200], [800, 200]]
    geometry = {"type": "Polygon", "coordinates": [bow_tie]}
    (tmp_path / "regions/a.geojson").write_text(json.dumps({"geometry": geometry}))
    code, out, _ = prepare("--regions", tmp_path / "regions", "--plan-only")
    assert code == 0
    assert "warning: a.svs: 1 polygons of a.geojson cross themselves" in out
    assert table(tmp_path / "out/c/plan")["a.svs"]["mask"] == "a.geojson"


def test_two_slides_of_one_name_are_refused(prepare, slides, tmp_path):
    (slides / "below").mkdir()
    shutil.copy(slides / "a.svs", slides / "below/a.svs")
    code, _, err = prepare()
    assert code == 2
    assert "1 slide ids are there twice, e.g. 'a' (a.svs, below/a.svs); rename one" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["Camelyn16", "Our own"])
def test_a_cohort_that_the_registry_lacks_is_prepared_and_a_slip_is_said(
    prepare, slides, tmp_path, caplog, name
):
    code, _, _ = prepare("--plan-only", name=name)
    assert code == 0
    said = "--name: 'Camelyn16' is not in the registry; did you mean CAMELYON16?"
    assert caplog.messages == ([said] if name == "Camelyn16" else [])


# The limit is set in the new process: set before it starts, it would need a fork with threads.
LIMITED = """
import resource, sys
from histo_simclr import cli
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(cli.main(sys.argv[2:]))
"""


def run(*program):
    return subprocess.run(
        [str(each) for each in program], capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("limit", [1_000, 8_000])
def test_a_disk_that_fills_up_is_one_line(slides, tmp_path, limit):
    """A limit on the size of files makes writes fail in the middle, as a full disk does."""
    done = run(sys.executable, "-c", LIMITED, limit, *command(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot be written (" in done.stderr
    assert "check free space and permissions" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out/c/1.0.0").exists()


def test_a_place_that_is_read_only_is_one_line(slides, tmp_path):
    prefix = ()
    if os.geteuid() == 0:  # root writes everywhere, unless that right is taken from it
        if not shutil.which("setpriv"):
            pytest.skip("root without setpriv")
        prefix = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    (tmp_path / "out").mkdir(mode=0o555)
    done = run(*prefix, sys.executable, "-m", "histo_simclr", *command(tmp_path))
    assert done.returncode == 2
    assert f"{tmp_path / 'out/c/1.0.0'}: cannot be written (Permission denied)" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def dicoms(tmp_path, cmu, dicom_wsi):
    """tmp_path/in: slides of two levels for OpenSlide and for wsidicom, and two wrecks."""
    import imagecodecs
    import tifffile

    folder = tmp_path / "in"
    folder.mkdir()
    native = {"syntax": "1.2.840.10008.1.2.1", "level": 1, "mpp": 0.998}
    first = {"tile": 240, "series": 1}
    dicom_wsi.write(
        folder / "1_full.dcm", dicom_wsi.verbatim(cmu), size=(2220, 2967), mpp=0.499, **first
    )
    base = tifffile.imread(cmu)
    half = np.asarray(Image.fromarray(base).resize((1110, 1483), Image.Resampling.BOX))
    frames = [tile.tobytes() for tile in dicom_wsi.tiles(half, 240)]
    dicom_wsi.write(folder / "1_half.dcm", frames, size=(1110, 1483), **first, **native)
    second = {"tile": 256, "series": 2, "syntax": "1.2.840.10008.1.2.4.80"}
    for level, name in ((0, "2_z"), (1, "2_a")):
        pixels = (base, half)[level][800 >> level : 1824 >> level, 700 >> level : 1724 >> level]
        frames = [
            imagecodecs.jpegls_encode(np.ascontiguousarray(tile))
            for tile in dicom_wsi.tiles(pixels, 256)
        ]
        size = (1024 >> level, 1024 >> level)
        options = {"mpp": 0.499 * 2**level, "level": level} | second
        dicom_wsi.write(folder / f"{name}.dcm", frames, size=size, **options)
    (folder / "3_torn.dcm").write_bytes((folder / "2_z.dcm").read_bytes()[:300])
    (folder / "4_text.dcm").write_text("no DICOM")
    return folder


def test_the_files_of_a_dicom_series_are_one_slide(prepare, dicoms, tmp_path):
    import tensorflow_datasets as tfds

    from histo_simclr.slides import reader

    code, out, _ = prepare("--encoding", "png", mpp="0.5,1.0")
    assert code == 0
    folder = tmp_path / "out/c/1.0.0"
    rows = table(folder)
    found = {wsi: (row["status"], row["reader"], row["levels"]) for wsi, row in rows.items()}
    assert found == {
        "1_full.dcm": ("ok", "OpenSlide", "2"),
        "2_a.dcm": ("ok", "wsidicom", "2"),
        "3_torn.dcm": ("unreadable", "", "0"),
        "4_text.dcm": ("unreadable", "", "0"),
    }
    assert {rows[name]["mpp_x"] for name in ("1_full.dcm", "2_a.dcm")} == {"0.499"}
    assert "slides: 2 ok, 2 unreadable" in out
    columns = records.load_record_set(folder, "train").columns
    assert sorted(set(zip(columns["slide"], columns["mpp"], strict=True))) == [
        (slide, mpp) for slide in ("1_full", "2_a") for mpp in (0.5, 1.0)
    ]
    examples = tfds.builder_from_directory(str(folder)).as_dataset(split="train")
    with (
        reader.open_slide(dicoms / "1_half.dcm") as first,
        reader.open_slide(dicoms / "2_z.dcm") as second,
    ):
        for example in examples.as_numpy_iterator():
            slide = first if example["slide"] == b"1_full" else second
            x, y = int(example["x"]), int(example["y"])
            expected = slide.read(x, y, mpp=float(example["mpp"]), px=64)
            np.testing.assert_array_equal(example["image"], expected)
