"""What a run starts from: the source's bits, and a record of them; or one clear line."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import optax
import pytest

from histo_simclr import checkpoint, state
from histo_simclr import mesh as meshes
from histo_simclr.errors import InputError
from histo_simclr.model.simclr import SimCLR
from histo_simclr.pretrain import start
from histo_simclr.provenance import Provenance
from histo_simclr.weights import label, names, torch_file

MODEL = {"arch": "resnet18", "hidden": 16, "out": 8}
HALF = (0.5, 0.5, 0.5)
RUN = {"model": MODEL, "px": 80, "mean": HALF, "std": HALF, "mpp": (0.5,)}
PROVENANCE = Provenance(
    **MODEL,
    px=80,
    mean=HALF,
    std=HALF,
    mpp=(0.5,),
    mix={"digest": "d", "cohorts": {"theirs": {}}},
    config={"seed": 1, "data": {"mix": "/places/on/this/disk"}},
    versions={"jax": "0"},
    revision="r",
    origin={"kind": "pretrained"},
)


def fresh(seed, *, devices=1, **model):
    return state.init(
        lambda rngs: SimCLR(**(MODEL | model), rngs=rngs),
        optax.sgd(0.1, momentum=0.9),
        seed=seed,
        sharding=meshes.replicated(meshes.make(devices)),
    )


def save(workdir, arrays, provenance=PROVENANCE, step=7):
    saved = checkpoint.Checkpoints(workdir, keep=3, keep_every=0)
    saved.save(step, arrays, provenance, features=None)
    saved.close()
    return workdir


@pytest.fixture(scope="module")
def theirs():
    """A training state in which no leaf is as it is initialised."""
    arrays = fresh(5).arrays
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: (
            leaf + jax.numpy.asarray(rng.random(leaf.shape, np.float32)) / 1000
            if leaf.dtype == np.float32
            else leaf
        ),
        arrays,
    )


@pytest.fixture(scope="module")
def source(theirs, tmp_path_factory):
    return save(tmp_path_factory.mktemp("source") / "run", theirs)


def differing(one, other):
    """Names of the leaves that are not the same bits."""
    named = [jax.tree_util.tree_leaves_with_path(state.parts(each)) for each in (one, other)]
    return {
        jax.tree_util.keystr(path)
        for (path, a), (_, b) in zip(*named, strict=True)
        if not np.array_equal(a, b)
    }


@pytest.mark.parametrize("devices", [1, 8])
def test_encoder_and_head_are_the_sources_to_the_bit_and_the_optimizer_is_fresh(
    source, theirs, tmp_path, devices
):
    own = fresh(1, devices=devices).arrays
    found = start.find(str(source), tmp_path, **RUN)
    begun = found.into(own)
    assert all(name.startswith("['optimizer']") for name in differing(begun, theirs))
    assert not any(name.startswith("['optimizer']") for name in differing(begun, own))
    assert {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(begun)} == {devices}
    assert found.record["taken"] == ["encoder", "head"]


def test_a_head_of_other_widths_is_left_and_said_so(source, theirs, tmp_path):
    model = MODEL | {"out": 12}
    own = fresh(1, out=12).arrays
    found = start.find(str(source), tmp_path, **(RUN | {"model": model}))
    begun = state.parts(found.into(own))
    for name, leaf in state.parts(own)["params"]["head"]["linear2"].items():
        assert np.array_equal(begun["params"]["head"]["linear2"][name], leaf)
    kernels = [
        each["params"]["encoder"]["conv1"]["kernel"] for each in (begun, state.parts(theirs))
    ]
    assert np.array_equal(*kernels)
    assert found.record["taken"] == ["encoder"]
    assert found.notes == ("from run, step 7: encoder alone; the head is a new one",)


def test_an_imported_folder_gives_its_encoder(source, theirs, tmp_path):
    encoder, provenance, _ = checkpoint.load_encoder(source)
    imported = dataclasses.replace(
        provenance, hidden=0, out=0, mix={}, config={}, mpp=(), origin={"kind": "imported"}
    )
    folder = checkpoint.write_encoder(tmp_path / "imported", encoder, imported)
    found = start.find(str(folder), tmp_path / "run", **RUN)
    changed = differing(found.into(fresh(1).arrays), theirs)
    assert not {name for name in changed if "encoder" in name and "optimizer" not in name}
    assert (found.record["name"], found.record["taken"]) == ("imported", ["encoder"])
    assert found.record["provenance"]["origin"] == {"kind": "imported"}


def test_a_file_that_says_all_of_itself_gives_its_encoder(source, tmp_path):
    encoder, provenance, _ = checkpoint.load_encoder(source)
    torch_file.write(tmp_path / "encoder.pth", names.to_torch(encoder))
    told = label.label(encoder, provenance)
    (tmp_path / "encoder.pth.json").write_text(json.dumps(told))
    found = start.find(str(tmp_path / "encoder.pth"), tmp_path / "run", **RUN)
    kernel = found.arrays["params"]["encoder"]["conv1"]["kernel"]
    assert np.array_equal(kernel, encoder.conv1.kernel[...])
    assert found.record["digest"] == told["model_sha256"]
    assert (found.record["step"], found.record["taken"]) == (None, ["encoder"])
    assert found.record["provenance"]["mix"] == PROVENANCE.mix


def test_the_record_says_what_the_source_saw_and_no_places(source, tmp_path):
    record = start.find(str(source), tmp_path, **RUN).record
    assert record["digest"] == checkpoint.digest(checkpoint.resolve(source))
    assert (record["name"], record["step"]) == ("run", 7)
    told = json.dumps(record)
    assert "theirs" in told
    assert "/places" not in told
    assert str(source.parent) not in told
    adapted = dataclasses.replace(PROVENANCE, origin={"kind": "pretrained", "init_from": record})
    assert [each.mix["digest"] for each in adapted.lineage()] == ["d", "d"]


def test_a_run_with_a_checkpoint_of_its_own_needs_its_source_no_more(source, theirs, tmp_path):
    gone = shutil.copytree(source, tmp_path / "run")
    found = start.find(str(gone), tmp_path / "adapted", **RUN)
    own = dataclasses.replace(
        PROVENANCE,
        config={"init_from": str(gone)},
        origin={"kind": "pretrained", "init_from": found.record},
    )
    save(tmp_path / "adapted", theirs, own)
    shutil.rmtree(gone)
    again = start.find(str(gone), tmp_path / "adapted", **RUN)
    assert (again.digest, again.arrays) == (found.digest, {})
    # Where it lies elsewhere now, its digest is the same: still the same run.
    assert start.find(str(source), tmp_path / "adapted", **RUN).digest == found.digest
    with pytest.raises(InputError, match="no such weights"):
        start.find(str(gone), tmp_path / "another", **RUN)


def test_from_scratch_nothing_is_taken(tmp_path):
    own = fresh(1).arrays
    found = start.find("", tmp_path, **RUN)
    assert found.into(own) is own
    assert (found.digest, found.record, found.notes) == ("", {}, ())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model": MODEL | {"arch": "resnet34"}},
            "are weights of resnet18, the configuration asks for resnet34; "
            "set --config.model.arch=resnet18",
        ),
        (
            {"mean": (0.485, 0.456, 0.406)},
            r"weights expect pixels by mean \(0.5, 0.5, 0.5\), std \(0.5, 0.5, 0.5\), the "
            r"configuration gives mean \(0.485, 0.456, 0.406\), std \(0.5, 0.5, 0.5\); set "
            r"--config.views.mean='\(0.5, 0.5, 0.5\)' --config.views.std='\(0.5, 0.5, 0.5\)'",
        ),
        ({"std": (0.5, 0.5, 0.25)}, "weights expect pixels by"),
    ],
)
def test_what_does_not_fit_names_both_and_the_flag(source, tmp_path, change, message):
    with pytest.raises(InputError, match=message) as error:
        start.find(str(source), tmp_path, **(RUN | change))
    assert str(error.value).startswith(f"config.init_from: {source}: ")


def test_other_sizes_and_resolutions_are_let_through_and_said(source, tmp_path):
    notes = start.find(str(source), tmp_path, **(RUN | {"px": 224, "mpp": (0.0, 2.0)})).notes
    assert notes[1:] == (
        "its weights learned at 80 px, this run has views of 224 px",
        "its weights saw 0.5 µm/px, the mix is at 2 µm/px",
    )


def test_a_damaged_source_is_refused(source, tmp_path):
    torn = shutil.copytree(source, tmp_path / "torn")
    for file in (torn / "checkpoints/7/params").rglob("*"):
        if file.is_file() and file.stat().st_size > 10_000:
            data = bytearray(file.read_bytes())
            data[len(data) // 2] ^= 1
            file.write_bytes(data)
    with pytest.raises(InputError, match="damaged checkpoint"):
        start.find(str(torn), tmp_path / "run", **RUN)
