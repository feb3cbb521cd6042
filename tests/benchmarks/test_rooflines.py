"""Shares of a chip's peaks: known limits give 1, whatever the number of devices."""

import collections

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from histo_simclr import chips
from histo_simclr import mesh as meshes
from histo_simclr.benchmarks import rooflines
from histo_simclr.model import resnet

H100, V5E, V5P = "NVIDIA H100 80GB HBM3", "TPU v5 lite", "TPU v5"
NOTHING_COUNTED = rooflines.Work(None, None)


# Images/s a chip at which its limit is reached, by a count apart from this code, of each layer:
# FLOPs alone, bytes alone, the larger of both, and one after the other.
@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize(
    ("kind", "arch", "compute", "moved", "roof", "yardstick"),
    [
        (H100, "resnet18", 46_452, 22_991, 22_991, 15_379),
        (H100, "resnet50", 20_361, 5_035, 5_035, 4_037),
        ("NVIDIA H200", "resnet34", 22_742, 21_722, 21_722, 11_110),
        ("TPU v4", "resnet101", 2_953, 1_225, 1_225, 866),
        (V5P, "resnet34", 10_555, 12_490, 10_555, 5_721),
    ],
)
def test_known_limits_are_reached_at_their_rates(
    kind, arch, compute, moved, roof, yardstick, devices
):
    model = rooflines.by_hand(arch, 224, "bfloat16")
    shares = {
        "mfu": compute,
        "bandwidth_share_hand": moved,
        "roof_share": roof,
        "r_share": yardstick,
    }
    for name, rate in shares.items():
        found, _ = rooflines.shares(
            NOTHING_COUNTED, model, rate=devices * rate, devices=devices, kind=kind
        )
        assert found[name] == pytest.approx(1, rel=5e-3), name
        assert found["bandwidth_share_counted"] is None


def test_float32_moves_twice_the_bytes_and_half_the_side_a_quarter():
    half = rooflines.by_hand("resnet18", 224, "float32")
    whole = rooflines.by_hand("resnet18", 448, "bfloat16")
    assert half.flops == whole.flops / 4
    assert half.bytes == whole.bytes / 2


@pytest.mark.parametrize(
    ("arch", "gflop", "mb"),
    # By a count apart from this code, of each layer.
    [
        ("resnet18", 21.29, 146),
        ("resnet34", 43.49, 221),
        ("resnet50", 48.57, 665),
        ("resnet101", 93.12, 979),
    ],
)
def test_the_work_of_a_patch_of_224_px_is_known(arch, gflop, mb):
    work = rooflines.by_hand(arch, 224, "bfloat16")
    assert work.flops / 1e9 == pytest.approx(gflop, abs=0.005)
    assert work.bytes / 1e6 == pytest.approx(mb, abs=0.5)


@pytest.mark.parametrize("arch", resnet.ARCHS)
def test_the_layers_are_those_of_the_network(arch):
    """At 72 px, where two of the five halvings round up, and the area is no guide."""
    graph, arrays = nnx.split(nnx.eval_shape(lambda: resnet.ResNet(arch, rngs=nnx.Rngs(0))))
    view = jax.ShapeDtypeStruct((1, 72, 72, 3), "float32")
    traced = jax.make_jaxpr(lambda arrays, view: nnx.merge(graph, arrays)(view))(arrays, view)
    found = collections.Counter(
        (each.invars[0].aval.shape, each.invars[1].aval.shape, each.outvars[0].aval.shape)
        for each in traced.eqns
        if each.primitive.name == "conv_general_dilated"
    )
    assert found == collections.Counter(
        (
            (1, each.side, each.side, each.fan_in),
            (each.kernel, each.kernel, each.fan_in, each.out),
            (1, each.out_side, each.out_side, each.out),
        )
        for each in rooflines.convolutions(arch, 72)
    )


@pytest.mark.parametrize("devices", [1, 8])
def test_the_compilers_count_is_that_of_all_devices(devices):
    split = meshes.batch_sharding(meshes.make(devices))
    product = jax.jit(jnp.matmul, in_shardings=(split, None))
    shapes = [jax.ShapeDtypeStruct(shape, "float32") for shape in ((64, 96), (96, 32))]
    found = rooflines.by_compiler(product.lower(*shapes).compile(), batch=64, devices=devices)
    assert found["flops_per_image"] == pytest.approx(2 * 96 * 32, rel=0.01)


def test_counted_bytes_are_judged_on_a_known_chip():
    counted = rooflines.Work(flops=989e9, bytes=3.35e9)
    found, rows = rooflines.shares(counted, None, rate=500, devices=1, kind=H100)
    assert found["flops_share_counted"] == pytest.approx(0.5)
    assert found["bandwidth_share_counted"] == pytest.approx(0.5)
    assert [value for _, value, _ in rows] == ["50.0%", "50.0%"]


def test_chips_are_known_by_the_names_jax_gives_them():
    assert chips.of(V5E).name == chips.of("TPU v5e").name == "TPU v5e"
    assert chips.of(V5P).name == "TPU v5p"
    # Slices and other forms of a chip have other peaks.
    for kind in ("cpu", "NVIDIA H100 PCIe", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "TPU v4 lite"):
        assert chips.of(kind) is None
