"""Tasks through processes of their own that may crash or hang: the job goes on without them.

A ProcessPoolExecutor is broken for good when one of its workers dies; libraries that decode slides
do die now and then, and the job is days long.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

# Tasks a worker that may be running or done: it never idles, and what waits stays little.
TASKS_AHEAD = 2


class Lost(NamedTuple):
    """The outcome of a task whose process died or fell silent."""

    reason: str


# Yields None, as often as it likes, to say that it is alive, and last its outcome.
Work = Callable[[Any], Iterator[Any]]


def in_order(
    work: Work, tasks: Iterable[Any], *, workers: int, silence: float
) -> Iterator[tuple[Any, Any]]:
    """Each task with its outcome, in the order of the tasks, few at a time.

    Args:
      work: a function of a module, as it is started anew in each process. What it raises is
        raised here.
      tasks: taken as they are needed.
      workers: processes.
      silence: seconds without a sign of life after which a process is killed.

    Yields:
      (task, outcome); the outcome is a Lost where the process died or was killed.
    """
    crew = [_Worker(work) for _ in range(workers)]
    waiting: dict[int, Any] = {}  # number of the task -> task, in their order
    outcomes: dict[int, Any] = {}
    source = enumerate(tasks)
    is_open = True
    try:
        while True:
            for worker in crew:
                if is_open and worker.task is None and len(waiting) < TASKS_AHEAD * workers:
                    number, task = next(source, (None, None))
                    is_open = number is not None
                    if is_open:
                        waiting[number] = task
                        worker.start(number, task, silence)
            if waiting and (first := next(iter(waiting))) in outcomes:
                yield waiting.pop(first), outcomes.pop(first)
                continue  # gives the idle something to do before the next is used
            busy = [worker for worker in crew if worker.task is not None]
            if not busy and not is_open:
                return
            for worker in _heard_or_late(busy):
                number = worker.task
                outcome = worker.listen(silence)
                if outcome is not None:
                    outcomes[number] = outcome
    finally:
        for worker in crew:
            worker.stop()


class _Worker:
    """A process that is replaced when it is lost."""

    def __init__(self, work: Work):
        # Spawned, not forked: the parent runs TensorFlow's threads, which a fork would tear.
        self._context = multiprocessing.get_context("spawn")
        self._work = work
        self.task: int | None = None
        self.deadline = 0.0
        self._process: Any = None

    def start(self, number: int, task: Any, silence: float) -> None:
        if self._process is not None and not self._process.is_alive():
            self._forget()  # killed while it had nothing to do, as when memory runs out
        if self._process is None:
            self.connection, theirs = self._context.Pipe()
            self._process = self._context.Process(
                target=_serve, args=(theirs, self._work), daemon=True
            )
            self._process.start()
            theirs.close()
        self.task, self.deadline = number, time.monotonic() + silence
        with contextlib.suppress(ConnectionError):  # it has just died: `listen` will say so
            self.connection.send(task)

    def listen(self, silence: float) -> Any:
        """The outcome of the task; None when the process only said that it is alive."""
        try:
            if not self.connection.poll():
                self._process.kill()
                self._forget()
                return Lost(f"no sign of life for {silence:g} s")
            kind, message = self.connection.recv()
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode
            self._forget()
            ended = f"{signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            return Lost(f"its process crashed ({ended})")
        if kind == "raised":
            raise message
        self.deadline = time.monotonic() + silence
        if kind == "alive":
            return None
        self.task = None
        return message

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._forget()

    def _forget(self) -> None:
        self._process.join()
        self.connection.close()
        self._process, self.task = None, None


def _heard_or_late(busy: list[_Worker]) -> list[_Worker]:
    """Waits until a worker has said something, has died, or is late; returns those."""
    if not busy:
        return []
    left = max(0.0, min(worker.deadline for worker in busy) - time.monotonic())
    heard = multiprocessing.connection.wait([worker.connection for worker in busy], left)
    now = time.monotonic()
    return [each for each in busy if each.connection in heard or each.deadline <= now]


def _serve(connection: Any, work: Work) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent alone answers Ctrl-C, and cleans up
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            task = connection.recv()
        except (EOFError, ConnectionError):  # the parent is gone
            return
        try:
            outcome = None
            for outcome in work(task):  # noqa: B007 - the last one counts
                _say(connection, "alive", None)
            _say(connection, "done", outcome)
        except Exception as error:  # raised again in the parent
            _say(connection, "raised", error)


def _end_with_parent() -> None:
    """Ends this process when its parent is gone, even while a library hangs in it."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _say(connection: Any, kind: str, message: Any) -> None:
    try:
        connection.send((kind, message))
    except ConnectionError:  # the parent is gone
        raise SystemExit from None
