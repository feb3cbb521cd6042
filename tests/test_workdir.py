"""One writer, one configuration, whole files."""

import json
import multiprocessing

import pytest

from histo_simclr import workdir
from histo_simclr.errors import InputError

IDENTITY = {"model": {"arch": "resnet18"}, "batch_size": 8}


def _hold(path, ready, release):
    with workdir.claim(path, IDENTITY):
        ready.set()
        release.wait(30)


def test_a_second_run_is_refused_while_the_first_holds_the_workdir(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    first = context.Process(target=_hold, args=(tmp_path, ready, release))
    first.start()
    try:
        assert ready.wait(30)
        with (
            pytest.raises(InputError, match="another run holds this workdir"),
            workdir.claim(tmp_path, IDENTITY),
        ):
            pass
    finally:
        release.set()
        first.join()
    with workdir.claim(tmp_path, IDENTITY):
        pass


def test_a_killed_holder_leaves_no_lock_behind(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    first = context.Process(target=_hold, args=(tmp_path, ready, release))
    first.start()
    assert ready.wait(30)
    first.kill()
    first.join()
    with workdir.claim(tmp_path, IDENTITY):
        pass


def test_another_configuration_is_refused_naming_the_differing_keys(tmp_path):
    with workdir.claim(tmp_path, IDENTITY):
        (tmp_path / "results.json").write_text("{}")
    other = {"model": {"arch": "resnet50"}, "batch_size": 8}
    with (
        pytest.raises(InputError, match=r"model\.arch was 'resnet18', is 'resnet50'") as caught,
        workdir.claim(tmp_path, other),
    ):
        pass
    assert "batch_size" not in str(caught.value)


def test_a_run_that_left_nothing_does_not_own_the_workdir(tmp_path):
    with workdir.claim(tmp_path, {"model": {"arch": "resnet81"}}):
        pass
    with workdir.claim(tmp_path, IDENTITY):
        pass
    assert json.loads((tmp_path / "config.json").read_text()) == IDENTITY


def test_a_full_disk_is_named(tmp_path):
    with (
        pytest.raises(InputError, match="No space left on device.*make room"),
        workdir.naming_disk_trouble(tmp_path),
    ):
        raise OSError(28, "No space left on device", "metrics.jsonl")


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(InputError, match="workdir cannot be written.*--workdir"),
        workdir.claim(tmp_path / "file" / "run", IDENTITY),
    ):
        pass


def test_write_json_leaves_the_old_file_when_the_new_one_fails(tmp_path):
    file = tmp_path / "a.json"
    workdir.write_json(file, {"a": 1})
    with pytest.raises(TypeError):
        workdir.write_json(file, {"a": object()})
    assert json.loads(file.read_text()) == {"a": 1}


def test_finished_is_none_until_finish(tmp_path):
    assert workdir.finished(tmp_path) is None
    workdir.finish(tmp_path, {"step": 4})
    assert workdir.finished(tmp_path) == {"step": 4}


def test_a_run_that_has_logged_owns_its_workdir(tmp_path):
    with workdir.claim(tmp_path, IDENTITY):
        (tmp_path / "metrics.jsonl").write_text('{"step": 10}\n')
    with (
        pytest.raises(InputError, match="batch_size was 8, is 16"),
        workdir.claim(tmp_path, IDENTITY | {"batch_size": 16}),
    ):
        pass


@pytest.mark.parametrize("file", ["config.json", "finished.json"])
def test_a_torn_file_is_named(tmp_path, file):
    with workdir.claim(tmp_path, IDENTITY):
        (tmp_path / "results.json").write_text("{}")
        workdir.finish(tmp_path, {"step": 1})
    (tmp_path / file).write_text('{"batch')
    with (
        pytest.raises(InputError, match=f"{file}: cannot be read.*--workdir"),
        workdir.claim(tmp_path, IDENTITY),
    ):
        workdir.finished(tmp_path)
