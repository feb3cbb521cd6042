"""Peak figures of accelerators, as their makers publish them, by the name that JAX gives a device.

Of one JAX device: on TPU v3 that is a core, half a chip; on all others listed a whole chip.
"""

from typing import NamedTuple


class Chip(NamedTuple):
    """One device.

    Fields:
      name: as people call it.
      kinds: `jax.Device.device_kind` of it.
      flops: dense bfloat16 FLOP/s, products with float32 sums.
      bandwidth: bytes/s of its HBM.
      memory: bytes of its HBM; a program gets some percent less.
    """

    name: str
    kinds: tuple[str, ...]
    flops: float
    bandwidth: float
    memory: float


# NVIDIA: data sheets of the A100 80GB (SXM), H100 (SXM) and H200 (SXM), dense: half of the figures
# "with sparsity". TPU: docs.cloud.google.com/tpu/docs/v3, v4, v5e, v5p, v6e. Looked up 2026-11-27.
# Other forms of a chip (PCIe, NVL, 40 GB, a MIG slice) have other figures and names.
CHIPS = (
    Chip("A100 80GB SXM", ("NVIDIA A100-SXM4-80GB",), 312e12, 2.039e12, 80e9),
    Chip("H100 SXM", ("NVIDIA H100 80GB HBM3",), 989e12, 3.35e12, 80e9),
    Chip("H200", ("NVIDIA H200",), 989e12, 4.8e12, 141e9),
    # Published of a chip with two cores: 123 TFLOP/s, 900 GB/s, 32 GiB.
    Chip("TPU v3 core", ("TPU v3",), 61.5e12, 0.45e12, 16 * 2**30),
    Chip("TPU v4", ("TPU v4",), 275e12, 1.2e12, 32 * 2**30),
    Chip("TPU v5e", ("TPU v5 lite", "TPU v5e"), 197e12, 0.819e12, 16e9),
    Chip("TPU v5p", ("TPU v5", "TPU v5p"), 459e12, 2.765e12, 95e9),
    Chip("TPU v6e", ("TPU v6 lite", "TPU v6e"), 918e12, 1.64e12, 32e9),
)


def of(device_kind: str) -> Chip | None:
    """The chip that JAX calls so; None: not known, as of any CPU."""
    return next((chip for chip in CHIPS if device_kind in chip.kinds), None)
