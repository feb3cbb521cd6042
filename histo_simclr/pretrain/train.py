"""The pretraining program: devices → input → state → restore → loop → final evaluation."""

import contextlib
import functools
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from histo_simclr import (
    checkpoint,
    optimizer,
    pictures,
    provenance,
    records,
    state,
    telemetry,
    workdir,
)
from histo_simclr import config as configs
from histo_simclr import mesh as meshes
from histo_simclr.evaluate import linear_eval
from histo_simclr.input import device, order, reader
from histo_simclr.model.simclr import SimCLR
from histo_simclr.pretrain import objective, preview, step
from histo_simclr.views import compose

# Steps that Python may be ahead of the device: enough to hide dispatch, and input wait stays true.
AHEAD = 2
OBJECTIVES = {"nt_xent": objective.nt_xent, "dcl": objective.dcl}


class Program(NamedTuple):
    """What the loop needs: the compiled step, the state to start from, and the keys' origin."""

    step: Callable[..., tuple[Any, dict[str, jax.Array]]]
    split: state.Split
    seed_key: jax.Array


def run(config: ml_collections.ConfigDict, place: Path) -> None:
    """Pretrains as the configuration says, resuming from the newest checkpoint in `place`.

    Raises:
      InputError: bad configuration, data or workdir; a loss that is not finite; a full disk.
    """
    meshes.start()
    mesh = meshes.make()
    rows, mix = records.load_mix(config.data.mix)
    configs.check(config, devices=mesh.size, mix_px=rows.px)
    plan = configs.plan(config, len(rows))
    identity = configs.identity(config, mix_digest=mix["digest"])
    with workdir.claim(place, identity, writer=jax.process_index() == 0):
        if done := workdir.finished(place):
            print(f"{place}: finished at step {done['step']}, nothing to do; results in {place}")
            return
        say(header(config, mix, plan, mesh))
        if jax.process_index() == 0:
            sheet = place / "pictures" / "views.png"
            preview.write_views(rows, config.views, sheet, patches=6, pairs=3, seed=config.seed)
        program = build(config, mesh, plan)
        if train(program, rows, config, plan, mesh, origin(config, mix), place):
            draw_curves(place, config.batch_size)
            evaluate(config, mesh, place)
            workdir.finish(place, {"step": plan.total_steps, "patch_passes": plan.patch_passes})


def recipe(config: ml_collections.ConfigDict, plan: configs.Plan) -> dict[str, Callable]:
    """What the configuration decides of the step: arguments of `step.compile_step`."""
    peak = optimizer.scaled_rate(
        config.optimizer.base_rate, config.batch_size, config.optimizer.scaling
    )
    return {
        "views": functools.partial(
            compose.two_views, **config.views, dtype=compute_dtype(config.precision)
        ),
        "loss_of": functools.partial(
            OBJECTIVES[config.objective.name], temperature=config.objective.temperature
        ),
        "rate": optimizer.schedule(
            peak, warmup_steps=plan.warmup_steps, total_steps=plan.total_steps
        ),
    }


def build(
    config: ml_collections.ConfigDict, mesh: jax.sharding.Mesh, plan: configs.Plan
) -> Program:
    """Initialised state and compiled step; everything that the recipe decides is bound here."""
    bound, dtype = recipe(config, plan), compute_dtype(config.precision)
    split = state.init(
        lambda rngs: SimCLR(**config.model, rngs=rngs, dtype=dtype),
        optimizer.make(
            config.optimizer.name,
            rate=bound["rate"],
            weight_decay=config.optimizer.weight_decay,
            momentum=config.optimizer.momentum,
        ),
        seed=config.seed,
        sharding=meshes.replicated(mesh),
    )
    compiled = step.compile_step(mesh, graph=split.graph, **bound)
    # Views must not share the stream that drew the parameters.
    seed_key = jax.random.fold_in(jax.random.key(config.seed), 1)
    return Program(compiled, split, jax.device_put(seed_key, meshes.replicated(mesh)))


