"""Devices and shardings: one mesh with the axis `data`, made with Auto axis types."""

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P


def make(devices: int | None = None) -> Mesh:
    """A mesh over the first `devices` devices (all by default) with the single axis `data`."""
    chosen = jax.devices()[:devices]
    return jax.make_mesh((len(chosen),), ("data",), axis_types=(AxisType.Auto,), devices=chosen)


def local(devices: int | None = None) -> Mesh:
    """The same over devices of this process alone, for work that it does not share with others."""
    chosen = jax.local_devices()[:devices]
    return jax.make_mesh((len(chosen),), ("data",), axis_types=(AxisType.Auto,), devices=chosen)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Splits the leading axis over the devices; a batch must be divisible by their number."""
    return NamedSharding(mesh, P("data"))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, P())


def compiler_options(mesh: Mesh) -> dict[str, str]:
    """What `jax.jit` is to tell XLA about the mesh's devices, for programs with convolutions."""
    if mesh.devices.flat[0].platform != "cpu":
        return {}
    # YNNPACK for reductions only. By default it takes convolutions too, and its gradients of
    # kernels are slow: the step takes a third longer (docs/benchmarks.md).
    return {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"}


def compute_dtype(precision: str) -> jnp.dtype:
    """bfloat16 on accelerators, float32 on CPU (slower there in bfloat16), unless named."""
    if precision == "auto":
        precision = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return jnp.dtype(precision)
