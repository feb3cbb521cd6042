"""Jobs of several processes on loopback, over JAX's own collectives, beside one process."""

import functools
import json
import os
import shutil
import signal
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from histo_simclr import checkpoint, checkpoint_items
from histo_simclr import mesh as meshes

pytestmark = pytest.mark.slow
# What the network of member.py shows in a tenth of the time, for main.py itself.
LONG = os.environ.get("HISTO_SIMCLR_LONG_TESTS") == "1"
long = pytest.mark.skipif(
    not LONG,
    reason="minutes: HISTO_SIMCLR_LONG_TESTS=1 runs it",
)

STEPS = 6 if LONG else 2
# Seconds until the others have ended after one process died. On loopback its connections break at
# once; the rest is for a busy machine.
NOTICED = 20
# As gke_xpk.sh and skypilot.yaml have it.
LOST_CODE = 76
LOST = "another process of this job died or lost its connection"
EVALUATED = (
    "--config.evaluation.records=data/sample/records/osteosarcoma",
    "--config.online.records=data/sample/records/osteosarcoma",
    "--config.online.every=2",
    "--config.online.patches=30",
    "--config.online.mix_patches=30",
)


def outputs(job) -> list[tuple[str, str]]:
    return [process.communicate(timeout=600) for process in job]


def trained(program, arguments, processes: int) -> list[tuple[str, str]]:
    """What the processes said, of which all must end well."""
    job = program.start_job(*arguments, processes=processes)
    said = outputs(job)
    assert {process.returncode for process in job} == {0}, said
    return said


def said_of_itself(out: str) -> list[str]:
    return [line for line in out.splitlines() if not line.startswith("[Gloo]")]


def digests(workdir: Path) -> dict:
    """Checksums of every leaf of the newest checkpoint, as it stores them itself."""
    return checkpoint_items.read_metadata(checkpoint.resolve(workdir))["leaves"]


def losses(workdir: Path) -> list[float]:
    lines = list(map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines()))
    assert [line["step"] for line in lines] == list(range(2, STEPS + 1, 2))  # each was written once
    return [line["loss"] for line in lines]


@pytest.fixture(scope="module")
def arguments_of(pretrain_arguments):
    return functools.partial(pretrain_arguments, steps=STEPS, extra=EVALUATED)


@pytest.fixture(scope="module")
def two(program, arguments_of, tmp_path_factory):
    """Workdir of an undisturbed job of two processes with a device each, and what they said."""
    workdir = tmp_path_factory.mktemp("two")
    return workdir, trained(program, arguments_of(workdir), 2)


@pytest.fixture(scope="module")
def killed(program, arguments_of, wait_for, tmp_path_factory):
    """Workdir of such a job of which the second process was killed; how the first ended."""
    workdir = tmp_path_factory.mktemp("killed")
    first, second = program.start_job(*arguments_of(workdir), processes=2)
    saved = functools.partial(checkpoint_items.steps_in, workdir / "checkpoints")
    assert wait_for(saved, first), outputs((first, second))
    second.kill()
    began = time.monotonic()
    _, err = first.communicate(timeout=300)
    second.communicate()
    return workdir, first.returncode, err, time.monotonic() - began


def test_two_processes_make_one_run(two):
    workdir, ((first, _), (second, _)) = two
    assert "2 cpu device(s) in 2 process(es)" in first
    assert said_of_itself(second) == []
    assert len(losses(workdir)) == STEPS // 2
    answers = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[0])
    assert {"online_knn", "online_probe_untrained", "online_other_cohort"} <= answers.keys()
    results = json.loads((workdir / "evaluation/osteosarcoma/results.json").read_text())
    assert results["checkpoint"]["step"] == STEPS


def test_hosts_that_were_told_to_save_at_other_steps_are_refused_by_all(
    program, pretrain_arguments, tmp_path
):
    arguments = pretrain_arguments(tmp_path, steps=STEPS)
    other = ("--config.run.checkpoint_every=3",)
    job = program.start_job(*arguments, processes=2, last=other)
    for _, err in outputs(job):
        said = err.splitlines()[-1]
        assert said.startswith("error: command, code or packages: process 1 of the job has another")
    assert [process.returncode for process in job] == [2, 2]


@long
def test_two_processes_train_as_one_does(program, pretrain_arguments, two, tmp_path):
    done = program.run(*pretrain_arguments(tmp_path, steps=STEPS), devices=2)
    assert done.returncode == 0, done.stderr
    # float32, sums in another order, amplified by batch norm over 16 views and by six steps.
    np.testing.assert_allclose(losses(two[0]), losses(tmp_path), rtol=1e-4)


@long
def test_a_process_that_dies_ends_the_others_with_one_line(killed):
    _, code, err, seconds = killed
    assert code == LOST_CODE
    assert seconds < NOTICED
    lines = [line for line in err.splitlines() if not line.startswith("step ")]
    assert lines[-1].startswith(f"error: process 0 of 2: {LOST}")
    assert lines[-1].endswith("it goes on from the last checkpoint")
    assert "Traceback" not in err
    assert "Fatal Python error" not in err


@long
def test_the_job_goes_on_to_the_bits_of_an_undisturbed_one(
    program, arguments_of, two, killed, tmp_path
):
    shutil.copytree(killed[0], tmp_path, dirs_exist_ok=True)
    (first, _), (second, _) = trained(program, arguments_of(tmp_path), 2)
    assert "resumed from step" in first
    assert said_of_itself(second) == []
    assert digests(tmp_path) == digests(two[0])
    assert losses(tmp_path) == losses(two[0])


