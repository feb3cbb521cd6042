"""tpu_pod.sh, setup.sh and gke_xpk.sh against stubs of gcloud, xpk and what a worker has."""

import os
import re
import shlex
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.launch.recording import Sandbox, option, printed

WHAT = (
    "--config=configs/a.py:b c",
    "--workdir=/mnt/histo_simclr/run 1",
    "--config.note=it's $X; *",
)
SLICE = {"NAME": "pod", "ZONE": "z-b", "PROJECT": "p", "TYPE": "v6e-16", "POLL": "0"}
POD = SLICE | {"BUCKET": "gs://mine", "MIX_FROM": "gs://mine/the mix"}
CLUSTER = {"PROJECT": "p", "ZONE": "z-b", "CLUSTER": "c"}
WORKLOAD = CLUSTER | {"TYPE": "v6e-16", "WORKLOAD": "w", "IMAGE": "r/p/i"}

# The states of the queued resource are lines of a file, one a look, the last one for good. What is
# to run on a worker runs here, in the home of the sandbox; `scp` copies there.
GCLOUD = r"""
state=$HOME/state
case "$*" in
  *"queued-resources describe"*)
    head -n 1 "$state" 2>/dev/null || exit 1
    if [ "$(wc -l <"$state")" -gt 1 ]; then sed -i 1d "$state"; fi ;;
  *"queued-resources delete"*) rm -f "$state" ;;
  *"queued-resources create"*) printf 'WAITING_FOR_RESOURCES\nPROVISIONING\nACTIVE\n' >"$state" ;;
  *"tpu-vm scp"*) cp "$5" "$HOME/histo_simclr.tgz" ;;
  *"tpu-vm ssh"*)
    [[ -z ${LOST:-} ]] || exit 255
    while [ "$1" != --command ]; do shift; done
    cd "$HOME" && bash -c "$2" ;;
esac
"""
SUDO = 'exec "$@"\n'
# The worker's Python 3.10, uv, and what it brings.
PYTHON = r"""
case $1 in
  -c) exit "${UNFIT:-0}" ;;
  -m) mkdir -p "$HOME/.local/bin" && cp "$0" "$HOME/.local/bin/uv" ;;
  python) [[ $2 != find ]] || echo /uv/python3.12 ;;
esac
"""


@pytest.fixture
def sandbox(tmp_path):
    stubs = dict.fromkeys(("mount", "gcsfuse", "mount.nfs", "curl", "xpk"), "")
    stubs |= {"gcloud": GCLOUD, "sudo": SUDO, "mountpoint": "exit ${UNMOUNTED:-0}\n"}
    stubs |= {"apt-get": "", "python3": PYTHON, "chown": "", "flock": ""}
    stubs |= dict.fromkeys(("python3.11", "python3.12", "python3.13"), "exit 1\n")
    return Sandbox(tmp_path, stubs)


def gcloud(calls):
    """The calls of gcloud by noun and verb, without the looks at the state."""
    found = [call[3:] for call in named(calls) if call[1:3] == ["compute", "tpus"]]
    return [call for call in found if call[1] != "describe"]


def named(calls, name="gcloud"):
    return [call for call in calls if call[0] == name]


