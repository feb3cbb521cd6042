"""What a user may hand to `histo-simclr embed` by mistake."""

import csv
import os
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
from PIL import Image

import histo_simclr
from histo_simclr.errors import InputError

FEATURES = "10x_48px_0px_overlap/features_histo_simclr_small"
# The limit is set in the new process: set before it starts, it would need a fork with threads.
LIMITED = """
import resource, sys
from histo_simclr import cli
from histo_simclr.model import resnet
resnet.STAGE_BLOCKS["small"] = (1, 1, 0, 0)
if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
    sys.exit(cli.main(sys.argv[2:]))
"""


def table(folder):
    with open(folder / "embed.csv", encoding="utf-8") as file:
        return {row["wsi"]: row for row in csv.DictReader(file)}


@pytest.fixture
def slides(tmp_path, cmu):
    (tmp_path / "in").mkdir()
    shutil.copy(cmu, tmp_path / "in/a.svs")
    return tmp_path / "in"


def test_every_slide_ends_in_the_table(embed, slides, tmp_path):
    (slides / "empty.svs").touch()
    (slides / "torn.svs").write_bytes((slides / "a.svs").read_bytes()[:50_000])
    Image.new("RGB", (900, 900), (243, 242, 244)).save(slides / "glass.png")
    Image.new("RGB", (900, 900), (200, 60, 160)).save(slides / "unknown.png")
    (tmp_path / "mpp.csv").write_text("wsi,mpp\nglass.png,0.5\n")
    code, out, err = embed("--mpp-table", tmp_path / "mpp.csv")
    assert code == 2
    found = {wsi: (row["status"], row["reason"]) for wsi, row in table(tmp_path / "out").items()}
    assert found["a.svs"] == ("ok", "")
    assert found["glass.png"] == ("no_tissue", "no tissue found")
    assert found["empty.svs"] == ("unreadable", "zero bytes")
    assert found["torn.svs"][0] == "unreadable"
    assert found["unknown.png"] == ("no_mpp", "no µm/px and no objective power")
    assert "slides: 1 no_mpp, 1 no_tissue, 1 ok, 2 unreadable" in out
    assert "3 of 5 slides gave no features" in err
    assert "give --mpp-table a CSV `wsi,mpp` for those without µm/px" in err
    assert "\n  empty.svs: unreadable: zero bytes" in err
    with h5py.File(tmp_path / "out" / FEATURES / "glass.h5", "r") as file:
        assert (file["features"].shape, file["coords"].shape) == ((0, 128), (0, 2))
    assert not (tmp_path / "out" / FEATURES / "torn.h5").exists()


def test_a_slide_that_is_damaged_further_on_is_set_aside(embed, slides, tmp_path, cmu):
    data = bytearray(cmu.read_bytes())
    for place in range(600_000, 1_200_000, 1000):
        data[place : place + 200] = bytes(200)
    (slides / "0.svs").write_bytes(data)
    code, _, err = embed()
    row = table(tmp_path / "out")["0.svs"]
    assert row["status"] in ("unreadable", "failed")
    assert row["reason"]
    assert (code, row["patches"]) == (2, "0")
    assert "1 of 2 slides gave no features, the others are done" in err
    assert [path.name for path in (tmp_path / "out" / FEATURES).iterdir()] == ["a.h5"]


@pytest.mark.usefixtures("fragile_openslide")
def test_a_reader_that_crashes_or_hangs_costs_its_slide_only(embed, tmp_path, cmu):
    (tmp_path / "in").mkdir()
    for name in ("segfault.svs", "hang.svs", "late.svs", "good.svs"):
        shutil.copy(cmu, tmp_path / "in" / name)
    (tmp_path / "mpp.csv").write_text("good.svs,0.499\n")
    # The silence allowed is long: a process may take seconds to start on a busy machine.
    code, _, err = embed("--silence", 15, "--mpp-table", tmp_path / "mpp.csv", workers=2)
    assert code == 2
    found = {wsi: (row["status"], row["reason"]) for wsi, row in table(tmp_path / "out").items()}
    assert found["good.svs"] == ("ok", "")
    assert found["segfault.svs"] == ("failed", "its process crashed (SIGSEGV)")
    assert found["hang.svs"] == ("failed", "no sign of life for 15 s")
    assert found["late.svs"] == ("failed", "its process crashed (SIGSEGV)")
    assert "3 of 4 slides" in err
    assert [path.name for path in (tmp_path / "out" / FEATURES).iterdir()] == ["good.h5"]


def run(*program):
    return subprocess.run(
        [str(each) for each in program], capture_output=True, text=True, timeout=120
    )


def command(slides, tmp_path, encoder):
    given = ["embed", slides, "--checkpoint", encoder, "--out", tmp_path / "out"]
    return [*given, "--workers", 1, "--batch-size", 64]


