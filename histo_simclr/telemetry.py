"""What a run says while it runs: metrics.jsonl, TensorBoard, the progress line, and its alarms."""

import json
import logging
import math
import sys
import time
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from histo_simclr import workdir as workdirs
from histo_simclr.errors import InputError

METRICS = "metrics.jsonl"
# Below this spread of the features relative to their size, all patches look alike to the encoder.
COLLAPSED = 0.01
SLOW_INPUT = 0.05

log = logging.getLogger(__name__)


class Telemetry:
    """Writes one line of metrics every few steps, on process 0 only.

    Args:
      workdir: holds metrics.jsonl and tensorboard/.
      start: step that the run starts or resumes at; lines beyond it are dropped, they come again.
      total_steps: of the run.
      batch_size: patches in the global batch; gives the chance levels.
      steps_per_epoch: for the epoch shown.
      writes: whether this process writes.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        start: int,
        total_steps: int,
        batch_size: int,
        steps_per_epoch: int,
        writes: bool,
    ):
        self._total, self._batch, self._epoch = total_steps, batch_size, steps_per_epoch
        self._writes, self._warned = writes, set()
        self._held: deque[tuple[dict[str, float], dict[str, float], Future | None]] = deque()
        self._answers: dict[str, float] = {}
        self._last_step, self._last_time = start, time.perf_counter()
        if writes:
            _drop_after(workdir / METRICS, start)
            self._file = (workdir / METRICS).open("a", encoding="utf-8")
            self._board = _tensorboard(workdir / "tensorboard")

    def restart_clock(self, step: int) -> None:
        """Rates count from here: after the first step, whose time is mostly compilation."""
        self._last_step, self._last_time = step, time.perf_counter()

    def log(
        self,
        step: int,
        metrics: dict[str, float],
        *,
        wait_fraction: float,
        corrupt_records: int,
        answers: Future | None = None,
    ) -> None:
        """Records the metrics of `step`, warns of collapse and slow input, shows progress.

        A line whose answers are not there yet is held back, and those behind it: the file has the
        same lines in the same order however long they take.

        Args:
          step: number of the last step done.
          metrics: of `summarize`.
          wait_fraction: share of the time since the last call that the device waited for input.
          corrupt_records: different damaged records that this process has met.
          answers: of `pretrain.online` about this step; names begin with online_.
        """
        now = time.perf_counter()
        seconds = (now - self._last_time) / max(step - self._last_step, 1)
        self._last_step, self._last_time = step, now
        rate = self._batch / max(seconds, 1e-9)
        speed = {"images_per_s": rate, "input_wait_fraction": wait_fraction}
        speed |= {"corrupt_records": corrupt_records}
        self._warn(step, metrics, wait_fraction)
        if not self._writes:
            return
        line = {"step": step, "epoch": round(step / self._epoch, 4)} | metrics | speed
        scalars = {f"train/{name}": value for name, value in metrics.items()}
        scalars |= {f"perf/{name}": value for name, value in speed.items()}
        self._held.append((line, scalars, answers))
        while self._held and (self._held[0][-1] is None or self._held[0][-1].done()):
            self._write(*self._held.popleft())
        print(self.progress(step, metrics, speed, seconds), file=sys.stderr, flush=True)

    def log_start(self, answers: Future | None) -> None:
        """Records what the weights that a run starts from answer, as the line of step 0.

        Args:
          answers: of `pretrain.online` about them; None where nothing is asked.
        """
        if self._writes and answers is not None and answers.result():
            self._write({"step": 0, "epoch": 0.0}, {}, answers)
            print(f"step 0/{self._total} (as it starts){self._told()}", file=sys.stderr, flush=True)

    def flush(self) -> None:
        """Waits for the answers about all steps so far, and writes their lines."""
        while self._held:
            self._write(*self._held.popleft())

    def progress(
        self, step: int, metrics: dict[str, float], speed: dict[str, float], seconds: float
    ) -> str:
        """The progress line: loss and top-1 beside their chance levels, rate, wait, time left.

        Between them the newest answers that there are, beside those of the untrained encoder.
        """
        left = int((self._total - step) * seconds)
        return (
            f"step {step}/{self._total} (epoch {step / self._epoch:.1f})"
            f"  loss {metrics['loss']:.3f} (chance {chance_loss(self._batch):.3f})"
            f"  top-1 {metrics['contrastive_top1']:.1%} (chance {chance_top1(self._batch):.1%})"
            f"{self._told()}"
            f"  {speed['images_per_s']:,.1f} patches/s"
            f"  input wait {speed['input_wait_fraction']:.1%}"
            f"  ETA {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"
        )

    def close(self) -> None:
        """Flushes everything to disk."""
        if self._writes:
            self.flush()
            self._file.close()
            self._board.close()

    def _write(
        self, line: dict[str, float], scalars: dict[str, float], answers: Future | None
    ) -> None:
        found = answers.result() if answers else {}
        self._answers = found or self._answers
        self._file.write(json.dumps(line | found) + "\n")
        self._file.flush()
        scalars |= {name.replace("_", "/", 1): value for name, value in found.items()}
        self._board.write_scalars(line["step"], scalars)

    def _told(self) -> str:
        if "online_knn" not in self._answers:
            return ""
        knn, probe, *floor = (
            f"{self._answers[f'online_{name}']:.1%}"
            for name in ("knn", "probe", "knn_untrained", "probe_untrained", "chance")
        )
        return f"  kNN {knn}, probe {probe} (untrained {floor[0]}, {floor[1]}; chance {floor[2]})"

    def _warn(self, step: int, metrics: dict[str, float], wait_fraction: float) -> None:
        if metrics["feature_std"] < COLLAPSED and "collapse" not in self._warned:
            self._warned.add("collapse")
            log.warning(
                "collapse at step %d: relative spread of the features is %.1e; lower the learning "
                "rate or check the views (histo-simclr views)",
                step,
                metrics["feature_std"],
            )
        if wait_fraction > SLOW_INPUT and "input" not in self._warned:
            self._warned.add("input")
            log.warning(
                "the device waited for input %.0f %% of the time up to step %d; reading or "
                "decoding is the limit: more CPU cores, a local disk, or patches stored at the "
                "trained size help",
                100 * wait_fraction,
                step,
            )


def summarize(
    window: list[dict[str, np.ndarray]], last_step: int, last_checkpoint: int | None
) -> dict[str, float]:
    """Metrics of consecutive steps as one line: their means; the learning rate is the last one's.

    Raises:
      InputError: a loss or gradient is not finite; names its step and the last good checkpoint.
    """
    first_step = last_step - len(window) + 1
    for step, metrics in enumerate(window, start=first_step):
        # The gradient too: it has already made the parameters that are about to be saved.
        for name in ("loss", "gradient_norm"):
            if not math.isfinite(metrics[name]):
                said = f"{name} is {float(metrics[name])} at step {step}"
                raise _not_finite(said, last_checkpoint)
    means = {name: float(np.mean([m[name] for m in window])) for name in window[0]}
    return means | {"learning_rate": float(window[-1]["learning_rate"])}


def check_finite(parts: dict[str, Any], step: int, last_checkpoint: int | None) -> None:
    """InputError where an array that is about to be saved is not finite; says as `summarize`.

    Loss and gradient tell of the parameters before the step, not of those that it made.

    Args:
      parts: trees of arrays by name (`state.parts`).
      step: that made them.
      last_checkpoint: step of the last good one.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(parts):
        values = jax.device_get(leaf)
        if jnp.issubdtype(values.dtype, jnp.floating) and not np.isfinite(values).all():
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise _not_finite(f"{name} is not finite after step {step}", last_checkpoint)


def _not_finite(said: str, last_checkpoint: int | None) -> InputError:
    good = "none" if last_checkpoint is None else f"step {last_checkpoint}"
    return InputError(
        f"{said}; last good checkpoint: {good}",
        where="training",
        way_out="take a new --workdir and a lower --config.optimizer.base_rate",
    )


def chance_loss(batch_size: int) -> float:
    """NT-Xent when all projections coincide: ln(2B - 1)."""
    return math.log(2 * batch_size - 1)


def chance_top1(batch_size: int) -> float:
    """Contrastive top-1 of a random choice among the other 2B - 1 views."""
    return 1 / (2 * batch_size - 1)


def read_metrics(workdir: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl; a torn last line is left out."""
    lines = []
    for line in (workdir / METRICS).read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


def _drop_after(file: Path, step: int) -> None:
    if not file.is_file():
        return
    # A run that begins anew writes its line of step 0 anew.
    kept = [line for line in read_metrics(file.parent) if line["step"] <= step] if step else []
    workdirs.write_text(file, "".join(json.dumps(line) + "\n" for line in kept))


def _tensorboard(folder: Path):
    from clu import metric_writers  # imports TensorFlow

    return metric_writers.create_default_writer(str(folder))
