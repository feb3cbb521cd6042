"""prepare_flink.sh and prepare_dataflow.sh against stubs that record what they were asked."""

import shutil
import subprocess
from pathlib import Path

import pytest

from histo_simclr import cli
from tests.launch.recording import committed

ROOT = Path(__file__).parents[2]
STUB = r"""#!/bin/bash
echo "$(basename "$0") $HISTO_SIMCLR_EXTRA|$(printf '%s|' "$@")" >>"$CALLS"
[[ $* != *" describe "* ]] || exit "${DESCRIBED:-1}"
[[ $* != "builds submit "* ]] || { mkdir "$CONTEXT" && tar -xzf "$3" -C "$CONTEXT"; }
"""


class Sandbox:
    """A repository of one commit with the scripts in it; local.sh, gcloud and java are stubs."""

    def __init__(self, folder: Path):
        self.root, self.calls = folder / "repository", folder / "calls"
        stubs = folder / "stubs"
        self.context = folder / "context"
        (self.root / "launch").mkdir(parents=True)
        stubs.mkdir()
        scripts = ("prepare_flink.sh", "prepare_dataflow.sh", "steps.sh")
        for name in (*scripts, "cloudbuild.yaml", "dataflow.dockerfile"):
            shutil.copy(ROOT / "launch" / name, self.root / "launch")
        for path in (self.root / "launch/local.sh", stubs / "gcloud", stubs / "java"):
            path.write_text(STUB)
            path.chmod(0o755)
        (self.root / "code.py").write_text("committed\n")
        self.version = committed(self.root)
        self.environment = {"PATH": f"{stubs}:/usr/bin:/bin", "CALLS": str(self.calls)}
        self.environment |= {"CONTEXT": str(self.context)}

    def run(self, script: str, *args: str, **environment: str):
        """(exit code, calls, stdout, stderr)."""
        self.calls.unlink(missing_ok=True)
        done = subprocess.run(
            ["bash", self.root / "launch" / script, *args],
            env=self.environment | environment,
            cwd="/",
            capture_output=True,
            text=True,
        )
        calls = self.calls.read_text().splitlines() if self.calls.exists() else []
        return done.returncode, calls, done.stdout, done.stderr


@pytest.fixture
def sandbox(tmp_path):
    return Sandbox(tmp_path)


WHAT = ("/slides", "--name", "C", "--out", "/out", "--mpp", "0.5")
CLOUD = {"PROJECT": "p", "REGION": "us-central1", "BUCKET": "gs://b/"}


def prepared(call):
    """The arguments of histo-simclr in a call of local.sh, parsed as the command does."""
    name, extra, *args = call.replace("|", " ", 1).split(" ", 2)
    given = args[0].rstrip("|").split("|")
    assert (name, given[:2]) == ("local.sh", ["-m", "histo_simclr"])
    return extra, cli.parser().parse_args(given[2:])


def test_flink_gets_the_slides_and_workers_of_its_hosts(sandbox):
    code, calls, _, err = sandbox.run("prepare_flink.sh", "h:8081", *WHAT, PARALLELISM="64")
    assert (code, err) == (0, "")
    extra, args = prepared(calls[0])
    assert extra == "beam"
    assert (args.source, args.name, args.slides, args.mpp) == (["/slides"], "C", True, "0.5")
    assert args.runner == "FlinkRunner"
    options = args.beam_options.split()
    assert options[:2] == ["--environment_type=EXTERNAL", "--environment_config=localhost:50000"]
    assert options[2:] == ["--flink_master=h:8081", "--parallelism=64"]
    code, calls, _, _ = sandbox.run("prepare_flink.sh", "worker", PORT="7")
    pool = "apache_beam.runners.worker.worker_pool_main"
    assert (code, calls) == (0, [f"local.sh beam|-m|{pool}|--service_port|7|"])


def test_spark_and_a_job_server_of_ones_own(sandbox):
    _, calls, _, _ = sandbox.run("prepare_flink.sh", "spark://h:7077", *WHAT, RUNNER="SparkRunner")
    _, args = prepared(calls[0])
    assert args.runner == "SparkRunner"
    assert "--spark_master_url=spark://h:7077" in args.beam_options.split()
    _, calls, _, _ = sandbox.run("prepare_flink.sh", "h:8081", *WHAT, JOB_SERVER="h:8099")
    _, args = prepared(calls[0])
    assert args.runner == "PortableRunner"
    assert "--job_endpoint=h:8099" in args.beam_options.split()


