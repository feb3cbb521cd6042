"""The same tasks through Apache Beam: on this machine, Dataflow, Flink, Spark (extra `beam`).

Beam distributes the tasks; each runs in a process of its own there too (`isolated`), as slides may
crash or hang their reader. What a task gives is its part, in a folder that every worker reaches;
through the pipeline go only places in the file of tasks, so that no runner has to hold plans or
pixels. A task that Beam tries twice finds its part.
"""

import contextlib
import logging
import pickle
import threading
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from histo_simclr.errors import InputError
from histo_simclr.prepare import isolated, parts, storage
from histo_simclr.prepare.engine import EMBEDDED, Engine
from histo_simclr.prepare.isolated import Lost
from histo_simclr.prepare.parts import Job
from histo_simclr.prepare.progress import Progress

# Beam's runner in this process. Its DirectRunner would first download another from the network.
_EMBEDDED_OPTIONS = ("--runner=FnApiRunner", "--direct_running_mode=in_memory")
# Tasks that go to a distributed worker together: starting processes for them costs a second.
TOGETHER = 8
_ATTEMPT = ".beam-"  # hidden: no part
_SECONDS_BETWEEN_COUNTS = 5.0


class Attempt(NamedTuple):
    """One run of a pipeline.

    Fields:
      tasks: file with one pickled Job after the other.
      stopped: where an InputError or OSError of a job goes, which ends the run.
      workers, silence: see engine.Engine.
    """

    tasks: str
    stopped: str
    workers: int
    silence: float


def in_order(
    jobs: Iterable[Job], engine: Engine, folder: str, progress: Progress
) -> Iterator[tuple[Job, Any]]:
    """Each job with True or Lost, in their order, after all of them are done.

    Args:
      jobs: what to do.
      engine: runner and options.
      folder: of the parts.
      progress: shows how many are done meanwhile.

    Raises:
      InputError: Beam is not installed, the pipeline failed, or a job raised it.
      OSError: a job raised it, as for a full disk.
    """
    _remove_attempts(folder)
    name = f"{_ATTEMPT}{uuid.uuid4().hex}"
    tasks, stopped = (storage.join(folder, f"{name}.{each}") for each in ("tasks", "stopped"))
    attempt = Attempt(tasks, stopped, engine.workers, engine.silence)
    places = _write(jobs, tasks)
    with _counting(places, attempt, folder, progress):
        _run_pipeline(places, attempt, engine)
    there = storage.listing(folder)
    if storage.name(stopped) in there:
        raise _unpickled(stopped)
    with storage.open_file(tasks) as file:
        for _ in places:
            job = pickle.load(file)
            is_done = storage.name(job.path) in there
            yield job, True if is_done else _unpickled(_given_up(job, attempt))
    _remove_attempts(folder)


def do(places: list[int], attempt: Attempt) -> int:
    """What Beam's workers run: the jobs at these places of the file of tasks; how many."""
    with storage.open_file(attempt.tasks) as file:
        jobs = _jobs(file, places)
        done = isolated.in_order(parts.do, jobs, workers=attempt.workers, silence=attempt.silence)
        try:
            for job, found in done:
                if isinstance(found, Lost):
                    _pickle(found, _given_up(job, attempt))
        except (InputError, OSError) as error:  # tried again, it would be the same
            try:
                _pickle(error, attempt.stopped)
            except OSError:  # the disk is full to the last byte
                raise error from None
    return len(places)


def _run_pipeline(places: list[int], attempt: Attempt, engine: Engine) -> None:
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise InputError(
            f"Apache Beam cannot be imported ({error})",
            where=f"--runner {engine.runner}",
            way_out="install it as launch/README.md says, or take --runner local",
        ) from error
    # What a job raises in this process comes to the user as one line, not as Beam's traceback.
    is_embedded = engine.runner == EMBEDDED
    logging.getLogger("apache_beam").setLevel(logging.WARNING)
    if is_embedded:
        logging.getLogger("apache_beam.runners").setLevel(logging.CRITICAL)
    if is_embedded:
        # One group: `isolated` keeps the cores of this machine busy with it.
        groups, flags = [places], [*_EMBEDDED_OPTIONS, *engine.options]
    else:
        groups = [places[first : first + TOGETHER] for first in range(0, len(places), TOGETHER)]
        flags = [f"--runner={engine.runner}", *engine.options]
    try:
        with beam.Pipeline(options=PipelineOptions(flags)) as pipeline:
            # Reshuffled: else a runner may fuse the two and give all groups to one worker.
            _ = (
                pipeline
                | "groups" >> beam.Create(groups)
                | "spread" >> beam.Reshuffle()
                | "do" >> beam.Map(do, attempt)
            )
    except Exception as error:  # each runner has errors of its own
        if "KeyboardInterrupt" in str(error):  # Beam makes it an error of the task
            raise KeyboardInterrupt from None
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise InputError(
            f"the pipeline failed ({reason})",
            where=f"--runner {engine.runner}",
            way_out="mend it and run the same command again; what was done before is kept",
        ) from error


@contextlib.contextmanager
def _counting(
    places: list[int], attempt: Attempt, folder: str, progress: Progress
) -> Iterator[None]:
    """Shows progress while the block runs, as a runner does not say how far it is."""
    ended = threading.Event()
    with storage.open_file(attempt.tasks) as file:
        stages = {storage.name(pickle.load(file).path).split("-")[0] for _ in places[:1]}

    def count() -> None:
        while not ended.wait(_SECONDS_BETWEEN_COUNTS):
            found = storage.listing(folder)
            progress.show(sum(name.split("-")[0] in stages for name in found))

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _remove_attempts(folder: str) -> None:
    for name in storage.listing(folder):
        if name.startswith(_ATTEMPT):
            storage.remove(storage.join(folder, name))


def _write(jobs: Iterable[Job], path: str) -> list[int]:
    """Writes the file of tasks; where each begins, in bytes."""
    places = []
    with storage.new_file(path) as file:
        for job in jobs:
            places.append(file.tell())
            pickle.dump(job, file)
    return places


def _jobs(file: Any, places: list[int]) -> Iterator[Job]:
    for place in places:
        file.seek(place)
        yield pickle.load(file)


def _given_up(job: Job, attempt: Attempt) -> str:
    return f"{attempt.tasks}.{storage.name(job.path)}"


def _pickle(found: Any, path: str) -> None:
    with storage.new_file(path) as file:
        pickle.dump(found, file)


def _unpickled(path: str) -> Any:
    with storage.open_file(path) as file:
        return pickle.load(file)
