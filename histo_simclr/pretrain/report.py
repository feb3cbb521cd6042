"""What a pretraining run tells its user besides metrics: the first lines, the curves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from histo_simclr import config as configs
from histo_simclr import pictures, telemetry
from histo_simclr.pretrain import questions


def header(
    config: ml_collections.ConfigDict,
    mix: dict[str, Any],
    plan: configs.Plan,
    mesh: jax.sharding.Mesh,
    asked: Sequence[questions.Question],
    start: Sequence[str] = (),
) -> str:
    """First lines of a run: on what, how much, what chance is, how to run the real thing.

    Args:
      config, mix, plan, mesh: of the run.
      asked: of its features while it trains.
      start: what it starts from, sentences; none: from scratch.
    """
    cohorts = mix["cohorts"].values()
    organs, stains = (
        ", ".join(sorted({cohort[field] for cohort in cohorts} - {""}))
        for field in ("organ", "stain")
    )
    chance = telemetry.chance_loss(config.batch_size)
    lines = [
        f"SimCLR pretraining of {config.model.arch} on {config.data.mix}",
        f"  data      {mix['size']:,} unlabelled patches of {mix['px']} px from {len(cohorts)} "
        f"cohorts; organs: {organs}; stains: {stains}",
        f"  scale     {config.epochs:g} epochs = {plan.total_steps:,} steps of {config.batch_size} "
        f"= {plan.patch_passes:,} patch passes (the paper: 400,000 patches x 1000 epochs)",
        f"  chance    loss ln(2 x {config.batch_size} - 1) = {chance:.3f}, "
        f"top-1 {telemetry.chance_top1(config.batch_size):.2%}",
        f"  machine   {mesh.size} {mesh.devices.flat[0].device_kind} device(s) in "
        f"{jax.process_count()} process(es), {config.precision}",
    ]
    lines += [f"  start     {each}" for each in start]
    if asked:
        told = "; ".join(each.describe() for each in asked)
        lines.append(f"  online    every {config.online.every:,} steps: {told}")
    if config.note:
        lines.append(f"  note      {config.note}")
    lines.append(
        "  real data histo-simclr prepare …, histo-simclr mix …, then "
        "--config=configs/resnet18_mix.py:tenpercent --config.data.mix=DIR (README, Real data)"
    )
    return "\n".join(lines)


def say(text: str) -> None:
    """Prints on the first process only."""
    if jax.process_index() == 0:
        print(text, flush=True)


def draw_curves(place: Path, batch_size: int) -> None:
    """pictures/curves.png from metrics.jsonl, with the chance levels."""
    if jax.process_index() == 0:
        lines = telemetry.read_metrics(place)
        names = ("loss", "contrastive_top1", "alignment", "uniformity", "feature_std")
        names += ("gradient_norm", "learning_rate", "images_per_s", "input_wait_fraction")
        # The constants beside the online figures: from the newest line that has them.
        known = {name: value for line in lines for name, value in line.items()}
        answered = [name for name in questions.CHANCE if name in known]
        chance = {
            "loss": telemetry.chance_loss(batch_size),
            "contrastive_top1": telemetry.chance_top1(batch_size),
        }
        chance |= {name: known[questions.CHANCE[name]] for name in answered}
        pictures.training_curves(
            np.array([line["step"] for line in lines]),
            {
                name: np.array([line.get(name, np.nan) for line in lines])
                for name in (*names, *answered)
            },
            place / "pictures" / "curves.png",
            chance=chance,
            untrained={
                name: known[f"{name}_untrained"]
                for name in answered
                if f"{name}_untrained" in known
            },
        )