def test_run_asks_waits_installs_and_starts(sandbox, tmp_path):
    # The worker is on its own: what it got lies there whole or not at all.
    keeps = 'printf "%s\\0" "$@" >"$HOME/part"\nmv "$HOME/part" "$HOME/arguments"\n'
    (tmp_path / "program").write_text(f"[[ $1 == main.py ]] || exit 0\n{keeps}")
    code, calls, _, err = sandbox.run("tpu_pod.sh", "run", *WHAT, SPOT="1", **POD)
    assert code == 0, err
    create, look, scp, install, start = gcloud(calls)
    assert option(look, "--worker") == "all"
    assert create[:3] == ["queued-resources", "create", "pod"]
    assert option(create, "--accelerator-type") == "v6e-16"
    assert option(create, "--runtime-version") == "v2-alpha-tpuv6e"
    assert option(create, "--node-id") == "pod"
    assert "--spot" in create
    assert scp[:2] == ["tpu-vm", "scp"]
    assert scp[3] == "pod:histo_simclr.tgz"
    for call in (scp, install, start):
        assert option(call, "--worker") == "all"
    for call in (create, scp, install, start):
        assert (option(call, "--zone"), option(call, "--project")) == ("z-b", "p")
    assert "PROVISIONING, waiting" in err
    arguments = sandbox.home / "arguments"
    wait_for(arguments.exists)
    assert arguments.read_text().split("\0")[:-1] == ["main.py", *WHAT]


def test_what_runs_on_a_worker_is_what_is_committed_with_its_mix(sandbox):
    _, calls, _, _ = sandbox.run("tpu_pod.sh", "install", **POD)
    there = sandbox.home / "histo_simclr"
    assert (there / "launch/worker.sh").exists()
    assert ["local.sh", "-c", "pass"] in calls
    copies = [call for call in named(calls) if call[1] == "storage"]
    assert [call[-2:] for call in copies] == [["gs://mine/the mix", f"{there}/data/mix"]]


def test_every_worker_joins_the_pod_and_shares_compiled_programs(sandbox, tmp_path):
    names = "$HISTO_SIMCLR_POD $HISTO_SIMCLR_ACCELERATOR $JAX_COMPILATION_CACHE_DIR"
    (tmp_path / "program").write_text(f'[[ $1 != main.py ]] || echo "{names}"\n')
    sandbox.run("tpu_pod.sh", "run", *WHAT, **POD)
    log = sandbox.home / "histo_simclr/run.log"
    wait_for(lambda: log.exists() and "1 tpu /mnt/histo_simclr/jax_cache\n" in log.read_text())


def test_a_second_run_beside_the_first_starts_nothing_and_stop_saves(sandbox, tmp_path):
    saves = "trap 'echo saved; exit 0' TERM\necho ready\nwhile true; do sleep 0.05; done\n"
    (tmp_path / "program").write_text(f"[[ $1 == main.py ]] || exit 0\n{saves}")
    log = sandbox.home / "histo_simclr/run.log"
    sandbox.run("tpu_pod.sh", "run", *WHAT, **POD)
    wait_for(lambda: log.exists() and "ready" in log.read_text())
    _, calls, out, err = sandbox.run("tpu_pod.sh", "run", *WHAT, **POD)
    assert out == "runs already\n"
    assert "started" not in err
    # Nor is anything replaced under it.
    assert [call[1] for call in gcloud(calls)] == ["ssh", "ssh"]
    code, calls, _, err = sandbox.run("tpu_pod.sh", "install", **POD)
    assert (code, len(gcloud(calls))) == (2, 1)
    assert err == "tpu_pod.sh: a run goes on there; bash launch/tpu_pod.sh stop ends it\n"
    assert sandbox.run("tpu_pod.sh", "stop", **SLICE)[0] == 0
    wait_for(lambda: "saved" in log.read_text())
    assert log.read_text().count("ready") == 1
    wait_for(lambda: "nothing runs" in sandbox.run("tpu_pod.sh", "stop", **SLICE)[2])


def test_a_worker_without_a_run_says_so_without_noise(sandbox):
    (code, _, out, err) = sandbox.run("tpu_pod.sh", "stop", **SLICE)
    assert (code, out, err) == (0, "nothing runs\n", "")
    # The machine was started again, and the number is another program's.
    (sandbox.home / "histo_simclr").mkdir()
    (sandbox.home / "histo_simclr/run.pid").write_text(f"{os.getpid()}\n")
    assert sandbox.run("tpu_pod.sh", "stop", **SLICE)[2] == "nothing runs\n"
    (_, _, out, err) = sandbox.run("tpu_pod.sh", "run", *WHAT, **POD)
    assert out == "started\n"
    assert "No such file" not in err


