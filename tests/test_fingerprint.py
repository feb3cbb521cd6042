"""Fingerprints: of which patches, how exact, and what they find."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from flax import nnx

from histo_simclr import fingerprint
from histo_simclr.errors import InputError
from histo_simclr.model import resnet
from histo_simclr.provenance import Provenance

LOOKS = Provenance(
    arch="small",
    hidden=0,
    out=0,
    px=64,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    mpp=(),
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
def encoder():
    encoder = resnet.ResNet("small", rngs=nnx.Rngs(5))
    encoder.eval()
    return encoder


@pytest.fixture(scope="module")
def stored(encoder):
    features = fingerprint.compute(encoder, px=LOOKS.px, mean=LOOKS.mean, std=LOOKS.std)
    return json.loads(json.dumps(fingerprint.to_json(features)))


def test_the_patches_are_eight_different_ones_of_tissue():
    patches = fingerprint.patches()
    assert (patches.shape, patches.dtype) == ((8, 96, 96, 3), np.uint8)
    assert len(np.unique(patches.reshape(8, -1), axis=0)) == 8
    # As bright field shows tissue: colored, neither flat nor black.
    assert (patches.std((1, 2)) > 5).all()
    assert (patches.mean((1, 2, 3)) > 80).all()


def test_it_is_what_the_encoder_gives_for_the_patches_resized_and_normalized(encoder, stored):
    resized = jax.image.resize(
        fingerprint.patches().astype(np.float32) / 255, (8, 64, 64, 3), "linear", antialias=True
    )
    expected = encoder((resized - 0.5) / 0.5)
    found = fingerprint.from_json(stored)
    assert fingerprint.difference(found, np.asarray(expected)) < 1e-5


def test_json_keeps_every_bit(encoder):
    features = np.random.default_rng(0).standard_normal((8, 512)).astype(np.float32)
    np.testing.assert_array_equal(
        fingerprint.from_json(fingerprint.to_json(features)), features, strict=True
    )


def test_the_encoder_itself_passes(encoder, stored):
    fingerprint.check(encoder, LOOKS, stored, where="here")
    fingerprint.check(encoder, LOOKS, None, where="here")


@pytest.mark.parametrize(
    "change",
    [
        {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},  # ImageNet's
        {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)},
        {"mean": (0.5, 0.5, 0.52)},
        {"px": 80},
    ],
)
def test_another_normalization_or_size_is_found(encoder, stored, change):
    with pytest.raises(InputError, match=r"file: gives other features .*get the file anew"):
        fingerprint.check(encoder, dataclasses.replace(LOOKS, **change), stored, where="file")


@pytest.mark.parametrize("change", ["channels", "bfloat16", "one_norm", "other"])
def test_other_weights_are_found(encoder, stored, change):
    graph, state = nnx.split(encoder)
    changed = nnx.merge(graph, jax.tree.map(lambda leaf: leaf, state))
    if change == "channels":
        changed.conv1.kernel[...] = changed.conv1.kernel[...][:, :, ::-1]
    elif change == "bfloat16":
        rounded = jax.tree.map(lambda leaf: leaf.astype("bfloat16").astype("float32"), state)
        changed = nnx.merge(graph, rounded)
    elif change == "one_norm":
        changed.layer4[0].bn2.var[...] = changed.layer4[0].bn2.var[...] * 1.1
    else:
        changed = resnet.ResNet("small", rngs=nnx.Rngs(6))
        changed.eval()
    with pytest.raises(InputError, match="gives other features"):
        fingerprint.check(changed, LOOKS, stored, where="file")


@pytest.mark.parametrize("damage", [{"float32": "&"}, {"shape": [7, 512]}, {"float32": None}])
def test_a_damaged_fingerprint_is_one_line(encoder, stored, damage):
    with pytest.raises(InputError, match="file: no fingerprint"):
        fingerprint.check(encoder, LOOKS, stored | damage, where="file")


def test_nan_never_passes():
    nan = np.full((8, 4), np.nan, np.float32)
    assert fingerprint.difference(nan, np.ones((8, 4), np.float32)) == float("inf")
    assert fingerprint.difference(np.ones((8, 4), np.float32), nan) == float("inf")
