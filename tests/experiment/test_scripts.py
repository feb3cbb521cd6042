"""What is printed is what is run, and shells take it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from histo_simclr.experiment import execute, plan, scripts

PLACES = plan.Places(Path("my out"), ("records",), "", False)


@pytest.fixture(params=[*scripts.TARGETS])
def script(request, experiment):
    """(target, text) of each kind of script."""
    return request.param, scripts.TARGETS[request.param](
        experiment, PLACES, plan.make(experiment, PLACES)
    )


def test_shells_read_every_script(script):
    done = subprocess.run(["bash", "-n"], input=script[1], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", "-"], input=script[1], capture_output=True, text=True)
        assert done.stdout == ""


def test_every_script_holds_the_commands_that_are_run(script, experiment):
    for piece in plan.make(experiment, PLACES).pieces:
        command = execute.command_line(piece).partition(" ")[2]
        assert f'"$PYTHON" {command}' in script[1]
    assert script[1].count("--collect") == 1


def test_the_shell_script_does_what_run_does_and_goes_on(experiment):
    text = scripts.shell(experiment, PLACES, plan.make(experiment, PLACES))
    without = "".join(line for line in text.splitlines(True) if "--collect" not in line)
    for _ in range(2):
        subprocess.run(["bash"], input=without, text=True, check=True)
    calls = (experiment.root / "calls").read_text().splitlines()
    assert sum(call.startswith("mix ") for call in calls) == 4  # once, the programs resume
    made = sorted(path.name for path in experiment.root.glob("my out/runs/*/finished.json"))
    assert len(made) == 4


def test_slurm_gets_an_array_of_all_pretrainings_and_the_evaluation_after_it(
    experiment, tmp_path, monkeypatch
):
    planned = plan.make(experiment, PLACES)
    script = tmp_path / "images.sbatch"
    script.write_text(scripts.slurm(experiment, PLACES, planned))
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    # Stand-ins that note their arguments; the real ones are not here.
    for name, body in {
        "sbatch": 'echo "$@" >>sbatch.log; echo "77;cluster"',
        "srun": '"$@"',
    }.items():
        (bin_folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (bin_folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_folder}:/usr/bin:/bin")
    subprocess.run(["bash", script, "--partition=gpu"], check=True)
    array, after = (experiment.root / "sbatch.log").read_text().splitlines()
    assert array == f"--parsable --partition=gpu --array=0-3 {script} pretrain"
    assert after == f"--partition=gpu --dependency=afterok:77 {script} evaluate"
    assert len(list(experiment.root.glob("my out/mixes/*/mix.json"))) == 4
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    subprocess.run(["bash", script, "pretrain"], check=True)
    made = [path.parent.name for path in experiment.root.glob("my out/runs/*/finished.json")]
    assert made == [planned.pretrainings[2].name]


def test_slurms_evaluation_waits_for_a_pretraining_that_was_only_saved(
    experiment, tmp_path, monkeypatch
):
    script = tmp_path / "images.sbatch"
    script.write_text(scripts.slurm(experiment, PLACES, plan.make(experiment, PLACES)))
    (experiment.root / "main.py").write_text("print('stopped by SIGTERM, saved')")
    (tmp_path / "srun").write_text('#!/bin/bash\n"$@"\n')
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    assert subprocess.run(["bash", script, "pretrain"], stdout=subprocess.DEVNULL).returncode == 1


def test_on_a_pod_every_host_runs_one_command_for_one_or_all(experiment, tmp_path):
    script = tmp_path / "images.sh"
    script.write_text(scripts.pod(experiment, PLACES, plan.make(experiment, PLACES)))
    assert "export HISTO_SIMCLR_POD=1\n" in script.read_text()
    for phase in (["mixes"], ["pretrain", "3"]):
        subprocess.run(["bash", script, *phase], check=True)
    assert len(list(experiment.root.glob("my out/mixes/*/mix.json"))) == 4
    assert len(list(experiment.root.glob("my out/runs/*/finished.json"))) == 1
    subprocess.run(["bash", script, "pretrain"], check=True)
    assert len(list(experiment.root.glob("my out/runs/*/finished.json"))) == 4
    done = subprocess.run(["bash", script], capture_output=True, text=True)
    assert done.returncode == 2
    assert "mixes, pretrain" in done.stderr