@long
@pytest.mark.parametrize("told", [(1,), (0, 1)], ids=["one", "both"])
def test_a_job_that_gets_sigterm_saves_one_step_and_goes_on_to_the_same_bits(
    program, arguments_of, wait_for, two, tmp_path, told
):
    rarely = ("--config.run.checkpoint_every=1000", "--config.run.log_every=1")
    job = program.start_job(*arguments_of(tmp_path), *rarely, processes=2)
    assert wait_for(lambda: program.has_logged(tmp_path), job[0]), outputs(job)
    for number in told:
        job[number].terminate()
    (out, _), (silent, _) = outputs(job)
    assert [process.returncode for process in job] == [0, 0]
    (step,) = checkpoint_items.steps_in(tmp_path / "checkpoints")
    assert step < STEPS
    assert f"stopped by SIGTERM, saved step {step}" in out
    assert said_of_itself(silent) == []
    trained(program, arguments_of(tmp_path), 2)
    assert digests(tmp_path) == digests(two[0])


@pytest.fixture(scope="module")
def small(request, module_at):
    """The module member.py: a small network in float64."""
    return module_at(request.config.rootpath / "tests/programs/member.py")


@pytest.fixture(scope="module")
def mix(request):
    return request.config.rootpath / "data/sample/mix"


@pytest.fixture(scope="module")
def jobs(program, small, mix, tmp_path_factory):
    """Four processes train to step 2, two go on to 4: folder and [(step, how many, outcome)]."""
    folder, outcomes = tmp_path_factory.mktemp("jobs"), []
    for last, processes in ((2, 4), (4, 2)):
        job = program.start_job(mix, folder, last, processes=processes, script=small.__file__)
        said = [err.splitlines()[-1:] for _, err in outputs(job)]
        if last == 2:
            # Whole, but for process 1, which says that it is not.
            shutil.copytree(folder / "checkpoints/2", folder / "checkpoints/3")
        outcomes.append((last, processes, [process.returncode for process in job], said))
    return folder, outcomes


@pytest.fixture(scope="module")
def one(small, mix, tmp_path_factory):
    """What one process with four devices sees in the same steps, in one go."""
    with jax.enable_x64(True):
        return small.trained(mix, tmp_path_factory.mktemp("one"), 4, meshes.make(4))


def seen(jobs, last: int, name: str) -> list[np.ndarray]:
    """By process, of the job that ended with step `last`."""
    folder, outcomes = jobs
    processes = next(each[1] for each in outcomes if each[0] == last)
    return [np.load(folder / f"{last}_{number}.npz")[name] for number in range(processes)]


def states(seen) -> dict[str, np.ndarray]:
    return {name: leaf for name, leaf in seen.items() if name.startswith("[")}


def assert_close(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, leaf in found.items():
        # float64, sums in another order, amplified by four steps.
        np.testing.assert_allclose(leaf, expected[name], rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(("last", "processes"), [(2, 4), (4, 2)])
def test_processes_read_their_slices_of_the_batches_of_one(small, jobs, one, last, processes):
    together = np.concatenate(seen(jobs, last, "patches"), axis=1)
    np.testing.assert_array_equal(together, one["patches"][last - 2 : last])
    read = [int(each) for each in seen(jobs, last, "rows_read")]
    assert read == [small.BATCH * 2 // processes] * processes


def test_four_processes_then_two_train_to_the_state_of_one(jobs, one):
    for last in (2, 4):
        for each in seen(jobs, last, "losses"):
            np.testing.assert_allclose(each, one["losses"][last - 2 : last], rtol=1e-9)
    for number in range(2):
        assert_close(states(np.load(jobs[0] / f"4_{number}.npz")), states(one))


def test_a_newest_step_that_one_process_cannot_read_is_set_aside_by_all(jobs):
    assert {each.name for each in (jobs[0] / "checkpoints").iterdir()} == {"2", "3.damaged", "4"}


@pytest.mark.parametrize("last", [2, 4])
def test_a_folder_that_the_hosts_do_not_share_is_refused_by_all(jobs, last):
    assert all(seen(jobs, last, "shared"))
    assert not any(seen(jobs, last, "own"))
    assert not list(jobs[0].rglob("job-*"))


@pytest.mark.parametrize("devices", [1, 8])
def test_one_process_goes_on_with_what_four_saved(small, mix, jobs, one, tmp_path, devices):
    shutil.copytree(jobs[0] / "checkpoints/2", tmp_path / "checkpoints/2")
    with jax.enable_x64(True):
        found = small.trained(mix, tmp_path, 4, meshes.make(devices))
    assert len(found["losses"]) == 2
    assert_close(states(found), states(one))


@pytest.mark.parametrize("last", [2, 4])
def test_sigterm_of_one_process_or_of_all_stops_all_at_the_same_step(jobs, last):
    steps = {int(each) for each in seen(jobs, last, "stopped")}
    assert len(steps) == 1
    assert 3 < steps.pop() < 999


def test_one_that_fails_or_is_killed_does_not_wait_for_the_others_nor_they_for_it(jobs):
    ends = {4: (2, ["error: process 0: is made up; none"]), 2: (-signal.SIGKILL, [])}
    for _, processes, codes, said in jobs[1]:
        code, last_words = ends[processes]
        assert codes == [code] + [LOST_CODE] * (processes - 1), said
        assert [line for line in said[0] if line.startswith("error")] == last_words
        for number, [line] in enumerate(said[1:], 1):
            assert line.startswith(f"error: process {number} of {processes}: {LOST}")
