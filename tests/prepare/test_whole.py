import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from histo_simclr.errors import InputError
from histo_simclr.prepare import storage, whole


@pytest.fixture
def resumable(tmp_path):
    """resumable(): the context of tmp_path/out/c/1.0.0."""
    out = tmp_path / "out"
    return lambda: whole.resumable_folder(out / "c/1.0.0", out, None)


def fill(target, beside, ready):
    """In a process that is killed in the midst of its work."""
    with whole.resumable_folder(target, beside, None) as (folder, parts):
        (folder / "half").write_text("written")
        with storage.new_file(storage.join(parts, "done")) as file:
            file.write(b"1")
        ready.set()
        signal.pause()


def fail(context, name, error):
    with context as (folder, parts):
        (folder / "a").write_text("a")
        (Path(parts) / name).write_text("p")
        raise error


def test_result_is_there_at_the_end_and_nothing_else(resumable, tmp_path):
    with resumable() as (folder, parts):
        (folder / "a").write_text("a")
        (Path(parts) / "p").write_text("p")
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["c", "1.0.0", "a"]


def test_failure_keeps_the_parts_and_says_where(resumable, tmp_path, capsys):
    with pytest.raises(InputError, match="No space"):
        fail(resumable(), "p", OSError(28, "No space left on device"))
    parts = tmp_path / "out/.c.1.0.0.unfinished/parts"
    assert f"what is done is kept in {parts}" in capsys.readouterr().err
    assert not (tmp_path / "out/c").exists()
    with resumable() as (folder, again):
        assert again == str(parts)
        assert storage.listing(again) == {"p"}
        assert not list(folder.iterdir())


def test_failure_without_parts_leaves_nothing(resumable, tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        fail(resumable(), ".torn", KeyboardInterrupt())
    assert not (tmp_path / "out").exists()
    assert capsys.readouterr().err == ""


def test_a_killed_process_leaves_its_parts_and_its_lock_is_gone(resumable, tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    out = tmp_path / "out"
    process = context.Process(target=fill, args=(out / "c/1.0.0", out, ready))
    process.start()
    assert ready.wait(60)
    with (
        pytest.raises(InputError, match="another process is at work on it"),
        resumable(),
    ):
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with resumable() as (folder, parts):
        assert storage.listing(parts) == {"done"}
        assert [path.name for path in folder.parent.iterdir() if "incomplete" in path.name] == [
            folder.name
        ]
    assert [path.name for path in out.iterdir()] == ["c"]


def test_results_of_one_name_do_not_share_their_parts(tmp_path):
    kept = []
    for out in (tmp_path / "one", tmp_path / "two"):
        with whole.resumable_folder(out / "c/1.0.0", out, str(tmp_path / "parts")) as (_, parts):
            kept.append(parts)
    assert len(set(kept)) == 2
    with whole.resumable_folder(out / "d/1.0.0", out, str(tmp_path / "parts")) as (_, parts):
        assert parts not in kept
    assert not list((tmp_path / "parts").iterdir())


def test_parts_of_a_process_that_was_killed_at_its_very_end_are_removed(resumable, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        fail(resumable(), "p", KeyboardInterrupt())
    (out / "c/1.0.0").mkdir(parents=True)  # as if it had come so far
    whole.remove_leftovers(out / "c/1.0.0", out, None)
    assert [path.name for path in out.iterdir()] == ["c"]
    whole.remove_leftovers(out / "c/1.0.0", out, None)  # nothing to do


def test_parts_that_cannot_be_removed_do_not_cost_the_result(
    resumable, tmp_path, capsys, monkeypatch
):
    def refuse(folder):
        raise PermissionError("not yours")

    monkeypatch.setattr(storage, "remove", refuse)
    with resumable() as (folder, _):
        (folder / "a").write_text("a")
    assert (tmp_path / "out/c/1.0.0/a").exists()
    assert "could not remove" in capsys.readouterr().err
