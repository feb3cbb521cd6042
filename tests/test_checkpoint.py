"""Checkpoints: bits, topologies, damage, strangers."""

import dataclasses
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from histo_simclr import checkpoint, checkpoint_items, fingerprint, state
from histo_simclr import mesh as meshes
from histo_simclr.errors import InputError
from histo_simclr.model.simclr import SimCLR
from histo_simclr.provenance import Provenance

PROVENANCE = Provenance(
    arch="resnet18",
    hidden=16,
    out=8,
    px=80,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    mpp=(0.5, 1.0),
    mix={"digest": "d"},
    config={"seed": 1},
    versions={"jax": "0"},
    revision="r",
)


class Small(nnx.Module):
    def __init__(self, rngs):
        self.layer = nnx.Linear(64, 33, rngs=rngs)
        self.norm = nnx.BatchNorm(33, rngs=rngs)


def small(devices: int, *, width: optax.GradientTransformation | None = None) -> state.Split:
    transformation = width or optax.sgd(0.1, momentum=0.9)
    sharding = meshes.replicated(meshes.make(devices))
    return state.init(Small, transformation, seed=3, sharding=sharding)


def save(folder, arrays, *steps, features=None):
    saved = checkpoint.Checkpoints(folder, keep=3, keep_every=0)
    for step in steps:
        saved.save(step, arrays, PROVENANCE, features=features)
    saved.close()


def reopen(folder) -> checkpoint.Checkpoints:
    return checkpoint.Checkpoints(folder, keep=3, keep_every=0)


def equal(a, b) -> bool:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


@pytest.mark.parametrize(("before", "after"), [(1, 8), (8, 1)])
def test_restores_the_same_bits_onto_another_number_of_devices(tmp_path, before, after):
    split = small(before)
    save(tmp_path, split.arrays, 7)
    other = small(after)
    blank = jax.tree.map(jnp.zeros_like, other.arrays)
    blank = jax.device_put(blank, meshes.replicated(meshes.make(after)))
    restored, provenance = reopen(tmp_path).restore(7, blank)
    assert equal(restored, split.arrays)
    assert provenance == PROVENANCE
    assert {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(restored)} == {after}


def test_an_array_larger_than_what_may_be_on_its_way_is_saved_and_restored(tmp_path, monkeypatch):
    # Orbax refuses such an array: a head of 4096 of a ResNet-50 has 32 MB.
    monkeypatch.setattr(checkpoint.items, "_ON_THE_WAY", 1)
    split = small(1)
    save(tmp_path, split.arrays, 2)
    restored, _ = reopen(tmp_path).restore(2, jax.tree.map(jnp.zeros_like, split.arrays))
    assert equal(restored, split.arrays)


def test_keeps_the_newest_and_the_milestones(tmp_path):
    split = small(1)
    saved = checkpoint.Checkpoints(tmp_path, keep=2, keep_every=4)
    for step in (4, 5, 6, 7):
        saved.save(step, split.arrays, PROVENANCE, features=None)
    saved.close()
    kept = sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir())
    assert kept == [4, 6, 7]
    assert reopen(tmp_path).latest() == 7


def test_what_is_no_trouble_of_the_disk_keeps_its_traceback(tmp_path):
    saved = reopen(tmp_path)
    with pytest.raises(TypeError), checkpoint_items.naming_disk_trouble(saved.folder):
        raise TypeError("a defect")
    saved.close()


def test_another_optimizer_is_refused_naming_the_leaf(tmp_path):
    save(tmp_path, small(1).arrays, 1)
    with pytest.raises(InputError, match="another architecture or optimizer: optimizer/"):
        reopen(tmp_path).restore(1, small(1, width=optax.adam(0.1)).arrays)


