"""The public interface: same features however the patches come, on any number of devices."""

import subprocess
import sys

import numpy as np
import pytest
from flax import nnx

import histo_simclr
from histo_simclr import checkpoint, encode, encoder, fingerprint
from histo_simclr import mesh as meshes
from histo_simclr.errors import InputError
from histo_simclr.input_check import InputWarning
from histo_simclr.model import resnet
from histo_simclr.provenance import Provenance

LOOKS = Provenance(
    arch="small",
    hidden=0,
    out=0,
    px=64,
    mean=(0.6, 0.4, 0.65),
    std=(0.2, 0.25, 0.2),
    mpp=(0.5,),
    mix={},
    config={},
    versions={},
    revision="",
)


@pytest.fixture(scope="module", autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(resnet.STAGE_BLOCKS, "small", (1, 1, 1, 1))
        yield


@pytest.fixture(scope="module")
def network():
    network = resnet.ResNet("small", rngs=nnx.Rngs(5))
    network.eval()
    return network


@pytest.fixture(scope="module")
def patches():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (150, 40, 48, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def expected(network, patches):
    """By one device and one batch, past every part of the interface."""
    program = encode.encoding(
        network, px=LOOKS.px, mean=LOOKS.mean, std=LOOKS.std, mesh=meshes.make(1)
    )
    return np.asarray(program(patches))


def near(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.filterwarnings("ignore::histo_simclr.input_check.InputWarning")
@pytest.mark.parametrize("batch_size", [7, 64, 1000])
def test_batches_devices_and_buckets_change_no_feature(network, patches, expected, batch_size):
    found = encoder.Encoder(network, LOOKS, batch_size=batch_size)(patches)
    assert found.dtype == np.float32
    near(found, expected)


@pytest.mark.filterwarnings("ignore::histo_simclr.input_check.InputWarning")
def test_a_stream_gives_one_array_a_batch(network, patches, expected):
    sizes = [1, 40, 0, 9, 100]
    ends = np.cumsum(sizes)
    batches = [patches[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    found = list(encoder.Encoder(network, LOOKS, batch_size=32).stream(iter(batches)))
    assert [len(each) for each in found] == sizes
    near(np.concatenate(found), expected)


@pytest.mark.filterwarnings("ignore::histo_simclr.input_check.InputWarning")
def test_a_stream_computes_before_the_last_batch_is_there(network, patches):
    """What does not fit in memory must not be collected first."""
    asked = []

    def batches():
        for start in range(0, 150, 16):
            asked.append(start)
            yield patches[start : start + 16]

    stream = encoder.Encoder(network, LOOKS, batch_size=16).stream(batches())
    next(stream)
    assert len(asked) <= 3


@pytest.mark.filterwarnings("ignore::histo_simclr.input_check.InputWarning")
def test_a_file_that_numpy_maps_is_read_in_parts(network, patches, expected, tmp_path):
    np.save(tmp_path / "patches.npy", patches)
    mapped = np.load(tmp_path / "patches.npy", mmap_mode="r")
    near(encoder.Encoder(network, LOOKS, batch_size=64)(mapped), expected)


@pytest.mark.filterwarnings("ignore::histo_simclr.input_check.InputWarning")
def test_few_shapes_are_compiled(network, patches):
    loaded = encoder.Encoder(network, LOOKS, batch_size=64)
    program = loaded._program.func
    before = program._cache_size()
    for count in (1, 2, 5, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 129):
        loaded(patches[:count])
    assert program._cache_size() - before <= 4  # 8, 16, 32, 64


def test_one_patch_and_none(network):
    loaded = encoder.Encoder(network, LOOKS)
    assert loaded(fingerprint.patches()[0]).shape == (1, 512)
    assert loaded(fingerprint.patches()[:0]).shape == (0, 512)
    assert list(loaded.stream([])) == []


def test_what_it_expects_is_said_by_the_checkpoint_it_is_loaded_from(network, tmp_path):
    checkpoint.write_encoder(tmp_path / "e", network, LOOKS)
    loaded = histo_simclr.load_encoder(tmp_path / "e")
    assert isinstance(loaded, histo_simclr.Encoder)
    told = (loaded.arch, loaded.px, loaded.mean, loaded.std, loaded.mpp, loaded.num_features)
    assert told == ("small", 64, LOOKS.mean, LOOKS.std, (0.5,), 512)
    stored = fingerprint.from_json(checkpoint.read_fingerprint(tmp_path / "e"))
    near(loaded(fingerprint.patches()), stored)


def test_a_checkpoint_is_told_nothing(network, tmp_path):
    checkpoint.write_encoder(tmp_path / "e", network, LOOKS)
    with pytest.raises(InputError, match="says itself what it expects, and mean was given"):
        histo_simclr.load_encoder(tmp_path / "e", mean=(0.5, 0.5, 0.5))


def test_strange_patches_warn_through_the_call(network):
    loaded = encoder.Encoder(network, LOOKS)
    with pytest.warns(InputWarning, match="multiplied by 255"):
        loaded(fingerprint.patches() / 255)


@pytest.mark.parametrize("source", [None, 3])
def test_what_is_no_path_is_one_line(source):
    with pytest.raises(InputError, match="source: is .*give the path"):
        histo_simclr.load_encoder(source)


def test_statistics_may_be_arrays(network, tmp_path):
    checkpoint.write_encoder(tmp_path / "e", network, LOOKS)
    with pytest.raises(InputError, match="mean, std was given"):
        histo_simclr.load_encoder(tmp_path / "e", mean=np.full(3, 0.5), std=np.full(3, 0.5))


def test_a_batch_of_nothing_is_refused(network):
    with pytest.raises(InputError, match="batch_size: is 0"):
        encoder.Encoder(network, LOOKS, batch_size=0)


def test_no_other_name_is_public():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        histo_simclr.nothing  # noqa: B018


def test_it_loads_without_tensorflow():
    program = "import sys, histo_simclr.encoder; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
