"""A fault inside a Python program, at a moment of its own; FAULT in the environment says which.

The interpreter imports this file at its start because the folder is on PYTHONPATH. Keys of FAULT, a
JSON object; without it nothing happens:

under         folder; renames, removals, new folders and files opened for writing in it are moments
kill_at       number of the moment, from 0, before which the process and its group are killed
only          "rename": of the moments only renames count
log           file that gets a line for each moment
copy          folder that gets a copy of `under`, as a kill would leave it, before each moment
slow          seconds that each moment takes longer
largest_file  bytes; from moment `from` on no file may grow beyond, as on a full disk
memory        bytes; from moment `from` on no more than these on top of what the process has
from          number of a moment; 0
clock         seconds; time.time() is wrong by so much, now ahead, now behind, at each look
nan_after     number of pretraining steps after which no parameter is a number any more
"""

import contextlib
import itertools
import json
import math
import os
import resource
import shutil
import signal
import sys
import threading
import time

FAULT = json.loads(os.environ.get("FAULT", "{}"))
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir")
_busy = threading.local()
_lock, _count = threading.Lock(), 0
_poisoned = False


def _moment(event: str, arguments: tuple) -> None:
    global _count
    if getattr(_busy, "now", False) or not _counts(event, arguments):
        return
    with _lock:
        number, _count = _count, _count + 1
    _busy.now = True  # what follows is no moment
    if "log" in FAULT:
        descriptor = os.open(FAULT["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(descriptor, f"{event} {arguments[0]}\n".encode())
        os.close(descriptor)
    if "copy" in FAULT:
        with _lock:
            shutil.copytree(
                FAULT["under"], f"{FAULT['copy']}/{number:03d}", copy_function=_copy_if_there
            )
    if number == FAULT.get("kill_at"):
        os.killpg(0, signal.SIGKILL)
    if number == FAULT.get("from", 0):
        _limit()
    _busy.now = False
    time.sleep(FAULT.get("slow", 0))


def _copy_if_there(source: str, target: str) -> None:
    # Tensorstore's threads rename and remove files of their own, which are no moments, meanwhile.
    with contextlib.suppress(FileNotFoundError):
        shutil.copy2(source, target)


def _counts(event: str, arguments: tuple) -> bool:
    kinds = _CHANGES[:1] if FAULT.get("only") else _CHANGES
    written = event == "open" and not FAULT.get("only") and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if event not in kinds and not written:
        return False
    path = arguments[0]
    is_path = isinstance(path, str | bytes | os.PathLike)
    return is_path and os.fsdecode(path).startswith(FAULT["under"])


def _limit() -> None:
    if "largest_file" in FAULT:
        resource.setrlimit(resource.RLIMIT_FSIZE, (FAULT["largest_file"],) * 2)
    if "memory" in FAULT:
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[0])
        most = pages * resource.getpagesize() + FAULT["memory"]
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _wrong_clock(seconds: float) -> None:
    wall, wall_ns, looks = time.time, time.time_ns, [0]

    def off() -> float:
        looks[0] += 1
        return seconds if looks[0] % 2 else -seconds

    time.time = lambda: wall() + off()
    time.time_ns = lambda: wall_ns() + int(off() * 1e9)


def _nan(event: str, arguments: tuple) -> None:
    global _poisoned
    # The package cannot be imported any earlier than it imports itself.
    if not _poisoned and event == "import" and arguments[0] == "histo_simclr.pretrain.train":
        _poisoned = True
        _poison()


def _poison() -> None:
    import jax
    import jax.numpy as jnp

    from histo_simclr import update

    compile_step, steps = update.compile_step, itertools.count(1)

    @jax.jit
    def times_nan(arrays):
        return jax.tree.map(
            lambda leaf: leaf * math.nan if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf,
            arrays,
        )

    def compile_poisoned(*arguments):
        step = compile_step(*arguments)

        def run(arrays, *others):
            arrays, metrics = step(arrays, *others)
            return times_nan(arrays) if next(steps) == FAULT["nan_after"] else arrays, metrics

        return run

    update.compile_step = compile_poisoned


if "under" in FAULT:
    sys.addaudithook(_moment)
if "nan_after" in FAULT:
    sys.addaudithook(_nan)
if "largest_file" in FAULT:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
if "clock" in FAULT:
    _wrong_clock(FAULT["clock"])
