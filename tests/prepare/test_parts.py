import pickle
from typing import NamedTuple

import numpy as np
import pytest

from histo_simclr.prepare import parts


class Task(NamedTuple):
    number: int
    places: np.ndarray

    def identity(self):
        return self.number, (self.places,)


def double(task, file):
    yield None
    pickle.dump(2 * task.number, file)
    file.write(b"behind it")


def fail(task, file):
    pickle.dump("half", file)
    yield None
    raise OSError("disk")


@pytest.fixture
def task():
    return Task(3, np.arange(4.0))


def test_outcome_is_read_back_with_what_lies_behind_it(tmp_path, task):
    job = parts.job(double, task, str(tmp_path))
    assert list(parts.do(job)) == [True, True]
    with open(job.path, "rb") as file:
        assert parts.outcome(file) == 6
        assert file.read() == b"behind it"


def test_what_is_done_is_not_done_again(tmp_path, task):
    job = parts.job(double, task, str(tmp_path))
    list(parts.do(job))
    broken = job._replace(work=fail)
    assert list(parts.do(broken)) == [True]


def test_part_is_whole_or_not_there(tmp_path, task):
    job = parts.job(fail, task, str(tmp_path))
    with pytest.raises(OSError, match="disk"):
        list(parts.do(job))
    assert not list(tmp_path.iterdir())


def test_name_follows_all_that_decides_the_outcome(tmp_path, task, monkeypatch):
    def name(task, work=double):
        return parts.job(work, task, str(tmp_path)).path

    same = Task(3, np.arange(4.0))
    assert name(same) == name(task)
    others = [task._replace(number=4), task._replace(places=np.arange(5.0))]
    others += [task._replace(places=np.arange(4)), task._replace(places=np.arange(4.0) + 1e-12)]
    names = {name(task), name(task, fail), *map(name, others)}
    assert len(names) == 6
    monkeypatch.setattr(parts, "_versions", lambda: ("another Pillow",))
    assert name(task) not in names
