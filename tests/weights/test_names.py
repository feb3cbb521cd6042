"""Names and axes against torchvision's own list, and values against its features."""

import jax
import numpy as np
import pytest
from flax import nnx

from histo_simclr.model.resnet import ARCHS, ResNet
from histo_simclr.weights import names


def test_names_and_shapes_are_torchvisions(golden_weights):
    # weights.py beside the golden values lists torchvision's keys; made with torchvision itself.
    for arch in ARCHS:
        found = names.shapes(arch)
        assert found == golden_weights.resnet_shapes(arch)
        assert list(found) == list(golden_weights.resnet_shapes(arch))


def test_there_and_back_is_the_same_bits():
    encoder = ResNet("resnet50", rngs=nnx.Rngs(3))
    tensors = names.to_torch(encoder)
    assert {name: array.shape for name, array in tensors.items()} == names.shapes("resnet50")
    again = names.from_torch(tensors, "resnet50")
    pairs = zip(jax.tree.leaves(nnx.state(again)), jax.tree.leaves(nnx.state(encoder)), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


def test_a_missing_tensor_and_another_shape_are_told_by_name():
    tensors = dict(names.to_torch(ResNet("resnet18", rngs=nnx.Rngs(0))))
    with pytest.raises(ValueError, match=r"layer4\.0\.conv1\.weight has shape"):
        names.from_torch(tensors | {"layer4.0.conv1.weight": np.zeros((3, 3, 3, 3))}, "resnet18")
    del tensors["layer3.1.bn2.running_mean"]
    with pytest.raises(KeyError, match=r"layer3\.1\.bn2\.running_mean"):
        names.from_torch(tensors, "resnet18")