def test_dataflow_builds_what_is_committed_once_and_submits(sandbox):
    code, calls, _, err = sandbox.run("prepare_dataflow.sh", *WHAT, **CLOUD, DISK="50")
    assert (code, err) == (0, "")
    image = f"us-central1-docker.pkg.dev/p/histo-simclr/prepare:{sandbox.version}"
    described, asked, made, built, submitted = calls
    assert described.split("|")[1:5] == ["artifacts", "docker", "images", "describe"]
    assert asked.split("|")[1:4] == ["artifacts", "repositories", "describe"]
    assert made.split("|")[1:5] == ["artifacts", "repositories", "create", "histo-simclr"]
    assert built.split("|")[1:3] == ["builds", "submit"]
    assert f"_DOCKERFILE=dataflow.dockerfile,_IMAGE={image}" in built.split("|")
    assert (sandbox.context / "code.py").read_text() == "committed\n"
    dockerfile = (sandbox.context / "launch/dataflow.dockerfile").read_text()
    assert dockerfile.startswith("# Image of the Dataflow")
    extra, args = prepared(submitted)
    assert (extra, args.runner, args.parts) == ("dataflow", "DataflowRunner", "gs://b/parts")
    options = args.beam_options.split()
    assert {"--project=p", "--region=us-central1", "--temp_location=gs://b/temp"} <= set(options)
    assert {f"--sdk_container_image={image}", "--disk_size_gb=50"} <= set(options)
    _, calls, _, _ = sandbox.run("prepare_dataflow.sh", *WHAT, **CLOUD, DESCRIBED="0")
    assert len(calls) == 2  # the image is there
    (sandbox.root / "code.py").write_text("not committed\n")
    code, calls, _, err = sandbox.run("prepare_dataflow.sh", *WHAT, **CLOUD)
    assert (code, calls) == (2, [])
    assert "changes that are not committed" in err
    _, calls, _, _ = sandbox.run("prepare_dataflow.sh", *WHAT, **CLOUD, IMAGE="mine:1")
    _, args = prepared(calls[0])
    assert "--sdk_container_image=mine:1" in args.beam_options.split()


def test_a_dry_run_prints_every_command_and_runs_none(sandbox):
    code, calls, out, _ = sandbox.run("prepare_dataflow.sh", *WHAT, **CLOUD, DRY_RUN="1")
    assert (code, calls) == (0, [])
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["gcloud", "git", "gcloud", "env", "rm"]
    assert "histo_simclr prepare /slides" in lines[3]
    code, calls, out, _ = sandbox.run("prepare_flink.sh", "h:8081", *WHAT, DRY_RUN="1")
    assert (code, calls, len(out.splitlines())) == (0, [], 1)


@pytest.mark.parametrize(
    ("script", "args", "environment", "says"),
    [
        ("prepare_flink.sh", (), {}, "no arguments"),
        ("prepare_flink.sh", ("h:8081",), {}, "nothing to prepare"),
        ("prepare_flink.sh", ("h:1", "/s"), {"RUNNER": "Storm"}, "RUNNER=Storm: unknown"),
        ("prepare_flink.sh", ("worker",), {"PORT": "08"}, "PORT=08: give a whole number"),
        ("prepare_flink.sh", ("h:1", "/s"), {"PARALLELISM": "x"}, "PARALLELISM=x: give a whole"),
        ("prepare_dataflow.sh", ("/s",), CLOUD | {"DISK": "5G"}, "DISK=5G: give a whole number"),
        ("prepare_dataflow.sh", ("/s",), CLOUD | {"MAX_WORKERS": "x"}, "MAX_WORKERS=x: give a"),
        ("prepare_dataflow.sh", ("/s",), {}, "PROJECT is not set"),
        ("prepare_dataflow.sh", (), CLOUD, "nothing to prepare"),
        ("prepare_dataflow.sh", ("/s",), CLOUD | {"BUCKET": "b"}, "BUCKET=b: not of the form"),
    ],
)
def test_bad_calls_are_one_line(sandbox, script, args, environment, says):
    code, calls, _, err = sandbox.run(script, *args, **environment)
    assert (code, calls) == (2, [])
    assert says in err
    assert len(err.splitlines()) == 1
