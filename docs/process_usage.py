"""What a command and all processes below it take: CPU time and peak memory, by Linux's /proc."""

import collections
import contextlib
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")  # of /proc's CPU times, a second


class Usage(NamedTuple):
    """What a command took.

    Fields:
      wall: seconds.
      parent, workers: CPU seconds of its first process and of all others.
      parent_peak, worker_peak: peak resident memory, of the largest worker, MiB.
      patches, bytes: written.
    """

    wall: float
    parent: float
    workers: float
    parent_peak: float
    worker_peak: float
    patches: int = 0
    bytes: int = 0

    @property
    def cpu(self) -> float:
        """Of all processes."""
        return self.parent + self.workers


def middle(runs: Sequence[Usage]) -> Usage:
    """The median of each field."""
    return Usage(*(statistics.median(each) for each in zip(*runs, strict=True)))


def watched(command: list[str]) -> Usage:
    """Runs a command and looks at its processes, by Linux's /proc, ten times a second."""
    start = time.perf_counter()
    peaks: dict[int, float] = {}
    parent_cpu = 0.0
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        while True:
            done, status, resources = os.wait4(process.pid, os.WNOHANG)
            if done:
                break
            for pid, cpu in family(process.pid):
                peaks[pid] = max(peaks.get(pid, 0.0), peak_memory(pid))
                parent_cpu = cpu if pid == process.pid else parent_cpu
            time.sleep(0.1)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{' '.join(command)}\n{said.read().decode()[-2000:]}")
    wall = time.perf_counter() - start
    total = resources.ru_utime + resources.ru_stime  # of it and of all that it has waited for
    parent_peak = peaks.pop(process.pid, 0.0)
    return Usage(wall, parent_cpu, total - parent_cpu, parent_peak, max(peaks.values(), default=0))


def family(pid: int) -> Iterator[tuple[int, float]]:
    """(process id, its CPU seconds) of a process and of all below it."""
    children, cpu = collections.defaultdict(list), {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            fields = file.read_text().rpartition(")")[2].split()  # a name may hold spaces
            each = int(file.parent.name)
            children[int(fields[1])].append(each)
            cpu[each] = (int(fields[11]) + int(fields[12])) / TICKS
    waiting = [pid]
    while waiting:
        pid = waiting.pop()
        waiting += children[pid]
        yield pid, cpu.get(pid, 0.0)


def peak_memory(pid: int) -> float:
    """Peak resident memory in MiB so far; 0 when the process has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0