def train(
    program: Program,
    rows: records.Rows,
    config: ml_collections.ConfigDict,
    plan: configs.Plan,
    mesh: jax.sharding.Mesh,
    source: provenance.Provenance,
    place: Path,
) -> bool:
    """The loop: from the newest checkpoint to the last step, which is saved.

    Returns:
      False when SIGTERM ended the run early (saved, to be resumed), else True.
    """
    saved = checkpoint.Checkpoints(place, keep=config.run.keep, keep_every=config.run.keep_every)
    arrays, first = program.split.arrays, saved.latest() or 0
    if first:
        arrays, _ = saved.restore(first, arrays)
        say(f"resumed from step {first} of {place}")
    told = telemetry.Telemetry(
        place,
        start=first,
        total_steps=plan.total_steps,
        batch_size=config.batch_size,
        steps_per_epoch=plan.steps_per_epoch,
        writes=jax.process_index() == 0,
    )
    window: list[dict[str, jax.Array]] = []
    watch = reader.Watch()
    with (
        contextlib.closing(saved),
        contextlib.closing(told),
        feed(rows, config, first, plan.total_steps, mesh, watch) as batches,
        terminated() as stop,
        jax.transfer_guard("disallow"),
    ):
        for done in range(first + 1, plan.total_steps + 1):
            patches = batches.next(pending=window[-1] if window else None)
            arrays, metrics = program.step(arrays, patches, program.seed_key)
            window.append(metrics)
            if len(window) > AHEAD:
                jax.block_until_ready(window[-1 - AHEAD])
            if done == first + 1:
                jax.block_until_ready(metrics)  # compiled: rates and waits count from here
                told.restart_clock(done)
                batches.wait_fraction()
            last, stops = done == plan.total_steps, stop()
            saves = last or stops or done % config.run.checkpoint_every == 0
            if saves or done % config.run.log_every == 0:
                summary = telemetry.summarize(jax.device_get(window), done, saved.latest())
                waited = batches.wait_fraction()
                told.log(done, summary, wait_fraction=waited, corrupt_records=watch.corrupt)
                window.clear()
            if saves:
                saved.save(done, arrays, source)
            if stops and not last:
                saved.wait()
                say(f"stopped by SIGTERM, saved step {done}; run the same command to go on")
                return False
    return True


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


def evaluate(config: ml_collections.ConfigDict, mesh: jax.sharding.Mesh, place: Path) -> None:
    """Linear evaluation of the last checkpoint on each labelled set of the configuration."""
    settings = {key: value for key, value in config.evaluation.items() if key != "records"}
    for labelled in config.evaluation.records:
        out = place / "evaluation" / Path(labelled).name
        say(f"linear evaluation on {labelled}")
        results = linear_eval.evaluate_checkpoint(place, labelled, mesh=mesh, out=out, **settings)
        say(linear_eval.format_table(results))


def feed(
    rows: records.Rows,
    config: ml_collections.ConfigDict,
    first: int,
    stop: int,
    mesh: jax.sharding.Mesh,
    watch: reader.Watch,
) -> device.Feed:
    """Global batches `first` to `stop - 1` on the devices; this process reads its share of each."""

    def my_rows(number: int) -> Any:
        drawn = order.batch_rows(
            number, seed=config.seed, n=len(rows), batch_size=config.batch_size
        )
        return order.host_slice(drawn, jax.process_index(), jax.process_count())

    host_batches = reader.read(
        rows, my_rows, start=first, stop=stop, max_corrupt=config.data.max_corrupt, watch=watch
    )
    return device.Feed(host_batches, meshes.batch_sharding(mesh), depth=config.run.prefetch)


def origin(config: ml_collections.ConfigDict, mix: dict[str, Any]) -> provenance.Provenance:
    """What the run's checkpoints say of themselves."""
    return provenance.Provenance(
        arch=config.model.arch,
        hidden=config.model.hidden,
        out=config.model.out,
        px=config.views.px,
        mean=tuple(config.views.mean),
        std=tuple(config.views.std),
        mpp=tuple(sorted({mpp for cohort in mix["cohorts"].values() for mpp in cohort["mpp"]})),
        mix=provenance.mix_summary(mix),
        config=json.loads(config.to_json_best_effort()),
        versions=provenance.package_versions(),
        revision=provenance.git_revision(),
    )


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
        f"{jax.process_count()} process(es), {compute_dtype(config.precision).name}",
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


@contextlib.contextmanager
def terminated() -> Iterator[Callable[[], bool]]:
    """Turns SIGTERM into a question: `stop()` is True once it came."""
    came = []
    before = signal.signal(signal.SIGTERM, lambda *_: came.append(True))
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGTERM, before)


def compute_dtype(precision: str) -> jnp.dtype:
    """bfloat16 on accelerators, float32 on CPU (slower there in bfloat16), unless named."""
    if precision == "auto":
        precision = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return jnp.dtype(precision)
