"""Images through worker processes and back, in order, few at a time in memory."""

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple

from histo_simclr.prepare import isolated, masks, patches
from histo_simclr.prepare.isolated import Lost
from histo_simclr.prepare.item import Item, Walk
from histo_simclr.prepare.masks import MaskClasses
from histo_simclr.prepare.patches import Cutting, Result

# One task of a worker: enough images to outweigh its dispatch, little enough to stay balanced.
TASK_IMAGES, TASK_BYTES = 32, 2**20
# No decoder needs so long for 32 images; one that does has lost its way in a damaged file.
SILENCE = 600.0  # seconds


class Task(NamedTuple):
    """Images that go to a worker together, and what becomes of them."""

    items: list[Item]
    cutting: Cutting
    mask_classes: MaskClasses | None


def cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def in_order(
    walk: Walk, cutting: Cutting, workers: int, mask_classes: MaskClasses | None = None
) -> Iterator[tuple[Item, Result]]:
    """Each item with its result, in the order of the walk, few at a time in memory.

    With more than one worker an image that crashes its decoder, or keeps it busy for ten minutes,
    is left out with that as the reason. One worker is this process itself. With classes of masks,
    each patch gets its mask.
    """
    tasks = (Task(items, cutting, mask_classes) for items in _batches(walk))
    if workers == 1:
        for task in tasks:
            yield from zip(task.items, _cut(task), strict=True)
        return
    outcomes = isolated.in_order(cut, tasks, workers=workers, silence=SILENCE)
    with contextlib.closing(outcomes):
        for task, results in outcomes:
            found = _one_by_one(task) if isinstance(results, Lost) else results
            yield from zip(task.items, found, strict=True)


def cut(task: Task) -> Iterator[list[Result]]:
    """What `isolated` runs in the workers."""
    yield _cut(task)


def _cut(task: Task) -> list[Result]:
    # An item that is left out anyway is not read.
    sources = [b"" if item.reason else item.data for item in task.items]
    if task.mask_classes is None:
        return patches.cut_sources(sources, task.cutting)
    pairs = zip(sources, (item.mask for item in task.items), strict=True)
    return masks.cut_sources(list(pairs), task.cutting, task.mask_classes)


def _one_by_one(task: Task) -> list[Result]:
    """The results of a task that was lost, without the image that did it."""
    alone = (task._replace(items=[item]) for item in task.items)
    return [
        Result("", [], results.reason) if isinstance(results, Lost) else results[0]
        for _, results in isolated.in_order(cut, alone, workers=1, silence=SILENCE)
    ]


def _batches(walk: Walk) -> Iterator[list[Item]]:
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
