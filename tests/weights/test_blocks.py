"""The order of layers against torchvision's names; what it computes is the programs' tests."""

import pytest

from histo_simclr.errors import InputError
from histo_simclr.model.resnet import ARCHS
from histo_simclr.weights import blocks


@pytest.mark.parametrize("arch", ARCHS)
def test_every_tensor_of_torchvisions_belongs_to_one_layer(arch, golden_weights):
    layers = [blocks.STEM]
    for block in blocks.of_arch(arch):
        layers += [*block.layers, *([block.shortcut] if block.shortcut else [])]
    leaves = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    named = [f"{layer.conv}.weight" for layer in layers]
    named += [f"{layer.norm}.{leaf}" for layer in layers for leaf in leaves]
    shapes = golden_weights.resnet_shapes(arch)
    assert sorted(named) == sorted(shapes)
    assert all(shapes[f"{layer.conv}.weight"][2:] == (layer.side,) * 2 for layer in layers)


def test_an_unknown_architecture_is_refused():
    with pytest.raises(InputError, match="unknown architecture 'resnet19'"):
        blocks.of_arch("resnet19")
