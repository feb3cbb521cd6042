"""Processes, devices and shardings: one mesh with the axis `data`, made with Auto axis types."""

import os

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P


def start() -> None:
    """Joins the other processes of a job when a launcher announces them; before any other JAX call.

    Cloud TPU pods and Slurm are recognised by JAX itself; other launchers set
    `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`.
    """
    announced = "JAX_COORDINATOR_ADDRESS" in os.environ
    slurm = int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_STEP_ID" in os.environ
    pod = "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")
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


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Splits the leading axis over the devices; a batch must be divisible by their number."""
    return NamedSharding(mesh, P("data"))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, P())
