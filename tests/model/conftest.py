"""Encoders with the weights of the reference values, and the inputs that went with them."""

import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from histo_simclr.model import resnet

# Flax's names of parameters and statistics -> torch's.
TORCH_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def torch_name(path):
    """("layer1", 0, "conv1", "kernel") -> "layer1.0.conv1.weight"."""
    return ".".join([*(str(part) for part in path[:-1]), TORCH_LEAVES[path[-1]]])


class Reference:
    """Weights, inputs and expected values, all made without our code."""

    def __init__(self, folder):
        spec = importlib.util.spec_from_file_location("weights", folder / "weights.py")
        self.recipe = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.recipe)
        self.info = json.loads((folder / "resnet_info.json").read_text())
        self.eval = np.load(folder / "resnet_eval.npz")
        self.train = np.load(folder / "resnet18_train.npz")
        pixels = self.recipe.images(self.info["seed_input"])
        self.images = self.recipe.normalise(pixels)
        assert self.recipe.digest({"input": self.images}) == self.info["digest_input"]

    def encoder(self, arch, dtype, param_dtype=jnp.float32, **levers):
        """Our `arch` with the recipe's weights and the stored running statistics."""
        arrays = self.recipe.resnet(arch, self.info["seed_weights"])
        assert self.recipe.digest(arrays) == self.info["digest_weights"][arch]
        arrays = {k: v for k, v in arrays.items() if not k.endswith("num_batches_tracked")}
        for name in arrays:
            if "running_" in name:
                arrays[name] = self.eval[f"{arch}/running/{name}"]
        graph, state = nnx.split(
            nnx.eval_shape(lambda: resnet.ResNet(arch, rngs=nnx.Rngs(0), dtype=dtype, **levers))
        )
        filled = []
        for path, variable in nnx.to_flat_state(state):
            array = arrays.pop(torch_name(path))
            if array.ndim == 4:
                array = np.transpose(array, (2, 3, 1, 0))
            assert array.shape == variable.shape
            filled.append((path, variable.replace(jnp.asarray(array, param_dtype))))
        assert not arrays  # every tensor of torchvision's has its place
        return nnx.merge(graph, nnx.from_flat_state(filled))

    def named(self, tree):
        """State of a ResNet -> {torch's name: numpy array in torch's layout}."""
        arrays = {torch_name(path): np.asarray(leaf[...]) for path, leaf in nnx.to_flat_state(tree)}
        return {k: v.transpose(3, 2, 0, 1) if v.ndim == 4 else v for k, v in arrays.items()}


@pytest.fixture(scope="session")
def reference(golden_dir):
    return Reference(golden_dir)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield
