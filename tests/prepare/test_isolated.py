import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from histo_simclr.errors import InputError
from histo_simclr.prepare import isolated
from histo_simclr.prepare.isolated import Lost


def work(task):
    """Does what the task says; runs in a spawned process."""
    kind, number = task
    for _ in range(number):
        yield None
    if kind == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "exit":
        os._exit(3)
    if kind == "hang":
        time.sleep(600)
    if kind == "raise":
        raise InputError("is bad", where=f"task {number}", way_out="mend it")
    if kind == "slow":
        for _ in range(8):
            time.sleep(0.5)
            yield None
    yield f"{kind} {number}"


def run(tasks, workers=2, silence=60.0):
    return [out for _, out in isolated.in_order(work, tasks, workers=workers, silence=silence)]


@pytest.mark.parametrize("workers", [1, 3])
def test_outcomes_come_in_the_order_of_the_tasks(workers):
    tasks = [("ok", number % 7) for number in range(40)]
    assert run(tasks, workers) == [f"ok {number % 7}" for number in range(40)]


def test_a_process_that_dies_costs_its_task_only():
    tasks = [("ok", 1), ("segfault", 2), ("ok", 3), ("exit", 0), ("ok", 5)]
    lost = Lost("its process crashed (SIGSEGV)"), Lost("its process crashed (exit code 3)")
    assert run(tasks) == ["ok 1", lost[0], "ok 3", lost[1], "ok 5"]


def test_a_process_that_hangs_is_killed_and_one_that_is_slow_is_not():
    # 3 s of silence, as a process may take long to start on a busy machine; slow: 4 s in all.
    found = run([("ok", 1), ("hang", 0), ("slow", 0), ("ok", 2)], workers=1, silence=3.0)
    assert found == ["ok 1", Lost("no sign of life for 3 s"), "slow 0", "ok 2"]


def test_what_the_work_raises_is_raised_here():
    with pytest.raises(InputError, match="task 1: is bad; mend it"):
        run([("ok", 1), ("raise", 1), ("ok", 2)])


def test_tasks_are_taken_a_few_ahead():
    taken = []

    def tasks():
        for number in range(1000):
            taken.append(number)
            yield ("ok", 0)

    results = isolated.in_order(work, tasks(), workers=2, silence=60.0)
    for _ in range(10):
        next(results)
    assert len(taken) <= 10 + 2 * isolated.TASKS_AHEAD
    results.close()


def hang_and_tell(path):
    """Takes no sign of its parent's end from the pipe: it never looks at it again."""
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)
    yield None


def parent(path):
    list(isolated.in_order(hang_and_tell, [path], workers=1, silence=600))


def test_a_worker_that_hangs_ends_with_its_parent(tmp_path):
    file = tmp_path / "pid"
    process = multiprocessing.get_context("spawn").Process(target=parent, args=(str(file),))
    process.start()
    deadline = time.monotonic() + 60
    while not (file.exists() and file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    worker = int(file.read_text())
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    while time.monotonic() < deadline:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        # Where no one reaps orphans, it stays as a zombie.
        state = Path(f"/proc/{worker}/stat")
        if state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("it went on without its parent")
