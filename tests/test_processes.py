"""What a launcher says of a job, and how a job that cannot start ends."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from histo_simclr import out_of_memory, processes
from histo_simclr.errors import InputError

THREE = {
    "JAX_COORDINATOR_ADDRESS": "host:1234",
    "JAX_NUM_PROCESSES": "4",
    "JAX_PROCESS_ID": "3",
}


def test_three_variables_announce_a_job():
    expected = {"coordinator_address": "host:1234", "num_processes": 4, "process_id": 3}
    assert processes.announced(THREE) == expected


@pytest.mark.parametrize(
    "environment",
    [
        {"SLURM_NTASKS": "2", "SLURM_STEP_ID": "0"},
        {
            "OMPI_COMM_WORLD_SIZE": "2",
            "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1:34911",
        },
        {"TPU_WORKER_HOSTNAMES": "t-0,t-1"},
        {"TPU_PROCESS_ADDRESSES": "t-0:8471,t-1:8471"},
        {"TPU_WORKER_HOSTNAMES": "t-0", "MEGASCALE_NUM_SLICES": "2"},
        {"HISTO_SIMCLR_POD": "1"},
    ],
)
def test_clusters_that_jax_knows_are_left_to_it(environment):
    assert processes.announced(environment) == {}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_NTASKS": "1", "SLURM_STEP_ID": "0"},
        {"SLURM_NTASKS": "2"},
        {"OMPI_COMM_WORLD_SIZE": "1", "OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.96.0.1:1"},
        {"TPU_WORKER_HOSTNAMES": "localhost"},
        {"MEGASCALE_NUM_SLICES": "1"},
    ],
)
def test_one_process_is_no_job(environment):
    assert processes.announced(environment) is None


@pytest.mark.parametrize("name", ["SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "MEGASCALE_NUM_SLICES"])
@pytest.mark.parametrize("value", ["", "x", "-1"])
def test_a_number_of_processes_that_is_none_is_refused(name, value):
    with pytest.raises(InputError, match=f"{name}: is '{value}'"):
        processes.announced({name: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"JAX_PROCESS_ID": None}, "JAX_PROCESS_ID: not set, though JAX_COORDINATOR_ADDRESS is"),
        ({"JAX_PROCESS_ID": "4"}, "JAX_PROCESS_ID: is '4', where JAX_NUM_PROCESSES is '4'"),
        ({"JAX_PROCESS_ID": "-1"}, "JAX_PROCESS_ID: is '-1'"),
        ({"JAX_NUM_PROCESSES": "four"}, "JAX_NUM_PROCESSES is 'four'"),
        ({"JAX_COORDINATOR_ADDRESS": "host"}, "JAX_COORDINATOR_ADDRESS: is 'host'; give HOST:PORT"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, message):
    changed = {name: value for name, value in (THREE | changes).items() if value is not None}
    with pytest.raises(InputError, match=message):
        processes.announced(changed)


def test_a_port_in_use_is_refused(monkeypatch):
    with socket.create_server(("", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for name, value in (THREE | {"JAX_PROCESS_ID": "0"}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", address)
        with pytest.raises(InputError, match="cannot be listened at.*give a free port"):
            processes.start()


def test_a_coordinator_that_nobody_reaches_ends_in_one_line():
    script = "from histo_simclr import processes; processes.START = 2; processes.start()"
    # Nothing listens at port 1.
    variables = THREE | {"JAX_COORDINATOR_ADDRESS": "127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", script],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: the processes of this job did not meet within 2 s")
    assert "Fatal Python error" not in done.stderr


def test_alone_errors_pass():
    with pytest.raises(InputError, match="made up"), processes.ending_together():
        raise InputError("made up", where="here", way_out="none")


@pytest.fixture
def two_processes(monkeypatch):
    """As if this were process 0 of 2; what ends it raises SystemExit instead."""
    monkeypatch.setattr(processes.jax, "process_count", lambda: 2)
    monkeypatch.setattr(processes.jax.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(processes.os, "_exit", sys.exit)


@pytest.mark.usefixtures("two_processes")
def test_processes_with_another_configuration_are_refused(monkeypatch):
    def gathered(other):
        return lambda mine: np.stack([mine, mine if other is None else other])

    gather = "process_allgather"
    monkeypatch.setattr(processes.multihost_utils, gather, gathered(None))
    processes.agree({"seed": 0}, what="configuration")
    monkeypatch.setattr(processes.multihost_utils, gather, gathered(np.zeros(8, np.uint32)))
    with pytest.raises(InputError, match="process 1 of the job has another configuration"):
        processes.agree({"seed": 0}, what="configuration")


@pytest.mark.usefixtures("two_processes")
@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (RuntimeError("RESOURCE_EXHAUSTED: nccl buffers of 3 GB"), 2, "set less"),
        (InputError("is bad", where="it", way_out="mend it"), 2, "error: it: is bad; mend it"),
        (RuntimeError("UNAVAILABLE: gloo: connection closed"), processes.LOST, "another process"),
        (ValueError("scatter: barrier of shapes (3,) and (4,)"), 1, "Traceback"),
        (KeyboardInterrupt(), 130, "goes on from the last checkpoint"),
    ],
)
def test_last_words_tell_what_happened(error, code, says, capsys):
    with (
        pytest.raises(SystemExit) as ended,
        processes.ending_together(),
        out_of_memory.naming("set less"),
    ):
        raise error
    assert ended.value.code == code
    assert says in capsys.readouterr().err
