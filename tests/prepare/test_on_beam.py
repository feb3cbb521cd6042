"""The same slides through Apache Beam's runners; CI runs it where the extra `beam` is installed.

Beam's job server in Python stands for those of Flink and Spark: it takes the same pipeline over the
same protocols, and hands it to worker processes that are started by hand, as on a cluster.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from histo_simclr import cli
from histo_simclr.prepare import engine, on_beam

pytest.importorskip("apache_beam", reason="needs the extra `beam`; CI has an environment with it")

ROOT = Path(__file__).parents[2]


@pytest.fixture
def prepare(tmp_path, cmu, capsys):
    """prepare(out, *arguments): the command on three slides, one of them no slide; its result."""
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        shutil.copy(cmu, tmp_path / "in" / f"{name}.svs")
    (tmp_path / "in/c.svs").write_text("no slide")

    def call(out, *arguments, source=tmp_path / "in"):
        given = ["prepare", source, "--slides", "--name", "C", "--out", tmp_path / out]
        given += ["--px", 64, "--mpp", "1.0", "--patches", 5, *arguments]
        code = cli.main([str(each) for each in given])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def content(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@contextlib.contextmanager
def server(module, *arguments):
    """A server of Beam's while the block runs; yields its port once it listens."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", module, *(each.format(port=port) for each in arguments)]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        # The pool starts its workers by `python`.
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(600):
            assert process.poll() is None, f"{module} ended at its start"
            with contextlib.suppress(OSError), socket.create_connection(("localhost", port), 1):
                break
            time.sleep(0.1)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_beams_embedded_runner_is_the_default_and_gives_the_same_bytes(prepare, tmp_path):
    assert engine.default_runner() == "embedded"
    assert prepare("local", "--runner", "local")[0] == 0
    assert prepare("embedded")[0] == 0
    assert content(tmp_path / "local") == content(tmp_path / "embedded")
    assert os.listdir(tmp_path / "embedded") == ["c"]


def test_a_job_server_and_workers_of_its_own_give_the_same_bytes(prepare, tmp_path):
    assert prepare("local", "--runner", "local")[0] == 0
    job_server = "apache_beam.runners.portability.local_job_service_main"
    pool = "apache_beam.runners.worker.worker_pool_main"
    with (
        server(job_server, "--port", "{port}") as jobs,
        server(pool, "--service_port", "{port}") as workers,
    ):
        options = f"--job_endpoint=localhost:{jobs} --environment_type=EXTERNAL"
        options += f" --environment_config=localhost:{workers}"
        code, _, err = prepare("far", "--runner", "PortableRunner", "--beam-options", options)
    assert code == 0, err
    assert content(tmp_path / "local") == content(tmp_path / "far")


@pytest.mark.filterwarnings("ignore:Sending a large body")  # aiohttp's advice to gcsfs
def test_slides_and_parts_may_lie_in_a_store(prepare, tmp_path, bucket):
    import fsspec

    files, at = fsspec.core.url_to_fs(f"{bucket}/{tmp_path.name}")
    for path in (tmp_path / "in").iterdir():
        files.put_file(str(path), f"{at}/in/{path.name}")
    assert prepare("local", "--runner", "local")[0] == 0
    source = f"{bucket}/{tmp_path.name}/in"
    code, _, err = prepare("far", "--parts", f"{bucket}/{tmp_path.name}/parts", source=source)
    assert code == 0, err
    assert content(tmp_path / "local") == content(tmp_path / "far")
    files.invalidate_cache()
    assert len(files.find(at)) == 3  # the slides, and no part


def test_a_pipeline_that_fails_is_one_line_and_keeps_what_is_done(prepare, tmp_path, monkeypatch):
    options, calls = on_beam._EMBEDDED_OPTIONS, []

    class Failing(tuple):
        """The options of the first two stages; then those of a runner that is not there."""

        def __iter__(self):
            calls.append(1)
            return iter(options if len(calls) <= 2 else ("--runner=NoSuchRunner",))

    with monkeypatch.context() as patch:
        patch.setattr(on_beam, "_EMBEDDED_OPTIONS", Failing())
        code, _, err = prepare("out")
    assert (code, len(calls)) == (2, 3)
    assert "error: --runner embedded: the pipeline failed" in err
    assert "NoSuchRunner" in err
    assert "Traceback" not in err
    assert "what is done is kept in" in err
    parts = {path.name.split("-")[0] for path in tmp_path.glob("out/.c.*/parts/[!.]*")}
    assert parts == {"survey.inspect", "survey.survey"}
    assert prepare("out")[0] == 0
    assert os.listdir(tmp_path / "out") == ["c"]


def test_an_option_that_beam_does_not_know_is_said(prepare, caplog):
    prepare("out", "--beam-options=--nonsense_option=3")
    assert "nonsense_option" in caplog.text
