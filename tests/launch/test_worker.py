"""worker.sh and slurm.sbatch: what reaches main.py, and who learns that a run was cut short."""

import os
import re
import signal
import time

import pytest

from tests.launch.recording import ROOT, STUB, Sandbox, option, printed

WHAT = ("--config=configs/a.py:b c", "--workdir=/shared/run 1", "--config.note=it's $HOME; *")


@pytest.fixture
def sandbox(tmp_path):
    passes_on = 'while [[ $1 == --* ]]; do shift; done; exec "$@"\n'
    stubs = {"gcloud": "", "rsync": "", "scontrol": "", "srun": passes_on}
    return Sandbox(tmp_path, stubs)


def job(sandbox, **environment):
    """What Slurm tells a job."""
    return {"SLURM_JOB_ID": "7", "SLURM_SUBMIT_DIR": str(sandbox.root)} | environment


def test_arguments_arrive_unchanged(sandbox):
    code, calls, _, err = sandbox.run("worker.sh", *WHAT)
    assert (code, calls, err) == (0, [["local.sh", "main.py", *WHAT]], "")


def test_a_python_of_the_image_is_taken(sandbox):
    (sandbox.stubs / "python").symlink_to(sandbox.root / "launch/local.sh")
    (sandbox.root / "launch/local.sh").chmod(0o755)
    calls = sandbox.run("worker.sh", *WHAT, HISTO_SIMCLR_PYTHON="python")[1]
    assert calls == [["python", "main.py", *WHAT]]


def test_compiled_programs_lie_beside_the_workdir_or_where_told(sandbox, tmp_path):
    (tmp_path / "program").write_text('echo "$JAX_COMPILATION_CACHE_DIR"\n')
    assert sandbox.run("worker.sh", "--workdir", "/shared/run")[2] == "/shared/jax_cache\n"
    told = {"JAX_COMPILATION_CACHE_DIR": "/c"}
    assert sandbox.run("worker.sh", "--workdir", "/shared/run", **told)[2] == "/c\n"


@pytest.mark.parametrize(
    ("source", "copies"),
    [("gs://b/mix", ["gcloud", "storage", "rsync", "--recursive"]), ("FOLDER", ["rsync", "-rt"])],
)
def test_the_mix_is_copied_before_the_program_starts(sandbox, tmp_path, source, copies):
    source = source.replace("FOLDER", str(tmp_path))
    _, calls, _, _ = sandbox.run("worker.sh", *WHAT, MIX_FROM=source)
    assert [call[0] for call in calls] == [copies[0], "local.sh"]
    assert calls[0][: len(copies)] == copies
    assert [word.rstrip("/") for word in calls[0][-2:]] == [source, f"{sandbox.root}/data/mix"]
    _, calls, _, _ = sandbox.run("worker.sh", "stage", MIX_FROM=source, MIX_TO=f"{tmp_path}/a b")
    assert [call[0] for call in calls] == [copies[0]]
    assert calls[0][-1].rstrip("/") == f"{tmp_path}/a b"


@pytest.mark.parametrize(
    ("left", "code"),
    [(("checkpoints",), 75), (("checkpoints", "finished.json"), 0), ((), 0)],
)
def test_saved_but_not_finished_is_no_success(sandbox, tmp_path, left, code):
    for name in left:
        (tmp_path / "run" / name).mkdir(parents=True)
    assert sandbox.run("worker.sh", f"--workdir={tmp_path}/run")[0] == code


def test_a_failure_stays_what_it_is(sandbox, tmp_path):
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (tmp_path / "program").write_text("exit 2\n")
    assert sandbox.run("worker.sh", f"--workdir={tmp_path}/run")[0] == 2


WAITS = "touch $RUN/ready\nwhile true; do sleep 0.05; done\n"


def wait_for(file):
    deadline = time.monotonic() + 30
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("program", "code"),
    [
        # Saves for a while, as main.py does, then ends as if nothing had been.
        ("trap 'sleep 0.3; mkdir -p $RUN/checkpoints; exit 0' TERM\nREADY", 75),
        # Not yet in the training: it just ends, or the signal ends it.
        ("trap 'exit 0' TERM\nREADY", 75),
        ("READY", 75),
        # Finished in spite of the signal.
        ("trap 'mkdir -p $RUN/checkpoints; touch $RUN/finished.json; exit 0' TERM\nREADY", 0),
        ("trap 'exit 3' TERM\nREADY", 3),
    ],
)
def test_sigterm_reaches_the_program_and_is_waited_for(sandbox, tmp_path, program, code):
    (tmp_path / "program").write_text(program.replace("READY", WAITS))
    run = tmp_path / "run"
    run.mkdir()
    process = sandbox.start("worker.sh", f"--workdir={run}", RUN=str(run))
    wait_for(run / "ready")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == code


