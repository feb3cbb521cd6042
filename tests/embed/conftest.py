"""A small encoder, slides, and the command `embed` on them."""

import optax
import pytest

from histo_simclr import checkpoint, cli, fingerprint, provenance, state
from histo_simclr import mesh as meshes
from histo_simclr.model import resnet
from histo_simclr.model.simclr import SimCLR

PX = 48
LOOKS = {"px": PX, "mean": (0.6, 0.4, 0.65), "std": (0.2, 0.2, 0.2)}


@pytest.fixture(scope="session", autouse=True)
def small():
    """An architecture of two blocks: compiles in a second."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(resnet.STAGE_BLOCKS, "small", (1, 1, 0, 0))
        yield


@pytest.fixture(scope="session")
def save_checkpoint():
    """save_checkpoint(place, seed=…, mpp=…): the checkpoint of a run that did not train."""

    def save(place, *, seed=3, mpp=(1.0,)):
        split = state.init(
            lambda rngs: SimCLR("small", hidden=8, out=8, rngs=rngs),
            optax.sgd(0.1),
            seed=seed,
            sharding=meshes.replicated(meshes.make(1)),
        )
        told = {"arch": "small", "hidden": 8, "out": 8, "mpp": mpp, "versions": {}}
        source = provenance.Provenance(**told, **LOOKS, mix={}, config={}, revision="")
        saved = checkpoint.Checkpoints(place, keep=1, keep_every=0)
        features = fingerprint.of_training(split.arrays[0]["encoder"], source)
        saved.save(7, split.arrays, source, features=features)
        saved.close()
        return place

    return save


@pytest.fixture(scope="session")
def encoder(tmp_path_factory, save_checkpoint):
    """A checkpoint of the small architecture: patches of 48 px at 1 µm/px."""
    return save_checkpoint(tmp_path_factory.mktemp("encoder") / "ours")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory, save_checkpoint):
    """The same with other weights."""
    return save_checkpoint(tmp_path_factory.mktemp("encoder") / "other", seed=4)


@pytest.fixture
def embed(tmp_path, capsys, encoder):
    """embed(*flags): the command on tmp_path/in; (exit code, stdout, stderr)."""

    def call(*flags, checkpoint=encoder, out="out", source="in", workers=1):
        given = ["embed", tmp_path / source, "--checkpoint", checkpoint, "--out", tmp_path / out]
        given += ["--workers", workers, "--batch-size", 64, *flags]
        code = cli.main([str(each) for each in given])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
