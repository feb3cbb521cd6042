"""A save cut at any moment, a newest checkpoint that is damaged: nothing lost, nothing wrong."""

import shutil

import jax
import pytest


def test_killed_at_any_moment_of_a_save_what_was_whole_stands(
    program, checkpoints, tmp_path, tell, request
):
    folder, copies = tmp_path / "run", tmp_path / "copies"
    for each in (folder, copies):
        each.mkdir()
    script = request.config.rootpath / "tests/faults/saving.py"
    done = program.run(script, folder, under=str(folder), copy=str(copies))
    assert done.returncode == 0, done.stderr
    first = checkpoints.small(1).arrays
    by_step = {0: first, 1: first, 2: jax.tree.map(lambda leaf: leaf + 1, first)}
    steps = []
    for copy in sorted(copies.iterdir()):
        saved = checkpoints.reopen(copy)
        step, restored = saved.resume(first)
        saved.close()
        assert checkpoints.equal(restored, by_step[step])
        assert not list((copy / "checkpoints").glob("*damaged*"))
        steps.append(step)
    assert steps == sorted(steps)
    assert set(steps) >= {0, 1}
    assert checkpoints.reopen(folder).latest() == 2
    tell("cut before each change of the disk", f"{len(steps)} moments of two saves", "whole step")


def _largest(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return max(files, key=lambda path: path.stat().st_size)


def _truncate(step):
    file = _largest(step / "params")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _flip(step):
    file = _largest(step / "optimizer")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x40
    file.write_bytes(content)


def _empty(step):
    for each in step.iterdir():
        shutil.rmtree(each) if each.is_dir() else each.unlink()


DAMAGE = {
    "data file truncated": _truncate,
    "data file missing": lambda step: _largest(step / "params").unlink(),
    "bytes flipped": _flip,
    "item missing": lambda step: shutil.rmtree(step / "batch_stats"),
    "metadata torn": lambda step: _largest(step / "metadata").write_bytes(b"{"),
    "orbax's own metadata missing": lambda step: (step / "_CHECKPOINT_METADATA").unlink(),
    "folder empty": _empty,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_newest_step_is_set_aside_and_the_one_before_taken(
    checkpoints, tmp_path, caplog, tell, damage
):
    arrays = checkpoints.small(1).arrays
    checkpoints.save(tmp_path, arrays, 3, 5)
    DAMAGE[damage](tmp_path / "checkpoints/5")
    saved = checkpoints.reopen(tmp_path)
    step, restored = saved.resume(arrays)
    assert checkpoints.equal(restored, arrays)
    harmless = damage == "orbax's own metadata missing"  # nothing that we read is in it
    if not harmless:
        assert step == 3
        (said,) = caplog.messages
        assert "checkpoints/5: damaged checkpoint" in said
        assert "set aside as 5.damaged, goes on from step 3" in said
        assert "\n" not in said
        saved.save(5, arrays, checkpoints.PROVENANCE, features=None)
    saved.close()
    again = checkpoints.reopen(tmp_path)
    assert again.resume(arrays)[0] == 5
    assert (tmp_path / "checkpoints/5.damaged").exists() != harmless
    tell("newest checkpoint damaged", damage, "set aside, step before" if not harmless else "loads")


def test_a_step_that_was_being_written_is_no_checkpoint(checkpoints, tmp_path):
    arrays = checkpoints.small(1).arrays
    checkpoints.save(tmp_path, arrays, 3, 5)
    whole = tmp_path / "checkpoints/5"
    whole.rename(whole.with_name("5.orbax-checkpoint-tmp-7"))
    saved = checkpoints.reopen(tmp_path)
    assert saved.resume(arrays)[0] == 3
    saved.save(5, arrays, checkpoints.PROVENANCE, features=None)
    saved.close()
    assert sorted(each.name for each in whole.parent.iterdir()) == ["3", "5"]


def test_where_none_is_whole_all_stay_and_the_newest_is_named(checkpoints, tmp_path):
    from histo_simclr.errors import InputError

    arrays = checkpoints.small(1).arrays
    checkpoints.save(tmp_path, arrays, 3, 5)
    for step in ("3", "5"):
        _truncate(tmp_path / "checkpoints" / step)
    with pytest.raises(InputError, match="checkpoints/5: damaged checkpoint.*remove it"):
        checkpoints.reopen(tmp_path).resume(arrays)
    assert sorted(each.name for each in (tmp_path / "checkpoints").iterdir()) == ["3", "5"]


def test_damaged_twice_both_stay(checkpoints, tmp_path):
    arrays = checkpoints.small(1).arrays
    for _ in range(2):
        checkpoints.save(tmp_path, arrays, 3, 5)
        _flip(tmp_path / "checkpoints/5")
        saved = checkpoints.reopen(tmp_path)
        assert saved.resume(arrays)[0] == 3
        saved.close()
    names = sorted(each.name for each in (tmp_path / "checkpoints").iterdir())
    assert names == ["3", "5.damaged", "5.damaged1"]