def test_a_lost_connection_ends_run_before_it_replaces_anything(sandbox):
    (sandbox.home / "state").write_text("ACTIVE\n")
    code, calls, _, _ = sandbox.run("tpu_pod.sh", "run", *WHAT, LOST="1", **POD)
    assert (code, [call[1] for call in gcloud(calls)]) == (255, ["ssh"])


def test_an_installation_removes_what_the_commit_no_longer_has(sandbox):
    there = sandbox.home / "histo_simclr"
    stays = ["data/mix/a.tfrecord", ".venv/bin/python", ".venv.log", "run.log", "run.pid"]
    goes = ["histo_simclr/old.py", "histo_simclr/run.py", "data/mixes/old.csv", "old.py"]
    for name in stays + goes:
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        (there / name).touch()
    code, _, _, err = sandbox.run("tpu_pod.sh", "install", **POD)
    assert code == 0, err
    assert [name for name in stays + goes if (there / name).exists()] == stays
    assert (there / "launch/worker.sh").exists()


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("state", ["SUSPENDED", "FAILED"])
def test_after_a_preemption_the_same_command_asks_anew(sandbox, state):
    (sandbox.home / "state").write_text(f"{state}\n")
    code, calls, _, _ = sandbox.run("tpu_pod.sh", "run", *WHAT, **POD)
    assert code == 0
    assert [call[1] for call in gcloud(calls)[:4]] == ["delete", "create", "ssh", "scp"]
    assert {"--force", "--quiet"} < set(gcloud(calls)[0])


def test_a_slice_that_is_there_is_taken(sandbox):
    (sandbox.home / "state").write_text("ACTIVE\n")
    assert gcloud(sandbox.run("tpu_pod.sh", "create", **SLICE)[1]) == []


def test_flags_of_create_go_to_gcloud(sandbox):
    told = SLICE | {"TYPE": "v9-8", "RUNTIME": "new", "VALID_FOR": "6h"}
    (create,) = gcloud(sandbox.run("tpu_pod.sh", "create", "--network=a b", **told)[1])
    assert "--network=a b" in create
    assert option(create, "--runtime-version") == "new"
    assert option(create, "--valid-until-duration") == "6h"
    assert "--spot" not in create


def test_a_slice_that_fails_while_we_wait_is_one_line(sandbox):
    (sandbox.home / "state").write_text("PROVISIONING\nPROVISIONING\nFAILED\n")
    code, _, _, err = sandbox.run("tpu_pod.sh", "create", **SLICE)
    assert code == 2
    assert "pod became FAILED; gcloud compute tpus queued-resources describe pod says why" in err


def test_logs_and_delete(sandbox):
    logs = named(sandbox.run("tpu_pod.sh", "logs", DRY_RUN="1", **SLICE)[1])
    assert logs == []
    (logs,) = printed(sandbox.run("tpu_pod.sh", "logs", DRY_RUN="1", WORKER="3", **SLICE)[2])
    assert option(logs, "--worker") == "3"
    assert option(logs, "--command") == "tail -n 100 -F histo_simclr/run.log"
    (delete,) = gcloud(sandbox.run("tpu_pod.sh", "delete", **SLICE)[1])
    assert delete[:3] == ["queued-resources", "delete", "pod"]
    assert {"--force", "--quiet"} < set(delete)


def test_a_dry_run_prints_and_runs_nothing(sandbox):
    code, calls, out, err = sandbox.run("tpu_pod.sh", "run", *WHAT, DRY_RUN="1", **POD)
    assert (code, calls, err) == (0, [], "")
    commands = printed(out)
    names = [command[0] for command in commands]
    assert names == ["gcloud", "git", "gcloud", "gcloud", "gcloud", "rm"]
    start = option(commands[-2], "--command")
    arguments = re.search(r"launch/worker\.sh (.*?)\s*>>run\.log", start).group(1)
    assert tuple(shlex.split(arguments)) == WHAT


