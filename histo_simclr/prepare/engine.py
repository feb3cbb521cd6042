"""Tasks → parts, on this machine or through Apache Beam: the same function of each either way."""

import concurrent.futures
import contextlib
import importlib.util
import io
from collections import deque
from collections.abc import Iterable, Iterator
from typing import IO, Any, NamedTuple

from histo_simclr.prepare import isolated, parts, storage
from histo_simclr.prepare.isolated import Lost
from histo_simclr.prepare.progress import Progress

# Processes of this machine without Beam; Beam's own runner on this machine.
LOCAL, EMBEDDED = "local", "embedded"
# Parts of a store that are fetched before they are needed: each takes a tenth of a second to come.
_AHEAD = 8


class Engine(NamedTuple):
    """Where tasks run.

    Fields:
      runner: "local", "embedded", or one of Beam's runners by name.
      options: Beam's pipeline options, "--name=value" each.
      workers: processes a machine, or with a distributed runner a worker of it.
      silence: seconds without a sign of life after which a task is given up.
    """

    runner: str
    options: tuple[str, ...]
    workers: int
    silence: float


def default_runner() -> str:
    """Beam's embedded runner where Beam is installed."""
    return EMBEDDED if importlib.util.find_spec("apache_beam") else LOCAL


def run(
    engine: Engine,
    work: parts.Work,
    tasks: Iterable[parts.Task],
    folder: str,
    what: str,
    total: int,
) -> Iterator[tuple[Any, Any, IO[bytes] | None]]:
    """Does all tasks whose parts are not in `folder`, in processes that may crash or hang.

    Args:
      engine: where.
      work: what to do with each, a function of a module.
      tasks: taken as they are needed.
      folder: of the parts; every worker must reach it.
      what: what a task is, plural, for the line of progress.
      total: how many there are.

    Yields:
      (task, outcome, file) in the order of the tasks: the outcome that `work` wrote, and the part
      behind it, open for reading until the next is taken; or a Lost without a file.

    Raises:
      InputError: from `work`, or the runner failed.
    """
    jobs = (parts.job(work, task, folder) for task in tasks)
    progress = Progress(what, total)
    if engine.runner == LOCAL:
        done = isolated.in_order(parts.do, jobs, workers=engine.workers, silence=engine.silence)
    else:
        from histo_simclr.prepare import on_beam

        done = on_beam.in_order(jobs, engine, folder, progress)
    with contextlib.closing(done):
        for number, (task, file) in enumerate(_opened(done, storage.is_remote(folder))):
            progress.show(number)
            if isinstance(file, Lost):
                yield task, file, None
                continue
            with file:
                yield task, parts.outcome(file), file
    progress.close()


def _opened(done: Iterator[tuple[Any, Any]], is_remote: bool) -> Iterator[tuple[Any, Any]]:
    """Each task with its part, opened, or with the Lost that it is."""
    if not is_remote:
        for job, found in done:
            is_lost = isinstance(found, Lost)
            yield job.task, found if is_lost else storage.open_file(job.path)
        return
    coming: deque[tuple[Any, Any]] = deque()
    with concurrent.futures.ThreadPoolExecutor(_AHEAD) as threads:
        for job, found in done:
            is_lost = isinstance(found, Lost)
            coming.append((job.task, found if is_lost else threads.submit(_fetched, job.path)))
            if len(coming) > _AHEAD:
                task, fetched = coming.popleft()
                yield task, fetched if isinstance(fetched, Lost) else fetched.result()
        for task, fetched in coming:
            yield task, fetched if isinstance(fetched, Lost) else fetched.result()


def _fetched(path: str) -> IO[bytes]:
    with storage.open_file(path) as file:
        return io.BytesIO(file.read())
