"""The processes of one job: how they find each other, and that none is left waiting for a lost one.

A job is what a launcher starts with the same command on several hosts. Knows no arrays.
"""

import contextlib
import ctypes
import hashlib
import json
import os
import re
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from histo_simclr.errors import InputError

# Seconds. Hosts need not start at once: one may still be copying the mix.
START = 300
# A host that was silent for so long is lost. More than a network's hiccup; JAX itself takes 100.
HEARTBEAT = 60
# At the end the others wait for the first process, which evaluates and draws alone.
END = 3600
# Until a file that one host made is seen by another: network folders remember for a while.
SEEN = 30

_NAMES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
# Exit code of a process that ends because another one was lost. Not worker.sh's 75, "saved": where
# the other one failed for a reason, a restart would fail again.
LOST = 76
# How collectives and the coordination service speak of a process that is no longer there.
_LOST = re.compile(
    "gloo|nccl|coordination (service|agent)|heartbeat|barrier (timed out|failed|.*error)"
    "|socket closed|connection (reset|closed|refused)|^(UNAVAILABLE|DEADLINE_EXCEEDED)",
    re.IGNORECASE,
)
_kept: list[Callable] = []  # C knows these functions only by address


def start() -> None:
    """Joins the other processes when a launcher announces them; before any other JAX call.

    Slurm, Open MPI 4 and TPU slices on GKE are recognised by their environment; on Cloud TPU VMs,
    where JAX asks the metadata server, `HISTO_SIMCLR_POD=1` says so. Other launchers set
    `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`.

    Where JAX finds that a process is lost, by its closed connection or by `HEARTBEAT` seconds of
    silence, it aborts the others; from here on this leaves one line and exit code `LOST`. So it
    does with those that do not meet within `START` seconds: one line, exit code 1.

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
        f"{_NAMES[0]}, where the others must reach it",
        code=1,
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
    _say_at_abort(f"error: {_lost('JAX ended this one; its words stand above')}", code=LOST)


def announced(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """What a launcher says of the job, as arguments of `jax.distributed.initialize`.

    Returns:
      None where this process is alone; empty where JAX itself finds out.

    Raises:
      InputError: only some of the three variables are set, or they make no sense.
    """
    if _NAMES[0] not in environment:
        by_jax = (
            _several(environment, "SLURM_NTASKS") and "SLURM_STEP_ID" in environment,
            _several(environment, "OMPI_COMM_WORLD_SIZE")
            and "OMPI_MCA_orte_hnp_uri" in environment,
            "," in environment.get("TPU_WORKER_HOSTNAMES", ""),
            "," in environment.get("TPU_PROCESS_ADDRESSES", ""),
            _several(environment, "MEGASCALE_NUM_SLICES"),
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


def _several(environment: Mapping[str, str], name: str) -> bool:
    count = environment.get(name, "1")
    if not count.isdecimal():
        raise InputError(
            f"is {count!r}", where=name, way_out="unset it, or give the number of processes"
        )
    return int(count) > 1


@contextlib.contextmanager
def ending_together() -> Iterator[None]:
    """Ends this process of a job at once when the block fails, so that the others end as well.

    Otherwise JAX and Orbax wait for the others before the exit, for up to `END` seconds, while the
    others wait for this one. What was being saved is lost; what is saved stands. Says why in one
    line, or by a traceback where it is a defect. Exit code 2 for bad input, `LOST` where another
    process was lost, 130 for Ctrl-C, else 1. Where this is the only process, errors pass.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if not jax.distributed.is_initialized():
            raise
        code, said = _last_words(error)
        try:
            sys.stdout.flush()
            sys.stderr.write(said)
            sys.stderr.flush()
        finally:  # even on a full disk: the others wait
            os._exit(code)


def agree(content: Any, *, what: str) -> None:
    """InputError in every process of a job unless `content` is the same in all of them.

    Args:
      content: what JSON can hold.
      what: its name in the error.
    """
    if jax.process_count() == 1:
        return
    text = json.dumps(content, sort_keys=True).encode()
    digest = np.frombuffer(hashlib.sha256(text).digest(), np.uint32)
    digests = multihost_utils.process_allgather(digest)
    others = np.flatnonzero((digests != digests[0]).any(axis=1))
    if len(others):
        raise InputError(
            f"process {others[0]} of the job has another {what} than process 0",
            where=what,
            way_out="give the same command, the same mix and the same files to all hosts",
        )


def everywhere(holds: bool) -> bool:
    """Whether something holds in all processes of the job; all of them must ask."""
    if jax.process_count() == 1:
        return holds
    return bool(multihost_utils.process_allgather(np.array(holds)).all())


def check_shared(folder: Path) -> None:
    """InputError in every process of a job unless `folder` is the same one for all of them.

    Process 0, which made the folder, leaves a file there for a moment.
    """
    if jax.process_count() == 1:
        return
    token = np.frombuffer(os.urandom(16), np.uint32)
    if jax.process_index() == 0:
        _mark(folder, token).touch()
    mark = _mark(folder, multihost_utils.broadcast_one_to_all(token))
    end = time.monotonic() + SEEN
    while not (seen := mark.exists()) and time.monotonic() < end:
        time.sleep(0.1)
    blind = np.flatnonzero(~multihost_utils.process_allgather(np.array(seen)))
    if jax.process_index() == 0:
        mark.unlink()
    if len(blind):
        raise InputError(
            f"process {blind[0]} of the job does not see what process 0 wrote there",
            where=folder,
            way_out="give a --workdir that is the same folder on all hosts",
        )


def _mark(folder: Path, token: np.ndarray) -> Path:
    return folder / f"job-{token.tobytes().hex()}"


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


def _last_words(error: Exception | KeyboardInterrupt) -> tuple[int, str]:
    """Exit code, and what is said."""
    if isinstance(error, InputError):
        return 2, f"error: {error}\n"
    if isinstance(error, KeyboardInterrupt):
        return 130, "stopped; the same command on all hosts goes on from the last checkpoint\n"
    if isinstance(error, (RuntimeError, ValueError)) and _LOST.search(_short(error)):
        return LOST, f"error: {_lost(_short(error))}\n"
    return 1, "".join(traceback.format_exception(error))


def _say_at_abort(line: str, *, code: int) -> None:
    """Where a library aborts this process, `line` is the last that is said.

    JAX's runtime aborts by itself; a callback from Python in its place fails (jaxlib 0.10.2:
    std::bad_cast). Python's own handler of a signal would come too late.
    """

    def end(_: int) -> None:
        os.write(2, f"{line}\n".encode())
        os._exit(code)

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