@pytest.mark.parametrize("limit", [2_000, 60_000])
def test_a_disk_that_fills_up_is_one_line(slides, tmp_path, encoder, limit):
    """A limit on the size of files makes writes fail in the middle, as a full disk does."""
    (tmp_path / "limited.py").write_text(LIMITED)
    program = (sys.executable, tmp_path / "limited.py", limit)
    done = run(*program, *command(slides, tmp_path, encoder))
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot be written (File too large); check free space" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "out").rglob("a.h5*"))


def test_a_place_that_is_read_only_is_one_line(slides, tmp_path, encoder):
    prefix = ()
    if os.geteuid() == 0:  # root writes everywhere, unless that right is taken from it
        if not shutil.which("setpriv"):
            pytest.skip("root without setpriv")
        prefix = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    (tmp_path / "out").mkdir(mode=0o555)
    (tmp_path / "limited.py").write_text(LIMITED)
    program = (sys.executable, tmp_path / "limited.py", 10**9)
    done = run(*prefix, *program, *command(slides, tmp_path, encoder))
    assert done.returncode == 2
    assert "cannot be written (Permission denied)" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_slides_is_said(embed, tmp_path):
    (tmp_path / "in").mkdir()
    code, _, err = embed()
    assert code == 2
    assert "no slides; give files that end in .svs" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("mpp", "said"),
    [
        (
            (0.25, 0.5),
            "was trained on 0.25, 0.5 µm/px; give the µm/px to read patches at, e.g. --mpp 0.5",
        ),
        ((), "does not say on which µm/px it was trained; give"),
        ((0.0, 1.0), "was trained on 1 µm/px and on patches of unknown µm/px; give"),
    ],
)
def test_the_resolution_is_never_guessed(embed, slides, tmp_path, save_checkpoint, mpp, said):
    checkpoint = save_checkpoint(tmp_path / "encoder", mpp=mpp)
    code, _, err = embed(checkpoint=checkpoint)
    assert code == 2
    assert said in err
    assert not (tmp_path / "out").exists()
    assert embed("--mpp", 1.0, checkpoint=checkpoint)[0] == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--share", "3/2"), "--share: '3/2'; give I/N"),
        (("--share", "9/9"), "--share: 1 slides leave none for share 9/9"),
        (("--also", "csv"), "--also: no format 'csv'; use zarr, parquet"),
        (("--overlap", 48), "--overlap: 48; give 0 to 47"),
        (("--mpp", 500), "--mpp: 500; give µm/px"),
        (("--tissue", 1.5), "--tissue: 1.5; give 0 to 1"),
        (("--keep", "dust"), "--keep: no cause 'dust'"),
        (("--name", "../x"), "--name: '../x'; give a name for a folder"),
        (("--regions", "none"), "none: no such folder; give --regions a folder"),
    ],
)
def test_bad_flags_are_named(embed, slides, tmp_path, flags, said):
    code, _, err = embed(*flags)
    assert code == 2
    assert said in err
    assert not (tmp_path / "out").exists()


def test_a_slide_too_coarse_for_the_encoder_is_said(embed, slides, tmp_path):
    code, _, err = embed("--mpp", 0.25)
    assert code == 2
    assert "a.svs: failed: every µm/px asked for is finer than its 0.499" in err


def test_a_store_is_refused(tmp_path, encoder):
    with pytest.raises(InputError, match="is in a store; give a path on this machine"):
        histo_simclr.embed_slides("gs://bucket/slides", encoder, tmp_path / "out")


def test_the_files_of_a_dicom_series_are_one_slide(embed, tmp_path, cmu, dicom_wsi):
    import tifffile

    (tmp_path / "in").mkdir()
    frames = dicom_wsi.verbatim(cmu)
    base = {"tile": 240, "series": 1}
    dicom_wsi.write(tmp_path / "in/1_full.dcm", frames, size=(2220, 2967), mpp=0.499, **base)
    full = Image.fromarray(tifffile.imread(cmu))
    half = np.asarray(full.resize((1110, 1483), Image.Resampling.BOX))
    tiles = [tile.tobytes() for tile in dicom_wsi.tiles(half, 240)]
    native = {"syntax": "1.2.840.10008.1.2.1", "level": 1, "mpp": 0.998}
    dicom_wsi.write(tmp_path / "in/1_half.dcm", tiles, size=(1110, 1483), **base, **native)
    for _ in range(2):  # as well when it goes on, and the first is not looked at again
        assert embed()[0] == 0
        assert list(table(tmp_path / "out")) == ["1_full.dcm"]
        names = [path.name for path in (tmp_path / "out" / FEATURES).iterdir()]
        assert names == ["1_full.h5"]
    (tmp_path / "out/embed.csv").unlink()
    assert embed()[0] == 0
    assert list(table(tmp_path / "out")) == ["1_full.dcm"]
