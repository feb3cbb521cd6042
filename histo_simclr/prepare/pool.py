"""Items through worker processes and back, in order, few at a time in memory."""

import collections
import concurrent.futures
import multiprocessing
import os
from collections.abc import Iterator
from typing import Any

from histo_simclr.prepare import patches
from histo_simclr.prepare.item import Item, Walk
from histo_simclr.prepare.patches import Cutting, Result

# One task of a worker: enough images to outweigh its dispatch, little enough to stay balanced.
TASK_IMAGES, TASK_BYTES = 32, 2**20
# Tasks a worker that may be waiting or done: it never idles, and memory stays bounded.
TASKS_AHEAD = 3


def cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def in_order(walk: Walk, cutting: Cutting, workers: int) -> Iterator[tuple[Item, Result]]:
    """Each item with its result, in the order of the walk, few at a time in memory."""
    if workers == 1:
        for task in _tasks(walk):
            yield from zip(task, patches.cut_sources(_data(task), cutting), strict=True)
        return
    # Spawned, not forked: the parent runs TensorFlow's threads, which a fork would tear.
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, mp_context=context, initializer=patches.ignore_interrupt
    )
    running: collections.deque[tuple[list[Item], Any]] = collections.deque()
    try:
        for task in _tasks(walk):
            running.append((task, pool.submit(patches.cut_sources, _data(task), cutting)))
            if len(running) > TASKS_AHEAD * workers:
                done, future = running.popleft()
                yield from zip(done, future.result(), strict=True)
        while running:
            done, future = running.popleft()
            yield from zip(done, future.result(), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def _tasks(walk: Walk) -> Iterator[list[Item]]:
    task, size = [], 0
    for item in walk():
        task.append(item)
        size += _size(item)
        if len(task) >= TASK_IMAGES or size >= TASK_BYTES:
            yield task
            task, size = [], 0
    if task:
        yield task


def _size(item: Item) -> int:
    if isinstance(item.data, bytes):
        return len(item.data)
    try:
        return os.stat(item.data).st_size
    except OSError:
        return 0


def _data(task: list[Item]) -> list[str | bytes]:
    # An item that is left out anyway travels as no bytes.
    return [b"" if item.reason else item.data for item in task]