@pytest.mark.parametrize("args", [("stage",), WHAT])
def test_sigterm_ends_the_copy_which_the_same_command_goes_on_with(sandbox, tmp_path, args):
    (sandbox.stubs / "gcloud").write_text(
        f"#!/bin/bash\ntrap 'touch $RUN/ended; exit 1' TERM\n{WAITS}"
    )
    told = {"MIX_FROM": "gs://b/mix", "RUN": str(tmp_path)}
    process = sandbox.start("worker.sh", *args, **told)
    wait_for(tmp_path / "ready")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 75
    assert err == (
        "worker.sh: stopped before the end of the copy of gs://b/mix; the same command goes on\n"
    )
    assert (tmp_path / "ended").exists()
    assert sandbox.recorded() == []  # no training


def test_a_copy_that_fails_ends_the_worker_with_its_code(sandbox):
    with (sandbox.stubs / "gcloud").open("a") as stub:
        stub.write("exit 5\n")
    code, calls, _, _ = sandbox.run("worker.sh", *WHAT, MIX_FROM="gs://b/mix")
    assert (code, [call[0] for call in calls]) == (5, ["gcloud"])


@pytest.mark.parametrize(
    ("says", "requeues"),
    [
        ("echo RUNNING", True),
        ("exit 1", True),
        ("echo COMPLETING", False),
        ("echo CANCELLED", False),
    ],
)
def test_slurm_does_not_requeue_what_was_cancelled(sandbox, tmp_path, says, requeues):
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (sandbox.stubs / "squeue").write_text(f"{STUB}{says}\n")
    (sandbox.stubs / "squeue").chmod(0o755)
    code, calls, _, err = sandbox.run("slurm.sbatch", f"--workdir={tmp_path}/run", **job(sandbox))
    (asked,) = [call for call in calls if call[0] == "squeue"]
    assert (option(asked, "--job"), option(asked, "--format")) == ("7", "%T")
    assert (code, ["scontrol", "requeue", "7"] in calls) == (75, requeues)
    lines = [line for line in err.splitlines() if line.startswith("slurm.sbatch: ")]
    state = says.split()[1]
    not_requeued = (
        f"slurm.sbatch: saved, not requeued, as the job is {state}; submit again to go on"
    )
    assert lines == ([] if requeues else [not_requeued])


def test_slurm_requeues_a_copy_that_was_cut_short(sandbox, tmp_path):
    (sandbox.stubs / "gcloud").write_text(f"#!/bin/bash\n{WAITS}")
    told = {"MIX_FROM": "gs://b/mix", "MIX_TO": f"{tmp_path}/mix", "RUN": str(tmp_path)}
    # As Slurm does: to the tasks and to the job's shell.
    process = sandbox.start("slurm.sbatch", *WHAT, process_group=0, **job(sandbox, **told))
    wait_for(tmp_path / "ready")
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=30)
    calls = sandbox.recorded()
    assert (process.returncode, calls[-1]) == (75, ["scontrol", "requeue", "7"])
    assert [call[0] for call in calls] == ["srun", "scontrol"]
    (sandbox.stubs / "gcloud").write_text("#!/bin/bash\nexit 5\n")
    code, calls, _, _ = sandbox.run("slurm.sbatch", *WHAT, **job(sandbox, **told))
    assert (code, [call[0] for call in calls]) == (5, ["srun"])


def test_ctrl_c_saves_as_sigterm_does(sandbox, tmp_path):
    saves = "trap 'mkdir -p $RUN/checkpoints; exit 0' TERM\n"
    (tmp_path / "program").write_text(saves + WAITS)
    # Tests that run in the background ignore it, and what they start would do so too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        # A terminal sends it to all of the group, here one of its own.
        process = sandbox.start(
            "worker.sh", f"--workdir={tmp_path}", RUN=str(tmp_path), process_group=0
        )
    finally:
        signal.signal(signal.SIGINT, before)
    wait_for(tmp_path / "ready")
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 75
    assert (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    ("args", "environment", "says"),
    [
        ((), {}, "nothing to run; give what main.py takes"),
        (("--config=c",), {}, "no --workdir=DIR; give a folder"),
        (("--workdir=gs://b/run",), {}, "--workdir=gs://b/run: a store is no folder; mount it"),
        (("stage",), {}, "MIX_FROM is not set; give a folder or gs://"),
        (("stage", "x"), {}, "stage takes no arguments"),
        (WHAT, {"MIX_FROM": "/no such"}, "MIX_FROM=/no such: no such folder here; mount it"),
    ],
)
def test_bad_calls_are_one_line(sandbox, args, environment, says):
    code, calls, _, err = sandbox.run("worker.sh", *args, **environment)
    assert (code, calls) == (2, [])
    assert err.startswith(f"worker.sh: {says}")
    assert err.count("\n") == 1


def test_a_dry_run_prints_and_runs_nothing(sandbox):
    code, calls, out, _ = sandbox.run("worker.sh", *WHAT, MIX_FROM="gs://b/a b", DRY_RUN="1")
    assert (code, calls) == (0, [])
    commands = printed(out)
    assert [command[0] for command in commands] == ["cd", "mkdir", "gcloud", "env"]
    assert commands[2][-2] == "gs://b/a b"
    assert commands[3][-len(WHAT) :] == list(WHAT)


