"""What stands when the command runs again: after its end, a kill, with another encoder."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from histo_simclr import checkpoint

FEATURES = "10x_48px_0px_overlap/features_histo_simclr_small"
# The architecture of the tests, in a process that can be killed.
PROGRAM = """
import sys
from histo_simclr import cli
from histo_simclr.model import resnet
resnet.STAGE_BLOCKS["small"] = (1, 1, 0, 0)
if __name__ == "__main__":
    sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture
def slides(tmp_path, cmu):
    (tmp_path / "in").mkdir()
    for name in ("a.svs", "b.svs", "c.svs"):
        shutil.copy(cmu, tmp_path / "in" / name)
    return tmp_path / "in"


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.h5")}


def features(path):
    with h5py.File(path, "r") as file:
        return file["features"][:]


def test_what_is_done_is_not_done_again(embed, slides, tmp_path):
    assert embed()[0] == 0
    folder = tmp_path / "out" / FEATURES
    before = times(folder)
    (folder / "b.h5").unlink()
    code, out, _ = embed()
    assert code == 0
    assert "3 ok; 2 of them by an earlier run" in out
    after = times(folder)
    assert {name for name in after if after[name] != before[name]} == {"b.h5"}


def test_a_killed_run_goes_on_to_the_same_files(embed, slides, tmp_path, encoder):
    (tmp_path / "program.py").write_text(PROGRAM)
    command = ["embed", slides, "--checkpoint", encoder, "--out", tmp_path / "killed"]
    command += ["--workers", 1, "--batch-size", 8]
    process = subprocess.Popen(
        [sys.executable, tmp_path / "program.py", *map(str, command)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    folder = tmp_path / "killed" / FEATURES
    until = time.monotonic() + 100
    while time.monotonic() < until and process.poll() is None and not times(folder):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    _, said = process.communicate()
    done = times(folder)
    assert done, said.decode()
    assert len(done) < 3, "it had ended before it was killed"
    assert embed(out="killed")[0] == 0
    assert embed(out="whole")[0] == 0
    for name, when in done.items():
        assert times(folder)[name] == when
    assert not list((tmp_path / "killed").rglob("*.tmp"))
    for name in ("a", "b", "c"):
        one, two = (
            features(tmp_path / out / FEATURES / f"{name}.h5") for out in ("killed", "whole")
        )
        np.testing.assert_allclose(one, two, atol=1e-5 * np.abs(two).max())


def test_another_encoder_is_refused_before_any_work(embed, slides, tmp_path, stranger):
    shutil.move(slides / "c.svs", tmp_path / "c.svs")
    assert embed()[0] == 0
    shutil.move(tmp_path / "c.svs", slides / "c.svs")
    before = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "out").rglob("*"))
    code, out, err = embed(checkpoint=stranger)
    assert (code, out) == (2, "")
    assert "2 files with features of another encoder, e.g. a.h5; give another --out" in err
    assert before == sorted((p, p.stat().st_mtime_ns) for p in (tmp_path / "out").rglob("*"))
    assert embed("--name", "stranger", checkpoint=stranger)[0] == 0


def test_another_normalization_is_another_encoder(embed, slides, tmp_path, encoder):
    network, looks, _ = checkpoint.load_encoder(encoder)
    other = dataclasses.replace(looks, std=(0.3, 0.3, 0.3))
    checkpoint.write_encoder(tmp_path / "other", network, other)
    assert embed()[0] == 0
    code, _, err = embed(checkpoint=tmp_path / "other")
    assert code == 2
    assert "3 files with features of another encoder" in err


def test_a_slide_whose_file_changed_is_made_anew(embed, slides, tmp_path, cmu):
    assert embed()[0] == 0
    path = tmp_path / "out" / FEATURES / "a.h5"
    before = path.stat().st_mtime_ns
    content = bytearray(cmu.read_bytes())
    (slides / "a.svs").write_bytes(bytes(content) + b" ")
    code, out, _ = embed()
    assert code == 0
    assert "2 of them by an earlier run" in out
    assert path.stat().st_mtime_ns != before
    (slides / "a.svs").write_bytes(b"no slide any more")
    assert embed()[0] == 2
    assert not path.exists()


def test_coordinates_of_another_program_are_not_overwritten(embed, slides, tmp_path):
    folder = tmp_path / "out" / FEATURES
    theirs = folder.parent / "patches" / "a_patches.h5"
    theirs.parent.mkdir(parents=True)
    with h5py.File(theirs, "w") as file:
        file["coords"] = np.zeros((1000, 2), "i8")
    code, _, err = embed()
    assert code == 2
    assert "1 files that histo-simclr did not write, e.g. a_patches.h5" in err
    with h5py.File(theirs) as file:
        assert len(file["coords"]) == 1000


def test_files_of_others_are_not_overwritten(embed, slides, tmp_path):
    """TRIDENT's do not say which weights they are of."""
    folder = tmp_path / "out" / FEATURES
    folder.mkdir(parents=True)
    with h5py.File(folder / "a.h5", "w") as file:
        file["features"], file["coords"] = np.zeros((3, 64), "f4"), np.zeros((3, 2), "i8")
    code, _, err = embed()
    assert code == 2
    assert "1 files with features of another encoder, e.g. a.h5" in err


def test_a_torn_file_is_made_anew(embed, slides, tmp_path):
    assert embed()[0] == 0
    path = tmp_path / "out" / FEATURES / "a.h5"
    expected = features(path)
    path.write_bytes(path.read_bytes()[:3000])
    assert embed()[0] == 0
    np.testing.assert_allclose(features(path), expected, atol=1e-5 * np.abs(expected).max())


def test_other_settings_are_made_anew(embed, slides, tmp_path):
    assert embed()[0] == 0
    folder = tmp_path / "out" / FEATURES
    before, count = times(folder), len(features(folder / "a.h5"))
    assert embed("--tissue", 0.95)[0] == 0
    assert all(times(folder)[name] != before[name] for name in before)
    assert len(features(folder / "a.h5")) < count


def test_failures_stand_until_they_are_retried_or_mended(embed, slides, tmp_path, cmu):
    (slides / "bad.svs").write_text("no slide")
    code, _, err = embed()
    assert code == 2
    assert "1 of 4 slides gave no features, the others are done" in err
    again = embed()
    assert again[0] == 2
    assert "4 of them by an earlier run" in again[1]
    assert "3 of them by an earlier run" in embed("--retry-failed")[1]
    shutil.copy(cmu, slides / "bad.svs")
    code, out, _ = embed()
    assert code == 0
    assert "4 ok; 3 of them by an earlier run" in out
