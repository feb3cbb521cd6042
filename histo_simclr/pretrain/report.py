"""What a pretraining run tells its user besides metrics: the first lines, the curves."""

from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from histo_simclr import config as configs
from histo_simclr import pictures, telemetry


def header(
    config: ml_collections.ConfigDict,
    mix: dict[str, Any],
    plan: configs.Plan,
    mesh: jax.sharding.Mesh,
) -> str:
    """First lines of a run: on what, how much, what chance is, how to run the real thing."""
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
        pictures.training_curves(
            np.array([line["step"] for line in lines]),
            {name: np.array([line[name] for line in lines]) for name in names},
            place / "pictures" / "curves.png",
            chance={
                "loss": telemetry.chance_loss(batch_size),
                "contrastive_top1": telemetry.chance_top1(batch_size),
            },
        )