def test_slurm_starts_a_worker_for_each_task(sandbox):
    code, calls, _, err = sandbox.run("slurm.sbatch", *WHAT, **job(sandbox))
    assert (code, err) == (0, "")
    assert [call[0] for call in calls] == ["srun", "local.sh"]
    assert option(calls[0], "--kill-on-bad-exit") == "0"
    assert option(calls[0], "--gpu-bind") == "none"
    assert calls[1] == ["local.sh", "main.py", *WHAT]


def test_slurm_copies_once_a_node_before_the_tasks_wait_for_each_other(sandbox, tmp_path):
    told = {"MIX_FROM": "gs://b/mix", "MIX_TO": f"{tmp_path}/mix"}
    told |= {"SLURM_NNODES": "2", "SLURM_NTASKS": "8"}
    told |= {"SLURM_TASKS_PER_NODE": "4(x2)", "SLURM_GPUS_ON_NODE": "4"}
    code, calls, _, _ = sandbox.run("slurm.sbatch", *WHAT, **job(sandbox, **told))
    assert code == 0
    assert [call[0] for call in calls] == ["srun", "gcloud", "srun", "local.sh"]
    assert option(calls[0], "--ntasks") == option(calls[0], "--nodes") == "2"
    assert option(calls[0], "--ntasks-per-node") == "1"


def test_slurm_requeues_what_was_cut_short_and_nothing_else(sandbox, tmp_path):
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    what = f"--workdir={tmp_path}/run"
    code, calls, _, _ = sandbox.run("slurm.sbatch", what, **job(sandbox))
    assert (code, calls[-1]) == (75, ["scontrol", "requeue", "7"])
    tired = job(sandbox, SLURM_RESTART_COUNT="3", MAX_REQUEUES="3")
    code, calls, _, err = sandbox.run("slurm.sbatch", what, **tired)
    assert (code, calls[-1][0]) == (2, "local.sh")
    assert "requeued 3 times and not finished; submit again to go on" in err
    (tmp_path / "run/finished.json").touch()
    assert sandbox.run("slurm.sbatch", what, **job(sandbox))[1][-1][0] == "local.sh"
    (tmp_path / "program").write_text("exit 1\n")
    code, calls, _, _ = sandbox.run("slurm.sbatch", what, **job(sandbox))
    assert (code, calls[-1][0]) == (1, "local.sh")


@pytest.mark.parametrize(
    ("args", "environment", "says"),
    [
        (WHAT, {"SLURM_SUBMIT_DIR": "/"}, "no repository in '/': submit from its root"),
        ((), {}, "nothing to run; give what main.py takes"),
        (("--config=c",), {}, "no --workdir=DIR; give a folder"),
        (("--workdir=gs://b/run",), {}, "--workdir=gs://b/run: a store is no folder; mount it"),
        (WHAT, {"SLURM_JOB_ID": ""}, "not in a job: sbatch launch/slurm.sbatch"),
        (WHAT, {"MAX_REQUEUES": "x"}, "MAX_REQUEUES=x: give a whole number"),
        (WHAT, {"MIX_FROM": "/m"}, "MIX_FROM without MIX_TO: give a folder"),
        (
            WHAT,
            {"SLURM_NTASKS": "2", "SLURM_TASKS_PER_NODE": "1(x2)", "SLURM_GPUS_ON_NODE": "8"},
            "1 tasks for 8 GPUs of a node: give --ntasks-per-node=8",
        ),
    ],
)
def test_bad_jobs_are_one_line(sandbox, args, environment, says):
    code, calls, _, err = sandbox.run("slurm.sbatch", *args, **job(sandbox, **environment))
    assert (code, calls) == (2, [])
    assert err.startswith(f"slurm.sbatch: {says}")
    assert err.count("\n") == 1


def test_a_dry_job_prints_and_runs_nothing(sandbox):
    environment = {"HISTO_SIMCLR_ROOT": str(sandbox.root), "DRY_RUN": "1"}
    code, calls, out, _ = sandbox.run("slurm.sbatch", *WHAT, **environment)
    assert (code, calls) == (0, [])
    commands = printed(out)
    assert [command[:3] for command in commands] == [
        ["env", "MIX_FROM=", "srun"],
        ["scontrol", "requeue", "$SLURM_JOB_ID"],
    ]
    assert commands[0][-len(WHAT) :] == list(WHAT)


def test_slurm_sees_its_directives_before_any_command():
    lines = (ROOT / "launch/slurm.sbatch").read_text().splitlines()
    commands = [n for n, line in enumerate(lines) if line and not line.startswith("#")]
    directives = [n for n, line in enumerate(lines) if line.startswith("#SBATCH ")]
    assert max(directives) < min(commands)
    for number in directives:
        assert re.fullmatch(r"#SBATCH --[a-z-]+(=\S+)?", lines[number])
    # To the tasks, not to the shell (B:), which would not pass it on.
    assert "#SBATCH --signal=TERM@300" in lines
    assert "#SBATCH --requeue" in lines
    # The log of what went before is kept.
    assert "#SBATCH --open-mode=append" in lines
