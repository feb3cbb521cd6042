"""Processes, devices and shardings: one mesh with the axis `data`, made with Auto axis types."""

import os

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from histo_simclr.errors import InputError


def start() -> None:
    """Joins the other processes of a job when a launcher announces them; before any other JAX call.

    Slurm and TPU pods on GKE are recognised by their environment; on Cloud TPU VMs, where JAX asks
    the metadata server, `HISTO_SIMCLR_POD=1` says so. Other launchers set
    `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`.

    Raises:
      InputError: only some of the three variables are set.
    """
    names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    missing = [name for name in names if name not in os.environ]
    announced = names[0] not in missing
    if announced and missing:
        raise InputError(
            f"not set, though {names[0]} is", where=missing[0], way_out=f"set all of {names}"
        )
    slurm = int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_STEP_ID" in os.environ
    pod = any(
        "," in os.environ.get(name, "")
        for name in ("TPU_WORKER_HOSTNAMES", "TPU_PROCESS_ADDRESSES")
    )
    pod = pod or os.environ.get("HISTO_SIMCLR_POD") == "1"
    if not (announced or slurm or pod) or jax.distributed.is_initialized():
        return
    if announced:
        jax.distributed.initialize(
            os.environ["JAX_COORDINATOR_ADDRESS"],
            num_processes=int(os.environ["JAX_NUM_PROCESSES"]),
            process_id=int(os.environ["JAX_PROCESS_ID"]),
        )
    else:
        jax.distributed.initialize()


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