def test_changes_that_are_not_committed_are_refused(sandbox):
    (sandbox.root / "launch/worker.sh").write_text("changed\n")
    for script, action, told in (
        ("tpu_pod.sh", ("install",), POD),
        ("gke_xpk.sh", ("build",), WORKLOAD),
    ):
        code, calls, _, err = sandbox.run(script, *action, **told)
        assert (code, calls) == (2, [])
        assert f"{script}: changes that are not committed; commit them" in err


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("configs/mine.py", True),
        ("histo_simclr/views/new.py", True),
        ("launch/new.sh", True),
        ("mine.py", True),
        ("pyproject.toml", True),
        ("notes/mine.py", False),
        ("data/new.csv", False),
    ],
)
def test_new_files_of_the_code_are_refused(sandbox, name, refused):
    (sandbox.root / name).parent.mkdir(parents=True, exist_ok=True)
    (sandbox.root / name).touch()
    code, calls, _, err = sandbox.run("gke_xpk.sh", "build", **WORKLOAD)
    says = f"gke_xpk.sh: new files that are not committed, such as {name}; commit them: what is"
    assert (code, calls == [], err.startswith(says)) == (2 * refused, refused, refused)


@pytest.mark.parametrize(
    ("share", "mounts"),
    [({"BUCKET": "gs://b"}, "gcsfuse"), ({"NFS": "10.0.0.2:/vol"}, "mount")],
)
def test_a_worker_mounts_the_shared_folder_once(sandbox, tmp_path, share, mounts):
    shared = share | {"SHARED": str(tmp_path / "s h")}
    code, calls, _, err = sandbox.run("setup.sh", UNMOUNTED="1", **shared)
    assert code == 0, err
    (mount,) = named(calls, mounts)
    assert mount[-2:] == [*(v.removeprefix("gs://") for v in share.values()), str(tmp_path / "s h")]
    assert named(sandbox.run("setup.sh", **shared)[1], mounts) == []


def test_the_shared_folder_belongs_to_the_user_of_the_worker(sandbox, tmp_path):
    shared = {"BUCKET": "gs://b", "SHARED": str(tmp_path / "s h"), "UNMOUNTED": "1"}
    (sandbox.stubs / "id").write_text('#!/bin/bash\necho "$USER"\n')
    (sandbox.stubs / "id").chmod(0o755)
    out = sandbox.run("setup.sh", DRY_RUN="1", USER="here", **shared)[2]
    environment = sandbox.environment | {"USER": "worker"}
    subprocess.run(["bash", "-e"], input=out, env=environment, text=True, check=True)
    for calls in (sandbox.recorded(), sandbox.run("setup.sh", USER="worker", **shared)[1]):
        assert named(calls, "chown") == [["chown", "worker", str(tmp_path / "s h")]]


def test_a_worker_without_a_fit_python_gets_one(sandbox, tmp_path):
    (tmp_path / "program").write_text('echo "$PYTHON"\n')
    fit = sandbox.run("setup.sh")[2]
    assert fit == f"{sandbox.stubs}/python3\n"
    code, calls, out, _ = sandbox.run("setup.sh", UNFIT="1")
    assert (code, out) == (0, "/uv/python3.12\n")
    assert ["uv", "python", "install", "3.12"] in calls


def test_a_dry_setup_prints_and_runs_nothing(sandbox):
    code, calls, out, _ = sandbox.run("setup.sh", DRY_RUN="1", BUCKET="gs://b")
    assert (code, calls) == (0, [])
    assert ["gcsfuse", "b", "/mnt/histo_simclr"] in [
        [words[0], *words[-2:]] for words in printed(out)
    ]


