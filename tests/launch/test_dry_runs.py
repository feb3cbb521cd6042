"""What a dry run prints is what a real run does: given to `bash -e`, it does the same."""

import shlex
import subprocess

import pytest

from tests.launch.recording import Sandbox
from tests.launch.test_scripts import task

WHAT = ("--config=configs/a.py:b c", "--workdir=/shared/run 1", "--config.note=it's $HOME; *")
SLIDES = ("/the slides", "--name", "C", "--out", "/out", "--mpp", "0.5")
SLICE = {"NAME": "pod", "ZONE": "z", "PROJECT": "p", "TYPE": "v6e-16", "BUCKET": "gs://b"}
SLICE |= {"SHARED": "/shared"}
CLUSTER = {"PROJECT": "p", "ZONE": "z", "CLUSTER": "c", "WORKLOAD": "w", "IMAGE": "r/p/i"}
CLUSTER |= {"SHARED": "/shared"}
DATAFLOW = {"PROJECT": "p", "REGION": "r", "BUCKET": "gs://b"}
JOB = {"SLURM_JOB_ID": "7", "HISTO_SIMCLR_ROOT": "ROOT"}
NODES = {"SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_RANK": "1", "SKYPILOT_NODE_IPS": "a\nb"}

# What only looks, and so is not printed: a bare machine, nothing there yet.
LOOKS = (
    "git -C ROOT diff",
    "git -C ROOT ls-files",
    "git -C ROOT rev-parse",
    "mountpoint",
    "python3 -c",
    "python3.1",
)
LOOKS += ("gcloud artifacts repositories describe", "gcloud artifacts docker images describe")
LOOKS += ("gcloud compute tpus queued-resources describe",)
LOOKS += (
    "gcloud compute tpus tpu-vm ssh pod --zone z --project p --worker=all --command"
    " 'if grep -qs worker.sh /proc/$(cat histo_simclr/run.pid 2>/dev/null)/cmdline;"
    " then echo runs already; fi'",
)
GCLOUD = r"""
case "$*" in
  *queued-resources\ describe*) [[ ! -e $HOME/asked ]] || echo ACTIVE ;;
  *queued-resources\ create*) touch "$HOME/asked" ;;
  *\ describe*) exit 1 ;;
esac
"""
# Brings what it is asked for; a shell of root is not to write into this machine.
APT_GET = '[[ $* != *gcsfuse ]] || cp "$0" "$(dirname "$0")/gcsfuse"\n'
SUDO = '[[ $1 != bash ]] || exit 0\nexec "$@"\n'
PYTHON = r"""
case "$1 $2" in
  "-c "*) exit 1 ;;
  "-m pip") mkdir -p "$HOME/.local/bin" && cp "$0" "$HOME/.local/bin/uv" ;;
  "python find") echo /uv/python3.12 ;;
esac
"""
# What the launched program sees counts too; it ends as one that was cut short.
PROGRAM = r"""
variables=$(env | grep -E '^(HISTO_SIMCLR_EXTRA|JAX_|MIX_FROM=.|PYTHON=)' | sort)
printf 'variables\0%s\0\0' "$variables" >>"$CALLS"
[[ $1 != main.py ]] || exit "${ENDS:-0}"
"""


@pytest.fixture
def sandbox(tmp_path):
    passes_on = 'while [[ $1 == --* ]]; do shift; done\nexec "$@"\n'
    stubs = dict.fromkeys(("xpk", "scontrol", "rsync", "java", "chown", "mount", "curl"), "")
    stubs |= dict.fromkeys(("python3.11", "python3.12", "python3.13"), "exit 1\n")
    stubs |= {name: f'exec /usr/bin/{name} "$@"\n' for name in ("git", "rm")}
    stubs |= {"gcloud": GCLOUD, "apt-get": APT_GET, "sudo": SUDO, "python3": PYTHON}
    stubs |= {"mountpoint": "exit 1\n", "srun": passes_on}
    sandbox = Sandbox(tmp_path, stubs)
    (tmp_path / "program").write_text(PROGRAM)
    return sandbox


def done(sandbox, calls):
    """The calls that change something."""
    lines = [shlex.join(call).replace(str(sandbox.root), "ROOT") for call in calls]
    return [line for line in lines if not line.startswith(LOOKS)]


@pytest.mark.parametrize(
    ("script", "args", "environment"),
    [
        ("gke_xpk.sh", ("build",), CLUSTER),
        ("gke_xpk.sh", ("attach", "s", "--type", "gcsfuse"), CLUSTER),
        ("gke_xpk.sh", ("run", *WHAT), CLUSTER | {"TYPE": "v6e-16", "MIX_FROM": "/the mix"}),
        ("gke_xpk.sh", ("list",), CLUSTER),
        ("gke_xpk.sh", ("delete",), CLUSTER),
        ("tpu_pod.sh", ("run", *WHAT), SLICE | {"MIX_FROM": "gs://b/the mix", "SPOT": "1"}),
        ("tpu_pod.sh", ("logs",), SLICE),
        ("tpu_pod.sh", ("stop",), SLICE),
        ("tpu_pod.sh", ("delete",), SLICE),
        ("prepare_dataflow.sh", SLIDES, DATAFLOW),
        ("prepare_flink.sh", ("h:8081", *SLIDES), {"PARALLELISM": "4"}),
        ("prepare_flink.sh", ("worker",), {}),
        ("embed.sbatch", SLIDES, JOB | {"SHARES": "8", "SLURM_ARRAY_TASK_ID": "4"}),
        ("slurm.sbatch", WHAT, JOB | {"MIX_FROM": "gs://b/m", "MIX_TO": "HOME/m", "ENDS": "75"}),
        ("skypilot_node.sh", WHAT, NODES),
        ("worker.sh", WHAT, {"MIX_FROM": "gs://b/the mix"}),
        ("setup.sh", (), {"BUCKET": "gs://b", "SHARED": "HOME/s h"}),
        ("setup.sh", (), {"SHARED": ""}),
    ],
)
def test_what_is_printed_is_what_is_done(sandbox, script, args, environment):
    folders = {"ROOT": str(sandbox.root), "HOME": str(sandbox.home)}
    for name, folder in folders.items():
        environment = {k: value.replace(name, folder) for k, value in environment.items()}
    code, calls, printed, err = sandbox.run(script, *args, DRY_RUN="1", **environment)
    assert (code, done(sandbox, calls), err) == (0, [], "")
    code, calls, _, err = sandbox.run(script, *args, **environment)
    assert code == int(environment.get("ENDS", 0)), err
    real = done(sandbox, calls)
    assert real
    # A job that was cut short goes on after its failure: to requeue.
    shell = ["bash"] if "ENDS" in environment else ["bash", "-e"]
    subprocess.run(shell, input=printed, env=sandbox.environment | environment, text=True)
    assert done(sandbox, sandbox.recorded()) == real


def test_the_task_runs_what_the_dry_runs_print(sandbox):
    """The blocks of skypilot.yaml, as SkyPilot runs them in the repository on a node."""
    setup = sandbox.run("setup.sh", DRY_RUN="1", SHARED="")[2]
    run = sandbox.run("skypilot_node.sh", *WHAT, DRY_RUN="1", **NODES)[2]
    told = sandbox.environment | NODES | {"ARGS": shlex.join(WHAT)}
    for pair in ((task()["setup"], setup), (task()["run"], run)):
        calls = []
        for shell in pair:
            subprocess.run(["bash"], input=shell, env=told, text=True, cwd=sandbox.root, check=True)
            calls.append(done(sandbox, sandbox.recorded()))
        assert calls[0] == calls[1] != []
