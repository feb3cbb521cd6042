"""What else happens to a run: a wrong clock, a second run, no memory, shards that are damaged."""

import os
import re
import shutil
import signal
from pathlib import Path

import jax.numpy as jnp
import pytest

from histo_simclr import out_of_memory
from histo_simclr.errors import InputError

YEAR = 3e7  # seconds


def test_memory_that_ran_out_is_one_line_with_the_lever():
    with (
        pytest.raises(InputError, match=r"^memory: ran out of it \(.*; set a smaller --batch$"),
        out_of_memory.naming("set a smaller --batch"),
    ):
        jnp.ones(2**60, jnp.uint8).block_until_ready()  # more than any address space


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        # As CUDA's allocator, its libraries, numpy and TensorFlow say it.
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.\nx"), 1),
        (RuntimeError("INTERNAL: CUDA_ERROR_OUT_OF_MEMORY: out of memory"), 1),
        (MemoryError("Unable to allocate 146. TiB"), 1),
        (ValueError("shape (3,) is not (4,)"), 0),
        (InputError("out of memory", where="a", way_out="b"), 0),
    ],
)
def test_other_errors_stay_what_they_are(error, is_memory):
    wanted = InputError if is_memory else type(error)
    with pytest.raises(wanted) as caught, out_of_memory.naming("LEVER"):
        raise error
    assert ("LEVER" in str(caught.value)) == bool(is_memory)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_run_without_memory(
    whole, program, pretrain, undisturbed, leaves, one_line, tmp_path, tell
):
    workdir = tmp_path / "run"
    # From the time when a step has been saved.
    limit = {"memory": 2**20, "from": 60}
    said = one_line(program.run(*pretrain(workdir), under=str(workdir), **limit))
    assert said.startswith("error: memory: ran out of it")
    for key in ("batch_size", "compute.remat", "compute.microbatches", "compute.similarity_rows"):
        assert f"--config.{key}" in said
    done = program.run(*pretrain(workdir))
    assert done.returncode == 0, done.stderr
    assert "resumed from step" in done.stdout
    assert leaves(workdir) == undisturbed.leaves
    tell("out of memory", "pretraining, in a step", "one line names the levers; same bits after")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("after", "named", "last"),
    [(7, "loss is nan at step 8", 6), (6, "is not finite after step 6", 4)],
    ids=["between two saves", "before a save"],
)
def test_parameters_that_are_not_numbers(
    whole, program, pretrain, undisturbed, leaves, one_line, tmp_path, tell, after, named, last
):
    workdir = tmp_path / "run"
    said = one_line(program.run(*pretrain(workdir), nan_after=after))
    assert named in said
    assert "; last good checkpoint: step " in said
    done = program.run(*pretrain(workdir))
    assert done.returncode == 0, done.stderr
    assert f"resumed from step {last} " in done.stdout
    assert leaves(workdir) == undisturbed.leaves
    place = f"pretraining, {'between two saves' if last == 6 else 'before a save'}"
    tell("NaN in every parameter", place, "one line names the step; same bits after")


@pytest.mark.slow
def test_a_clock_that_jumps(
    whole, program, pretrain, undisturbed, leaves, results_of, wait_for, tmp_path, tell
):
    """By a year to and fro at each look; killed between, so that a checkpoint is chosen as well."""
    workdir = tmp_path / "run"
    process = program.start(*pretrain(workdir), clock=YEAR)
    assert wait_for(lambda: (workdir / "checkpoints/6").exists(), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    done = program.run(*pretrain(workdir), clock=-YEAR)
    assert done.returncode == 0, done.stderr
    assert "resumed from step" in done.stdout
    assert leaves(workdir) == undisturbed.leaves
    assert results_of(workdir) == undisturbed.results
    kept = sorted(int(each.name) for each in (workdir / "checkpoints").iterdir())
    assert kept == [12, 14, 16]
    told = re.findall(r"([\d.,]+) patches/s .* ETA (\d+):", done.stderr)
    assert told
    assert all(0 < float(rate.replace(",", "")) < 1e4 and int(hours) < 1 for rate, hours in told)
    tell("clock jumps by a year at each look", "pretraining", "same bits, true rates and ETA")


@pytest.mark.slow
def test_two_runs_in_one_workdir(
    whole, program, pretrain, undisturbed, leaves, one_line, wait_for, tmp_path, tell
):
    workdir = tmp_path / "run"
    # Slowed, so that it still runs when the second has started.
    first = program.start(*pretrain(workdir), under=str(workdir / "checkpoints"), slow=0.1)
    assert wait_for(lambda: (workdir / "checkpoints/2").exists(), first)
    assert "another run holds this workdir" in one_line(program.run(*pretrain(workdir)))
    _, err = first.communicate()
    assert first.returncode == 0, err
    assert leaves(workdir) == undisturbed.leaves
    tell("two runs in one workdir", "pretraining", "second refused in one line, first undisturbed")


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["corrupt", "truncated", "missing"])
def test_shards(
    whole, program, pretrain, undisturbed, leaves, one_line, request, tmp_path, tell, damage
):
    data = tmp_path / "sample"
    shutil.copytree(request.config.rootpath / "data/sample", data)
    shards = sorted(data.glob("records/*/1.0.0/*train.tfrecord*"))
    whole_shards = {shard: shard.read_bytes() for shard in shards}
    for shard in shards:
        DAMAGE[damage](shard)
    arguments = pretrain(tmp_path / "run", f"--config.data.mix={data / 'mix'}")
    said = one_line(program.run(*arguments))
    assert ".tfrecord" in said
    assert {"corrupt": "checksum", "truncated": "truncated", "missing": "missing"}[damage] in said
    for shard, content in whole_shards.items():
        shard.write_bytes(content)
    done = program.run(*arguments)
    assert done.returncode == 0, done.stderr
    assert leaves(tmp_path / "run") == undisturbed.leaves
    tell("shards", damage, "one line names one; same bits once they are restored")


def _flip_all_over(shard: Path) -> None:
    content = bytearray(shard.read_bytes())
    for place in range(100, len(content), 500):
        content[place] ^= 1
    shard.write_bytes(content)


DAMAGE = {
    "corrupt": _flip_all_over,
    "truncated": lambda shard: os.truncate(shard, shard.stat().st_size // 4),
    "missing": Path.unlink,
}
