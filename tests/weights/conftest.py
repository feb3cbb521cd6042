"""Files of torch.save that torch wrote, and a network small enough to write many."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from histo_simclr.model import resnet
from histo_simclr.weights import names


@pytest.fixture(scope="session")
def ciga(golden_dir, tmp_path_factory) -> Path:
    """Folder of the stand-ins for the paper's files, unpacked."""
    folder = tmp_path_factory.mktemp("ciga")
    with tarfile.open(golden_dir / "ciga.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="session")
def small_arch():
    """An architecture of one block a stage, under the name "small"."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(resnet.STAGE_BLOCKS, "small", (1, 1, 1, 1))
        yield "small"


@pytest.fixture(scope="session")
def state(small_arch) -> dict[str, np.ndarray]:
    """Tensors of a small network by torchvision's names, no two alike, variances positive."""
    network = resnet.ResNet(small_arch, rngs=nnx.Rngs(5))
    rng = np.random.default_rng(0)
    found = names.to_torch(network)
    for name, array in found.items():
        if array.ndim == 1:
            found[name] = rng.uniform(0.5, 1.5, array.shape).astype(np.float32)
    return found
