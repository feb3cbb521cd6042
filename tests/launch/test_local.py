"""launch/local.sh against stub programs that record what they were asked: no network, no GPU."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Stands for the system's Python, the environment's, and pip. Every call is one line of `calls`.
PYTHON = r"""#!/bin/bash
echo "$(basename "$(dirname "$0")")/$(basename "$0") $*" >>"$STUBS/calls"
case "$1 $2" in
  "-c "*) exit "${UNFIT:-0}" ;;
  "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  "-m pip")
    [[ -z ${SLOW:-} ]] || { touch "$STUBS/pip-started"; sleep "$SLOW"; }
    [[ -z ${OFFLINE:-} ]] || { echo "ERROR: Could not find a version of jax"; exit 1; }
    [[ -z ${TORN:-} ]] || { echo "Installing collected packages: jax"; echo "ERROR: disk"; exit 1; }
    ;;
  *) echo "ran $* with JAX_PLATFORMS=${JAX_PLATFORMS:-} in $PWD" ;;
esac
"""
NVIDIA_SMI = r"""#!/bin/bash
[[ -n ${DRIVER:-} ]] || exit 9
echo "$DRIVER"
"""


class Sandbox:
    """A repository with local.sh in it, and a PATH whose first folder holds the stubs."""

    def __init__(self, folder: Path):
        self.root, self.stubs = folder / "repository", folder / "stubs"
        (self.root / "launch").mkdir(parents=True)
        self.stubs.mkdir()
        for name in ("local.sh", "steps.sh"):
            shutil.copy(ROOT / "launch" / name, self.root / "launch" / name)
        (self.root / "requirements.txt").write_text("jax==1\n")
        (self.root / "pyproject.toml").write_text("[project]\n")
        for name in ("python3", "python3.12", "nvidia-smi"):
            (self.stubs / name).write_text(NVIDIA_SMI if name == "nvidia-smi" else PYTHON)
            (self.stubs / name).chmod(0o755)
        self.environment = {
            "PATH": f"{self.stubs}:/usr/bin:/bin",
            "STUBS": str(self.stubs),
            "HISTO_SIMCLR_ACCELERATOR": "cpu",
        }

    def start(self, *args: str, **environment: str) -> subprocess.Popen:
        return subprocess.Popen(
            ["bash", str(self.root / "launch/local.sh"), *(args or ("main.py",))],
            env=self.environment | environment,
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *args: str, **environment: str) -> tuple[int, str, str]:
        process = self.start(*args, **environment)
        stdout, stderr = process.communicate(timeout=60)
        return process.returncode, stdout, stderr

    def calls(self, containing: str) -> list[str]:
        """Calls since the last time that contain the words."""
        file = self.stubs / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        file.write_text("")
        return [line for line in lines if containing in line]


@pytest.fixture
def sandbox(tmp_path):
    return Sandbox(tmp_path)


def test_first_run_makes_the_environment_and_runs_python_in_the_repository(sandbox):
    code, stdout, stderr = sandbox.run("main.py", "--config=a b")
    assert code == 0
    assert stdout == f"ran main.py --config=a b with JAX_PLATFORMS=cpu in {sandbox.root}\n"
    assert "JAX runs on cpu: python main.py --config=a b" in stderr
    installs = sandbox.calls("pip install")
    assert len(installs) == 1
    assert installs[0].endswith("--editable .[dev]")


def test_a_ready_environment_starts_nothing_but_the_program(sandbox):
    sandbox.run()
    sandbox.calls("")
    assert sandbox.run("-m", "pytest")[0] == 0
    assert sandbox.calls("") == ["bin/python -m pytest"]


@pytest.mark.parametrize("extra", ["", "beam"])
def test_what_a_dry_run_prints_does_what_a_run_does(sandbox, extra):
    (sandbox.root / "launch/beam_constraints.txt").write_text("numpy<2\n")
    told = {"HISTO_SIMCLR_EXTRA": extra}
    code, printed, stderr = sandbox.run("main.py", "--config=a 'b'", DRY_RUN="1", **told)
    assert (code, stderr) == (0, "")
    assert {each.name for each in sandbox.root.iterdir()} == {
        "launch",
        "pyproject.toml",
        "requirements.txt",
    }
    sandbox.calls("")
    told |= sandbox.environment
    pasted = subprocess.run(["bash", "-ec", printed], env=told, capture_output=True, text=True)
    calls = [call for call in sandbox.calls("") if "python3 -c" not in call]
    shutil.rmtree(sandbox.root / f".venv{extra and '-'}{extra}")
    _, stdout, _ = sandbox.run("main.py", "--config=a 'b'", HISTO_SIMCLR_EXTRA=extra)
    assert (pasted.returncode, pasted.stdout) == (0, stdout), pasted.stderr
    assert calls == [call for call in sandbox.calls("") if "python3 -c" not in call]
    # The environment that it made is taken as it is.
    assert sandbox.run(HISTO_SIMCLR_EXTRA=extra)[0] == 0
    assert len(sandbox.calls("")) == 1


@pytest.mark.parametrize("failure", ["OFFLINE", "TORN"])
def test_a_dry_run_given_to_bash_e_stops_where_pip_fails(sandbox, failure):
    printed = sandbox.run(DRY_RUN="1")[1]
    told = sandbox.environment | {failure: "1"}
    done = subprocess.run(["bash", "-e"], input=printed, env=told, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    # What it left is not taken for an environment.
    sandbox.calls("")
    assert sandbox.run()[0] == 0
    calls = sandbox.calls("-m ")
    assert [call.split(" ")[2] for call in calls] == ["venv", "pip"]


@pytest.mark.parametrize("changed", ["requirements.txt", "pyproject.toml"])
def test_a_changed_pin_installs_again_in_place(sandbox, changed):
    sandbox.run()
    sandbox.calls("")
    (sandbox.root / changed).write_text("jax==2\n")
    sandbox.run()
    calls = sandbox.calls("-m ")
    assert [" pip " in call for call in calls] == [True]


@pytest.mark.parametrize(
    ("driver", "extras"),
    [
        ("580.65.06", "dev,cuda13"),
        ("570.124.06", "dev,cuda12"),
        ("525.60.13\n525.60.13", "dev,cuda12"),
        ("470.256.02", "dev"),
        ("", "dev"),
    ],
)
def test_jax_follows_the_driver(sandbox, driver, extras):
    if any(Path("/dev").glob("accel[0-9]*")) or any(Path("/dev/vfio").glob("[0-9]*")):
        pytest.skip("the machine may have a TPU, which goes first")
    code, stdout, stderr = sandbox.run(HISTO_SIMCLR_ACCELERATOR="", DRIVER=driver)
    assert code == 0
    assert sandbox.calls("pip install")[0].endswith(f"--editable .[{extras}]")
    assert ("taking the CPU" in stderr) == (extras == "dev")
    assert ("JAX_PLATFORMS=cpu" in stdout) == (extras == "dev")


def test_an_unknown_accelerator_is_refused(sandbox):
    code, _, stderr = sandbox.run(HISTO_SIMCLR_ACCELERATOR="gpu")
    assert code != 0
    assert "HISTO_SIMCLR_ACCELERATOR=gpu: unknown; set cpu, cuda12, cuda13 or tpu" in stderr
    assert not (sandbox.root / ".venv").exists()


@pytest.mark.parametrize(
    ("extra", "constrained"), [("beam", True), ("dataflow", True), ("ecosystem", False)]
)
def test_an_extra_has_an_environment_of_its_own(sandbox, extra, constrained):
    constraints = sandbox.root / "launch/beam_constraints.txt"
    constraints.write_text("numpy<2\n")
    code, _, stderr = sandbox.run(HISTO_SIMCLR_EXTRA=extra)
    assert code == 0
    assert f".venv-{extra} is ready" in stderr
    assert not (sandbox.root / ".venv").exists()
    (install,) = sandbox.calls("pip install")
    assert install.endswith(f"--editable .[dev,{extra}]")
    assert ("--constraint launch/beam_constraints.txt" in install) == constrained
    # Only who is constrained is brought up to date when the constraints change.
    constraints.write_text("numpy<3\n")
    sandbox.run(HISTO_SIMCLR_EXTRA=extra)
    assert bool(sandbox.calls("pip install")) == constrained


def test_an_unknown_extra_is_refused(sandbox):
    code, _, stderr = sandbox.run(HISTO_SIMCLR_EXTRA="jam")
    assert code != 0
    assert "HISTO_SIMCLR_EXTRA=jam: unknown; set beam, dataflow or ecosystem, or none" in stderr
    assert not (sandbox.root / ".venv-jam").exists()


def test_an_environment_for_a_gpu_also_serves_the_cpu(sandbox):
    sandbox.run(HISTO_SIMCLR_ACCELERATOR="cuda13")
    sandbox.calls("")
    assert "JAX_PLATFORMS=cpu" in sandbox.run(HISTO_SIMCLR_ACCELERATOR="cpu")[1]
    assert sandbox.calls("-m ") == []


@pytest.mark.parametrize(
    ("first", "second", "made_anew"),
    [("cpu", "cuda13", False), ("cpu", "tpu", False), ("cuda12", "cuda13", True)],
)
def test_a_new_accelerator_installs_its_jax(sandbox, first, second, made_anew):
    sandbox.run(HISTO_SIMCLR_ACCELERATOR=first)
    sandbox.calls("")
    sandbox.run(HISTO_SIMCLR_ACCELERATOR=second)
    calls = sandbox.calls("-m ")
    assert [call for call in calls if call.endswith(f"--editable .[dev,{second}]")]
    assert any("-m venv" in call for call in calls) == made_anew


def test_python_can_be_chosen_and_changed(sandbox):
    sandbox.run(PYTHON="python3.12")
    assert sandbox.calls("-m venv")[0].startswith("stubs/python3.12 ")
    sandbox.run()
    assert sandbox.calls("-m venv") == []
    sandbox.run(PYTHON="python3")
    assert sandbox.calls("-m venv")[0].startswith("stubs/python3 ")


@pytest.mark.parametrize("python", ["python3", "no-such-python"])
def test_an_unfit_python_is_refused_in_one_line(sandbox, python):
    code, _, stderr = sandbox.run(PYTHON=python, UNFIT="1")
    assert code != 0
    assert stderr.startswith(f"local.sh: PYTHON={python}: not a Python 3.11 to 3.13")
    assert stderr.count("\n") == 1


def test_without_network_it_fails_in_one_clear_line_and_keeps_what_was_there(sandbox):
    code, _, stderr = sandbox.run(OFFLINE="1")
    assert code != 0
    assert "could not install the packages: ERROR: Could not find a version of jax;" in stderr
    assert "check the network" in stderr
    assert sandbox.run()[0] == 0
    sandbox.calls("")
    (sandbox.root / "requirements.txt").write_text("jax==2\n")
    assert sandbox.run(OFFLINE="1")[0] != 0
    assert sandbox.run()[0] == 0
    assert sandbox.calls("-m venv") == []


def test_an_installation_that_failed_half_way_is_made_anew(sandbox):
    sandbox.run()
    (sandbox.root / "requirements.txt").write_text("jax==2\n")
    assert sandbox.run(TORN="1")[0] != 0
    sandbox.calls("")
    assert sandbox.run()[0] == 0
    assert len(sandbox.calls("-m venv")) == 1


def test_a_killed_installation_is_made_anew(sandbox):
    process = sandbox.start(SLOW="60")
    _wait_for(sandbox.stubs / "pip-started")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    sandbox.calls("")
    assert sandbox.run()[0] == 0
    calls = sandbox.calls("-m ")
    assert any("-m venv" in call for call in calls)
    assert any("pip install" in call for call in calls)


@pytest.mark.skipif(shutil.which("flock") is None, reason="without flock the second does not wait")
def test_two_at_once_install_once(sandbox):
    first = sandbox.start(SLOW="2")
    _wait_for(sandbox.stubs / "pip-started")
    code, stdout, stderr = sandbox.run("second.py")
    assert code == 0
    assert "another local.sh is preparing .venv" in stderr
    assert stdout.startswith("ran second.py")
    first.communicate()
    assert first.returncode == 0
    assert len(sandbox.calls("pip install")) == 1


def test_an_environment_of_somebody_else_is_left_alone(sandbox):
    (sandbox.root / ".venv/bin").mkdir(parents=True)
    (sandbox.root / ".venv/mine").touch()
    code, _, stderr = sandbox.run()
    assert code != 0
    assert "was not made by this script; move it away" in stderr
    assert (sandbox.root / ".venv/mine").exists()


def test_the_exit_status_is_the_programs(sandbox):
    sandbox.run()
    python = sandbox.root / ".venv/bin/python"
    python.write_text("#!/bin/bash\nexit 7\n")
    assert sandbox.run()[0] == 7


def _wait_for(file: Path) -> None:
    deadline = time.monotonic() + 30
    while not file.exists():
        assert time.monotonic() < deadline, f"{file} did not appear"
        time.sleep(0.02)
