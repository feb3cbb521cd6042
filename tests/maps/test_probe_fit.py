import numpy as np
import pytest
from flax import nnx

from histo_simclr import encoder, records
from histo_simclr.errors import InputError
from histo_simclr.maps import probe_files, probe_fit
from histo_simclr.model import resnet
from histo_simclr.provenance import Provenance

LOOKS = Provenance(
    arch="small",
    hidden=0,
    out=0,
    px=32,
    mean=(0.5, 0.5, 0.5),
    std=(0.2, 0.2, 0.2),
    mpp=(0.5,),
    mix={},
    config={},
    versions={},
    revision="",
)
pytestmark = pytest.mark.filterwarnings("ignore::histo_simclr.input_check.InputWarning")


@pytest.fixture(scope="module")
def small():
    """An encoder of four blocks with random weights, whatever is asked for."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(resnet.STAGE_BLOCKS, "small", (1, 1, 1, 1))
        network = resnet.ResNet("small", rngs=nnx.Rngs(5))
        network.eval()
        made = encoder.Encoder(network, LOOKS)
        patched.setattr(encoder, "load_encoder", lambda _: made)
        yield made


def test_it_tells_the_classes_of_its_own_set(toy, small, tmp_path):
    probe, said = probe_fit.fit(toy, tmp_path, split="train", seed=0)
    assert probe.classes == ["a", "b"]
    assert probe.model == small.sha256
    assert probe.weights.shape == (small.num_features, 2)
    train = records.load_record_set(toy, "train")
    labels = (train.columns["label"] == "b").astype(int)
    found = probe_files.probabilities(probe, probe_fit._features(small, train.rows)).argmax(1)
    assert (found == labels).mean() > 0.9
    assert "36 patches of toy (train), 2 classes, C = " in said
    assert "on folds by slide (knowing nothing: 0.693)" in said


def test_classes_of_one_slide_each_are_judged_by_patch_and_it_is_said(
    tmp_path, small, write_record_set
):
    lopsided = write_record_set(tmp_path, lambda _, slide, __: "ab"[slide == 0])
    _, said = probe_fit.fit(lopsided, tmp_path, split="train", seed=0)
    assert "on folds by patch" in said


def test_features_are_in_the_order_of_the_manifest(toy, small):
    from histo_simclr.input import reader

    rows = records.load_record_set(toy, "train").rows
    found = probe_fit._features(small, rows)
    (patches,) = reader.read(rows, lambda _: np.arange(len(rows)), start=0, stop=1)
    expected = small(patches)
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def test_a_set_of_one_class_is_refused(tmp_path, small, write_record_set):
    alike = write_record_set(tmp_path, lambda *_: "a")
    with pytest.raises(InputError, match="1 classes in the split 'train'"):
        probe_fit.fit(alike, tmp_path, split="train", seed=0)