@pytest.mark.parametrize("offset", [0.1, 0.5, 0.9])
def test_flipped_bytes_are_noticed(tmp_path, offset):
    save(tmp_path, small(1).arrays, 3, 5)
    files = [p for p in (tmp_path / "checkpoints/5/params").rglob("*") if p.is_file()]
    largest = max(files, key=lambda p: p.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[int(len(content) * offset)] ^= 0x40
    largest.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged checkpoint.*go on from step 3"):
        reopen(tmp_path).restore(5, small(1).arrays)


def test_a_truncated_file_is_noticed(tmp_path):
    save(tmp_path, small(1).arrays, 5)
    files = [p for p in (tmp_path / "checkpoints/5/params").rglob("*") if p.is_file()]
    largest = max(files, key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    with pytest.raises(InputError, match=r"damaged checkpoint.*start anew"):
        reopen(tmp_path).restore(5, small(1).arrays)


def test_torn_metadata_is_noticed(tmp_path):
    save(tmp_path, small(1).arrays, 5)
    for file in (tmp_path / "checkpoints/5/metadata").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(InputError, match="metadata cannot be read"):
        reopen(tmp_path).restore(5, small(1).arrays)


@pytest.mark.parametrize("place", [b'"mean": [0.5', b'"shape"', b'"crc32c"', b'"digest": "d'])
def test_a_changed_byte_in_the_metadata_is_noticed(tmp_path, place):
    save(tmp_path, small(1).arrays, 5)
    file = tmp_path / "checkpoints/5/metadata/metadata"
    content = bytearray(file.read_bytes())
    content[content.index(place) + len(place) - 1] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match="metadata cannot be read.*start anew"):
        reopen(tmp_path).restore(5, small(1).arrays)


def test_what_orbax_abandons_stays_off_stderr(monkeypatch):
    shown = []
    monkeypatch.setattr(sys, "unraisablehook", shown.append)
    abandoned = checkpoint.ocp.Checkpointer(checkpoint.ocp.JsonCheckpointHandler())
    code = types.SimpleNamespace(co_filename=type(abandoned).restore.__code__.co_filename)
    leftovers = [
        types.SimpleNamespace(object=types.SimpleNamespace(cr_code=code), exc_value=Exception()),
        types.SimpleNamespace(object=None, exc_value=RuntimeError("Event loop is closed")),
    ]
    other = types.SimpleNamespace(object=None, exc_value=RuntimeError("a defect"))
    for _ in range(2):  # a second checkpoint
        checkpoint_items.silence_abandoned_io()
    for unraisable in (*leftovers, other):
        sys.unraisablehook(unraisable)
    assert shown == [other]


FULL_DISK = """
import resource
import sys
from pathlib import Path
sys.path[:0] = [{root!r}, {here!r}]
from histo_simclr.errors import InputError
from test_checkpoint import PROVENANCE, checkpoint, small
split = small(1)
saved = checkpoint.Checkpoints(Path({folder!r}), keep=3, keep_every=0)
saved.save(1, split.arrays, PROVENANCE, features=None)
saved.wait()
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))
try:
    saved.save(2, split.arrays, PROVENANCE, features=None)
    saved.wait()
except InputError as error:
    print(error)
"""


def test_a_full_disk_is_one_line_and_the_previous_checkpoint_survives(tmp_path, request):
    # A limit on the size of files makes writes fail in the middle, as a full disk does.
    code = FULL_DISK.format(
        root=str(request.config.rootpath),
        here=str(request.config.rootpath / "tests"),
        folder=str(tmp_path),
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "checkpoint cannot be saved: File too large; step 1 stands" in done.stdout, done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["1"]
    restored, _ = reopen(tmp_path).restore(1, small(1).arrays)
    assert equal(restored, small(1).arrays)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A workdir with an (untrained) ResNet-18 checkpoint, and its arrays."""
    folder = tmp_path_factory.mktemp("pretrained")
    split = state.init(
        lambda rngs: SimCLR("resnet18", hidden=16, out=8, rngs=rngs),
        optax.sgd(0.1),
        seed=0,
        sharding=meshes.replicated(meshes.make(1)),
    )
    features = fingerprint.of_training(split.arrays[0]["encoder"], PROVENANCE)
    save(folder, split.arrays, 2, 11, features=features)
    return folder, split


@pytest.mark.slow
def test_the_encoder_of_the_newest_checkpoint_is_the_model_s(pretrained):
    folder, split = pretrained
    encoder, provenance, path = checkpoint.load_encoder(folder)
    assert (path.name, provenance) == ("11", PROVENANCE)
    model, _ = nnx.merge(split.graph, split.arrays)
    model.eval()
    x = np.random.default_rng(0).standard_normal((2, 72, 72, 3)).astype(np.float32)
    np.testing.assert_array_equal(encoder(x), model.encoder(x))


@pytest.mark.slow
def test_a_checkpoint_of_another_architecture_is_refused(pretrained, monkeypatch):
    folder, _ = pretrained
    deeper = dataclasses.replace(PROVENANCE, arch="resnet34")
    monkeypatch.setattr(checkpoint, "read_provenance", lambda _: deeper)
    with pytest.raises(InputError, match=r"another architecture.*params/encoder/layer1/2"):
        checkpoint.load_encoder(folder)


@pytest.mark.slow
def test_an_encoder_that_gives_other_features_than_it_was_written_with_is_refused(
    pretrained, tmp_path
):
    _, split = pretrained
    wrong = fingerprint.of_training(
        split.arrays[0]["encoder"], dataclasses.replace(PROVENANCE, std=(0.25, 0.25, 0.25))
    )
    save(tmp_path, split.arrays, 1, features=wrong)
    with pytest.raises(InputError, match=r"checkpoints/1: gives other features.*fingerprint of 8"):
        checkpoint.load_encoder(tmp_path)


@pytest.mark.slow
def test_a_checkpoint_of_before_fingerprints_loads(pretrained, tmp_path):
    save(tmp_path, pretrained[1].arrays, 1)
    checkpoint.load_encoder(tmp_path)
    assert checkpoint.read_fingerprint(checkpoint.resolve(tmp_path)) is None


@pytest.mark.slow
def test_an_encoder_alone_is_a_checkpoint(pretrained, tmp_path):
    encoder, provenance, _ = checkpoint.load_encoder(pretrained[0])
    folder = checkpoint.write_encoder(tmp_path / "a" / "alone", encoder, provenance)
    again, stored, path = checkpoint.load_encoder(folder)
    assert (path, stored) == (folder, provenance)
    assert equal(nnx.state(again), nnx.state(encoder))
    assert [each.name for each in folder.parent.iterdir()] == ["alone"]
    with pytest.raises(InputError, match="alone: is there already"):
        checkpoint.write_encoder(folder, encoder, provenance)


@pytest.mark.slow
def test_an_encoder_that_cannot_be_written_leaves_nothing_behind(pretrained, tmp_path, monkeypatch):
    encoder, provenance, _ = checkpoint.load_encoder(pretrained[0])

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.ocp.JsonCheckpointHandler, "async_save", full)
    with pytest.raises(InputError, match=r"alone: cannot be written \(No space left on device\)"):
        checkpoint.write_encoder(tmp_path / "alone", encoder, provenance)
    assert not any(tmp_path.iterdir())


def test_a_folder_without_checkpoint_says_what_to_give(tmp_path):
    with pytest.raises(InputError, match="no checkpoint here.*workdir"):
        checkpoint.load_encoder(tmp_path)
    with pytest.raises(InputError, match="no such checkpoint"):
        checkpoint.load_encoder(tmp_path / "absent")
