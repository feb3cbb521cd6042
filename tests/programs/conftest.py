"""Programs in a subprocess, at a size that two cores finish in seconds."""

import json
import os
import socket
import subprocess
import sys

import pytest

# 72 px: the smallest size at which XLA's CPU convolutions of the last stage stay fast.
SMALL = (
    "--config.batch_size=8",
    "--config.views.px=72",
    "--config.run.log_every=2",
    "--config.run.checkpoint_every=2",
)

# Flag that asks for it → flags that do without, where a test does not ask.
WITHOUT = {
    "evaluation": ("--config.evaluation.records=()",),
    "online": ("--config.online.records=", "--config.online.mix_patches=0"),
}


class Program:
    """Starts `python main.py` as a user would, from the repository root; or another script."""

    def __init__(self, root):
        self._root = root

    def start(
        self, *arguments, devices: int = 1, environment=None, script="main.py"
    ) -> subprocess.Popen:
        asked = f"--xla_force_host_platform_device_count={devices}"
        flags = f"{os.environ.get('XLA_FLAGS', '')} {asked}"
        return subprocess.Popen(
            [sys.executable, str(script), *map(str, arguments)],
            cwd=self._root,
            env=os.environ | {"XLA_FLAGS": flags} | (environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def start_job(
        self, *arguments, processes: int, devices: int = 1, script="main.py", last=()
    ) -> list[subprocess.Popen]:
        """Several processes on loopback, `devices` each, which a launcher's variables announce.

        `last` is what the last of them is told besides.
        """
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        job = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": str(processes)}
        return [
            self.start(
                *arguments,
                *(last if number == processes - 1 else ()),
                devices=devices,
                environment=job | {"JAX_PROCESS_ID": str(number)},
                script=script,
            )
            for number in range(processes)
        ]

    def run(self, *arguments, devices: int = 1, environment=None) -> subprocess.CompletedProcess:
        process = self.start(*arguments, devices=devices, environment=environment)
        out, err = process.communicate(timeout=900)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    @staticmethod
    def has_logged(workdir) -> bool:
        """Whether a whole line of metrics stands there."""
        metrics = workdir / "metrics.jsonl"
        return metrics.is_file() and "\n" in metrics.read_text()


@pytest.fixture(scope="session")
def program(request) -> Program:
    return Program(request.config.rootpath)


@pytest.fixture(scope="session")
def pretrain_arguments(request):
    """Arguments of a pretraining run of a given number of steps on the embedded mix."""

    def arguments(workdir, *, steps: int, extra=()):
        # The mix has more than `steps` batches, so a share of an epoch is that many steps.
        mix = request.config.rootpath / "data/sample/mix/mix.json"
        epochs = steps / (json.loads(mix.read_text())["size"] // 8)
        return (
            "--config=configs/resnet18_mix.py",
            f"--workdir={workdir}",
            *SMALL,
            f"--config.epochs={epochs!r}",
            f"--config.warmup_epochs={epochs / 4!r}",
            *(
                flag
                for name, flags in WITHOUT.items()
                for flag in flags
                if not any(name in asked for asked in extra)
            ),
            *extra,
        )

    return arguments