def test_a_workload_of_xpk(sandbox):
    told = WORKLOAD | {"MIX_FROM": "/mnt/histo_simclr/the mix", "MAX_RESTARTS": "3"}
    code, calls, _, err = sandbox.run("gke_xpk.sh", "run", *WHAT, **told)
    assert (code, err) == (0, "")
    (call,) = calls
    assert call[:3] == ["xpk", "workload", "create"]
    assert option(call, "--docker-image") == f"r/p/i:{sandbox.version}"
    assert option(call, "--tpu-type") == "v6e-16"
    assert option(call, "--max-restarts") == "3"
    assert option(call, "--restart-on-exit-codes") == "75,76"
    environment = [call[at + 1] for at, word in enumerate(call) if word == "--env"]
    assert environment == [
        "JAX_COMPILATION_CACHE_DIR=/mnt/histo_simclr/jax_cache",
        "MIX_FROM=/mnt/histo_simclr/the mix",
    ]
    # As xpk wraps it: SIGTERM goes to the subshell, which must have become the worker.
    command = option(call, "--command").replace("/histo_simclr/launch", f"{sandbox.root}/launch")
    assert command.startswith("exec bash ")
    environment = sandbox.environment | {"HISTO_SIMCLR_PYTHON": ""}
    subprocess.run(["bash", "-c", f"({command}) & wait $!"], env=environment, check=True)
    assert sandbox.recorded() == [["local.sh", "main.py", *WHAT]]


def test_storage_list_and_delete_of_xpk(sandbox):
    storage = ("histo", "--type", "gcsfuse", "--bucket", "mine", "--size", "1000")
    (call,) = sandbox.run("gke_xpk.sh", "attach", *storage, **CLUSTER)[1]
    assert call[:4] == ["xpk", "storage", "attach", "histo"]
    assert option(call, "--mount-point") == "/mnt/histo_simclr"
    (call,) = sandbox.run("gke_xpk.sh", "list", **CLUSTER)[1]
    assert call[1:] == ["workload", "list", "--project", "p", "--zone", "z-b", "--cluster", "c"]
    (call,) = sandbox.run("gke_xpk.sh", "delete", **WORKLOAD)[1]
    assert option(call, "--workload") == "w"


def test_a_dry_workload_prints_and_runs_nothing(sandbox):
    code, calls, out, _ = sandbox.run("gke_xpk.sh", "run", *WHAT, DRY_RUN="1", **WORKLOAD)
    assert (code, calls) == (0, [])
    (command,) = printed(out)
    assert shlex.split(option(command, "--command"))[-len(WHAT) :] == list(WHAT)


@pytest.mark.parametrize("code", [0, 3])
def test_the_image_is_built_from_what_is_committed_and_no_archive_is_left(sandbox, code):
    keeps = f'tar -tzf "$3" >"{sandbox.home}/packed"\nexit {code}\n'
    with (sandbox.stubs / "gcloud").open("a") as stub:
        stub.write(keeps)
    (sandbox.root / "new").touch()
    ended, calls, _, err = sandbox.run("gke_xpk.sh", "build", **WORKLOAD)
    assert (ended, err) == (code, "")
    (call,) = calls
    assert call[1:3] == ["builds", "submit"]
    packed = (sandbox.home / "packed").read_text().split()
    assert "new" not in packed
    assert list(sandbox.root.glob("*.tgz")) == []
    # Cloud Build refuses a substitution that is not used, or not given.
    given = dict(pair.split("=") for pair in option(call, "--substitutions").split(","))
    template = Path(option(call, "--config")).read_text()
    assert set(re.findall(r"\$(\w+)", template)) == set(given)
    build = yaml.safe_load(re.sub(r"\$(\w+)", lambda name: given[name[1]], template))
    assert build["images"] == [f"r/p/i:{sandbox.version}"]
    arguments = build["steps"][0]["args"]
    assert option(arguments, "--tag") == f"r/p/i:{sandbox.version}"
    assert option(arguments, "--file") in packed
    assert option(arguments, "--build-arg") == "ACCELERATOR=tpu"


