"""Chips and what connects them: peaks, latencies and rates, as published. No formula of a step.

What no source was found for is marked "recalled".
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from histo_simclr import chips


class Fabric(NamedTuple):
    """What connects the chips of one kind.

    Fields:
      chip: its peaks.
      exact: FLOP/s of float32 products (`Precision.HIGHEST`), as the similarities are.
      batch: patches a chip of the weak regime, by net: what should fit (docs/scaling.md).
      latency: devices -> seconds of the smallest sum over all of them.
      rate: devices -> bytes/s at which a device receives what all of them have.
      between: devices -> bytes/s between two halves of them that a slower network joins; inf: none.
    """

    chip: chips.Chip
    exact: float
    batch: dict[str, int]
    latency: Callable[[int], float]
    rate: Callable[[int], float]
    between: Callable[[int], float]


# docs.cloud.google.com/tpu/docs/v5e, v5p (2026-11-27): shapes of slices; 400 and 1,200 GB/s a chip,
# both directions of four and six links together. A pod of v5e has 256 chips, so 512 are two.
TORUS = {
    "v5e": {8: (2, 4), 64: (8, 8), 256: (16, 16), 512: (16, 16)},
    "v5p": {8: (2, 2, 2), 64: (4, 4, 4), 512: (8, 8, 8)},
}
AXIS = {"v5e": 100e9, "v5p": 200e9}  # bytes/s into a chip from both sides of one axis
# A ring is closed on v5e when the axis has all 16 chips, on v5p when it is a multiple of 4; else
# half the links carry (jax-ml/scaling-book, tpus.md).
CLOSED = {"v5e": 16, "v5p": 4}
# Same book, sharding.md: about 1 us a hop; a small gather of three hops measured at 8 us.
HOP, TPU_FIXED = 1e-6, 5e-6
# v5e page: 6.4 Tbit/s of data center network a pod. Latency between pods: recalled, unsure.
V5E_BETWEEN, V5E_BETWEEN_LATENCY = 6.4e12 / 8, 50e-6
# NCCL's own model of a tree in its low-latency protocol (src/graph/tuning.cc; NVIDIA/nccl#1334).
NCCL_FIXED, NVLINK_HOP, NETWORK_HOP = 6.8e-6, 0.6e-6, 5.0e-6
# Of 450 GB/s one way 370 arrive (NVIDIA/nccl-tests#212), of 50 of each of the node's eight network
# cards 46 (nccl-tests#290).
NVLINK, RAILS = 370e9, 8 * 46e9


def hops(kind: str, devices: int) -> int:
    """Links between the two chips of a slice that are farthest apart."""
    closed = CLOSED[kind]
    return sum(side // 2 if side % closed == 0 else side - 1 for side in TORUS[kind][devices])


def tpu_latency(kind: str, devices: int) -> float:
    """There and back across the torus; and across the network where the slice is two pods."""
    between = V5E_BETWEEN_LATENCY if (kind, devices) == ("v5e", 512) else 0.0
    return TPU_FIXED + 2 * hops(kind, devices) * HOP + between


def tpu_rate(kind: str, devices: int) -> float:
    """All axes at once."""
    sides = TORUS[kind][devices]
    return sum(AXIS[kind] / (1 if side % CLOSED[kind] == 0 else 2) for side in sides)


def gpu_latency(devices: int) -> float:
    """Up and down a chain in each node and a tree over the nodes."""
    nodes = max(1, devices // 8)
    chain = (devices // nodes - 1) * NVLINK_HOP
    return NCCL_FIXED + 2 * (chain + math.log2(nodes) * NETWORK_HOP)


def _tpu(kind: str, name: str, batch: dict[str, int]) -> Fabric:
    chip = next(each for each in chips.CHIPS if each.name == name)
    return Fabric(
        chip,
        chip.flops / 6,  # HIGHEST is six bfloat16 products (recalled)
        batch,
        lambda devices: tpu_latency(kind, devices),
        lambda devices: tpu_rate(kind, devices),
        lambda devices: V5E_BETWEEN if (kind, devices) == ("v5e", 512) else math.inf,
    )


FABRICS = {
    "v5e": _tpu("v5e", "TPU v5e", {"resnet18": 256, "resnet50": 64}),
    "v5p": _tpu("v5p", "TPU v5p", {"resnet18": 512, "resnet50": 256}),
    "H100": Fabric(
        next(each for each in chips.CHIPS if each.name == "H100 SXM"),
        67e12,  # NVIDIA's data sheet, FP32 without tensor cores (recalled)
        {"resnet18": 512, "resnet50": 256},
        gpu_latency,
        lambda devices: NVLINK if devices <= 8 else RAILS,
        lambda devices: math.inf,
    ),
}
