"""The processes of one job: how they find each other, and that none is left waiting for a lost one.

A job is what a launcher starts with the same command on several hosts. Knows no arrays.
"""

import contextlib
import ctypes
import os
import re
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from jax.experimental import multihost_utils

from histo_simclr.errors import InputError

# Seconds. Hosts need not start at once: one may still be copying the mix.
START = 300
# A host that was silent for so long is lost. More than a network's hiccup; JAX itself takes 100.
HEARTBEAT = 60
# At the end the others wait for the first process, which evaluates and draws alone.
END = 3600

_NAMES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
# How collectives and the coordination service speak of a process that is no longer there.
_LOST = re.compile(
    "gloo|nccl|coordination|heartbeat|barrier|socket closed|connection (reset|closed|refused)"
    "|UNAVAILABLE|DEADLINE_EXCEEDED",
    re.IGNORECASE,
)
_kept: list[Callable] = []  # C knows these functions only by address


def start() -> None:
    """Joins the other processes when a launcher announces them; before any other JAX call.

    Slurm, Open MPI 4 and TPU slices on GKE are recognised by their environment; on Cloud TPU VMs,
    where JAX asks the metadata server, `HISTO_SIMCLR_POD=1` says so. Other launchers set
    `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`.

    Where JAX finds that a process is lost, by its closed connection or by `HEARTBEAT` seconds of
    silence, it aborts the others; so it does with those that do not meet within `START` seconds.
    From here on this leaves one line and exit code 1.

    Raises:
      InputError: some of the three variables are missing or make no sense, or the port is taken.
    """
    arguments = announced(os.environ)
    if arguments is None or jax.distributed.is_initialized():
        return
    if arguments.get("process_id") == 0:
        _check_port(arguments["coordinator_address"])
    _say_at_abort(
        f"error: the processes of this job did not meet within {START} s (JAX's words stand "
        "above); start all of them, each with a number of its own; the first listens at "
        f"{_NAMES[0]}, where the others must reach it"
    )
    try:
        jax.distributed.initialize(
            **arguments,
            initialization_timeout=START,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=END,
        )
        # On CPU they connect in their first collective, and all must come to it within 30 s: now
        # they are together, later one may still compile.
        multihost_utils.sync_global_devices("start")
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"this process cannot join the job ({_short(error)})",
            where="start",
            way_out="start all processes anew, each with a number of its own",
        ) from error
    _say_at_abort(f"error: {_lost('JAX ended this one; its words stand above')}")


def announced(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """What a launcher says of the job, as arguments of `jax.distributed.initialize`.

    Returns:
      None where this process is alone; empty where JAX itself finds out.

    Raises:
      InputError: only some of the three variables are set, or they make no sense.
    """
    if _NAMES[0] not in environment:
        by_jax = (
            int(environment.get("SLURM_NTASKS", "1")) > 1 and "SLURM_STEP_ID" in environment,
            int(environment.get("OMPI_COMM_WORLD_SIZE", "1")) > 1
            and "OMPI_MCA_orte_hnp_uri" in environment,
            "," in environment.get("TPU_WORKER_HOSTNAMES", ""),
            "," in environment.get("TPU_PROCESS_ADDRESSES", ""),
            int(environment.get("MEGASCALE_NUM_SLICES", "1")) > 1,
            environment.get("HISTO_SIMCLR_POD") == "1",
        )
        return {} if any(by_jax) else None
    if missing := [name for name in _NAMES if name not in environment]:
        raise InputError(
            f"not set, though {_NAMES[0]} is", where=missing[0], way_out=f"set all of {_NAMES}"
        )
    address, count, number = (environment[name] for name in _NAMES)
    if not re.fullmatch(r".+:\d+", address):
        raise InputError(
            f"is {address!r}",
            where=_NAMES[0],
            way_out="give HOST:PORT of process 0, with a free port",
        )
    if not (count.isdecimal() and number.isdecimal() and int(number) < int(count)):
        raise InputError(
            f"is {number!r}, where {_NAMES[1]} is {count!r}",
            where=_NAMES[2],
            way_out=f"number the processes from 0 to {_NAMES[1]} - 1",
        )
    return {
        "coordinator_address": address,
        "num_processes": int(count),
        "process_id": int(number),
    }


@contextlib.contextmanager
def ending_together() -> Iterator[None]:
    """Ends this process of a job at once when the block fails, so that the others end as well.

    Otherwise JAX and Orbax wait for the others before the exit, for up to `END` seconds, while the
    others wait for this one. What was being saved is lost; what is saved stands. Says why in one
    line, or by a traceback where it is a defect; exit code 2 for bad input, else 1. Where this is
    the only process, errors pass.
    """
    try:
        yield
    except Exception as error:
        if not jax.distributed.is_initialized():
            raise
        code = 1
        if isinstance(error, InputError):
            code, said = 2, f"error: {error}\n"
        elif isinstance(error, (RuntimeError, ValueError)) and _LOST.search(str(error)):
            said = f"error: {_lost(_short(error))}\n"
        else:
            said = "".join(traceback.format_exception(error))
        sys.stdout.flush()
        sys.stderr.write(said)
        sys.stderr.flush()
        os._exit(code)


def _lost(why: str) -> InputError:
    return InputError(
        f"another process of this job died or lost its connection ({why})",
        where=f"process {jax.process_index()} of {jax.process_count()}",
        way_out="see what each said last, then start the same command on all hosts: it goes on "
        "from the last checkpoint",
    )


def _short(error: Exception) -> str:
    """The first line of what a library says, at most 200 characters of it."""
    return str(error).partition("\n")[0][:200]


def _say_at_abort(line: str) -> None:
    """Where a library aborts this process, `line` is the last that is said; exit code 1.

    JAX's runtime aborts by itself; a callback from Python in its place fails (jaxlib 0.10.2:
    std::bad_cast). Python's own handler of a signal would come too late.
    """

    def end(_: int) -> None:
        os.write(2, f"{line}\n".encode())
        os._exit(1)

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(end)
    _kept.append(handler)
    ctypes.CDLL(None).signal(signal.SIGABRT, handler)


def _check_port(address: str) -> None:
    """InputError where the coordinator could not listen: there JAX 0.10.2 crashes."""
    port = int(address.rpartition(":")[2])
    try:
        socket.create_server(("", port)).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"port {port} cannot be listened at ({error})",
            where=_NAMES[0],
            way_out="give a free port, the same on all hosts",
        ) from error