@pytest.mark.parametrize(
    ("script", "args", "environment", "says"),
    [
        ("tpu_pod.sh", (), {}, "nothing to do; give create, install, run"),
        ("tpu_pod.sh", ("up",), {}, "up: unknown; give create, install, run"),
        ("tpu_pod.sh", ("create",), {"NAME": "pod"}, "ZONE is not set"),
        ("tpu_pod.sh", ("create",), SLICE | {"TYPE": ""}, "TYPE is not set"),
        ("tpu_pod.sh", ("create",), SLICE | {"TYPE": "v9-8"}, "TYPE=v9-8: its software version"),
        ("tpu_pod.sh", ("create",), SLICE | {"SPOT": "yes"}, "SPOT=yes: give 1, or 0 or nothing"),
        ("tpu_pod.sh", ("create",), SLICE | {"POLL": "1m"}, "POLL=1m: give a whole number"),
        ("gke_xpk.sh", ("run",), WORKLOAD | {"MAX_RESTARTS": "x"}, "MAX_RESTARTS=x: give a whole"),
        ("tpu_pod.sh", ("run",), POD, "nothing to run; give what main.py takes"),
        ("tpu_pod.sh", ("run", *WHAT), SLICE, "neither BUCKET nor NFS is set"),
        (
            "tpu_pod.sh",
            ("run", *WHAT),
            POD | {"BUCKET": "b"},
            "BUCKET=b: not of the form gs://NAME",
        ),
        ("gke_xpk.sh", (), {}, "nothing to do; give build, attach, run"),
        ("gke_xpk.sh", ("up",), {}, "up: unknown; give build, attach, run"),
        ("gke_xpk.sh", ("list",), {}, "PROJECT is not set"),
        ("gke_xpk.sh", ("run", *WHAT), CLUSTER, "TYPE is not set"),
        ("gke_xpk.sh", ("run",), WORKLOAD, "nothing to run; give what main.py takes"),
        (
            "gke_xpk.sh",
            ("run", "--workdir=/mnt/histo_simclr/a\nb"),
            WORKLOAD,
            "a line break in the arguments",
        ),
        ("gke_xpk.sh", ("attach",), CLUSTER, "no storage named; give NAME --type"),
        ("setup.sh", (), {"UNMOUNTED": "1"}, "nothing is mounted at /mnt/histo_simclr: set BUCKET"),
    ],
)
def test_bad_calls_are_one_line(sandbox, script, args, environment, says):
    code, calls, _, err = sandbox.run(script, *args, **environment)
    assert (code, [call for call in calls if call[0] != "mountpoint"]) == (2, [])
    assert err.startswith(f"{script}: {says}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(("script", "told"), [("tpu_pod.sh", POD), ("gke_xpk.sh", WORKLOAD)])
@pytest.mark.parametrize(
    ("workdir", "says"),
    [
        ("gs://b/run", "a store is no folder"),
        ("/home/me/run", "not below /mnt/histo_simclr, which all hosts share; give --workdir=/mnt"),
        ("/mnt/histo_simclr2/run", "not below /mnt/histo_simclr, which all hosts share"),
        ("/mnt/histo_simclr/", "not below /mnt/histo_simclr, which all hosts share"),
    ],
)
def test_a_workdir_that_is_not_shared_is_refused_before_anything_costs(
    sandbox, script, told, workdir, says
):
    code, calls, _, err = sandbox.run(script, "run", f"--workdir={workdir}", **told)
    assert (code, calls) == (2, [])
    assert err.startswith(f"{script}: --workdir={workdir}: {says}")


def test_the_shared_folder_may_be_elsewhere(sandbox):
    told = WORKLOAD | {"SHARED": "/data/", "DRY_RUN": "1"}
    assert sandbox.run("gke_xpk.sh", "run", "--workdir", "/data/run", **told)[0] == 0
