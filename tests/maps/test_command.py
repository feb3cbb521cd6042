import pytest

from histo_simclr import cli


@pytest.fixture
def features(tmp_path, trident, grid, tissue_features):
    trident(tmp_path / "features", "CMU-1-Small-Region", tissue_features(12, 0), grid(4, 3))
    return str(tmp_path / "features")


def test_the_command_finds_slides_by_their_names(features, tmp_path, cmu, capsys):
    out = tmp_path / "look"
    done = cli.main(["look", features, "--out", str(out), "--slides", str(cmu.parent)])
    printed = capsys.readouterr()
    assert done == 0, printed.err
    assert f"wrote {out}/index.html" in printed.out
    page = (out / "slides" / "CMU-1-Small-Region.html").read_text(encoding="utf-8")
    assert '"thumbnail": "data:image/jpeg;base64,' in page


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--clusters", "13"], "--clusters: is 13; give 1 to 12"),
        (["--patches", "0"], "--patches: is 0; give 1 to 20,000"),
        (["--labels", "a"], "--labels: a probe is fitted by both, and --checkpoint is missing"),
        (["--checkpoint", "a"], "--checkpoint: a probe is fitted by both, and --labels is missing"),
        (["--probe", "a", "--labels", "b", "--checkpoint", "c"], "--probe: is one probe, and"),
        (["--probe", "nowhere.npz"], "nowhere.npz: no such file"),
        (["--slides", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_flags_that_make_no_sense_are_one_line_and_leave_nothing(
    features, tmp_path, flags, said, capsys
):
    assert cli.main(["look", features, "--out", str(tmp_path / "look"), *flags]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error
    assert not (tmp_path / "look").exists()
