"""The pretraining program: devices → input → state → restore → loop → final evaluation."""

import contextlib
import functools
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import ml_collections
import optax
from flax import nnx
from jax.experimental import multihost_utils

from histo_simclr import (
    checkpoint,
    fingerprint,
    optimizer,
    out_of_memory,
    processes,
    provenance,
    records,
    state,
    telemetry,
    update,
    workdir,
)
from histo_simclr import config as configs
from histo_simclr import mesh as meshes
from histo_simclr.evaluate import labelled, linear_eval
from histo_simclr.input import device, feed, order, reader
from histo_simclr.model.simclr import SimCLR
from histo_simclr.pretrain import ending, objective, online, preview, questions, report, start, step
from histo_simclr.views import compose

OBJECTIVES = {"nt_xent": objective.nt_xent, "dcl": objective.dcl}


class Program(NamedTuple):
    """What the loop needs: the compiled step, the untrained state, the keys' origin, the start."""

    step: Callable[..., tuple[Any, dict[str, jax.Array]]]
    split: state.Split
    seed_key: jax.Array
    begin: start.Start


def run(config: ml_collections.ConfigDict, place: Path) -> None:
    """Pretrains as the configuration says, resuming from the newest checkpoint in `place`.

    Raises:
      InputError: bad configuration, data or workdir; a loss that is not finite; a full disk.
    """
    with ending.at_sigterm() as end:
        _run(config, place, end)


def _run(config: ml_collections.ConfigDict, place: Path, end: ending.Ending) -> None:
    processes.start()
    mesh = meshes.make()
    config.precision = meshes.compute_dtype(config.precision).name  # what was done, not "auto"
    rows, mix = records.load_mix(config.data.mix)
    configs.check(config, devices=mesh.size, mix_px=rows.px)
    check_evaluation(config.evaluation)
    asked = questions.about(
        rows,
        config.data.mix,
        max_corrupt=config.data.max_corrupt,
        test_split=config.evaluation.test_split,
        **{key: value for key, value in config.online.items() if key != "every"},
    )
    plan = configs.plan(config, len(rows))
    begin = start.find(
        config.init_from,
        place,
        model=config.model.to_dict(),
        mpp=mpp_of(mix),
        **{name: config.views[name] for name in ("px", "mean", "std")},
    )
    identity = configs.identity(config, mix_digest=mix["digest"], init_from=begin.digest)
    processes.agree(identity, what="configuration, mix or weights to start from")
    # What does not decide the weights decides which collectives a process waits in.
    code = [provenance.git_revision(), provenance.package_versions()]
    processes.agree([config.to_json_best_effort(), code], what="command, code or packages")
    first = jax.process_index() == 0
    with workdir.claim(place, identity, writer=first), workdir.naming_disk_trouble(place):
        processes.check_shared(place)
        if done := workdir.finished(place):
            report.say(
                f"{place}: finished at step {done['step']}, nothing to do; to evaluate it on other "
                f"sets: --config=configs/linear_eval.py --config.checkpoint={place}"
            )
            return
        report.say(report.header(config, mix, plan, mesh, asked, begin.notes))
        if first:
            sheet = place / "pictures" / "views.png"
            drawn = {"seed": config.seed, "max_corrupt": config.data.max_corrupt}
            preview.write_views(rows, config.views, sheet, patches=6, pairs=3, **drawn)
        program = build(config, mesh, plan, begin)
        judge = online.Online(
            asked,
            program.split.arrays[0]["encoder"],
            every=config.online.every,
            arch=config.model.arch,
            view={name: config.views[name] for name in ("px", "mean", "std")},
            batch_size=config.batch_size,
            mesh=mesh,
        )
        with contextlib.closing(judge):
            source = origin(config, mix, begin.record)
            whole = train(program, rows, config, plan, mesh, source, place, judge, end)
        if whole:
            end.release()
            report.draw_curves(place, config.batch_size)
            evaluate(config, mesh, place)
            if first:
                summary = {"step": plan.total_steps, "patch_passes": plan.patch_passes}
                workdir.finish(place, summary)


def check_evaluation(evaluation: ml_collections.ConfigDict) -> None:
    """Refuses before the training what the evaluation after it would refuse."""
    linear_eval.check_settings(evaluation, where="config.evaluation")
    for labelled_set in evaluation.records:
        labelled.open_splits(labelled_set, evaluation.train_split, evaluation.test_split)


def recipe(config: ml_collections.ConfigDict, plan: configs.Plan) -> dict[str, Any]:
    """What the configuration decides of the step: arguments of `step.pretrain_step`."""
    similarity_rows = config.compute.similarity_rows
    peak = optimizer.scaled_rate(
        config.optimizer.base_rate, config.batch_size, config.optimizer.scaling
    )
    return {
        "views": functools.partial(
            compose.random_views, **config.views, dtype=meshes.compute_dtype(config.precision)
        ),
        "loss_of": functools.partial(
            OBJECTIVES[config.objective.name],
            temperature=config.objective.temperature,
            similarity_rows=similarity_rows,
        ),
        "rate": optimizer.schedule(
            peak, warmup_steps=plan.warmup_steps, total_steps=plan.total_steps
        ),
        "microbatches": config.compute.microbatches,
        "similarity_rows": similarity_rows,
    }


def build(
    config: ml_collections.ConfigDict,
    mesh: jax.sharding.Mesh,
    plan: configs.Plan,
    begin: start.Start = start.SCRATCH,
) -> Program:
    """Initialised state and compiled step; everything that the recipe decides is bound here."""
    bound = recipe(config, plan)
    split = state.init(
        functools.partial(model, config),
        rule(config, bound["rate"]),
        seed=config.seed,
        sharding=meshes.replicated(mesh),
    )
    advance = functools.partial(step.pretrain_step, graph=split.graph, **bound)
    compiled = update.compile_step(advance, mesh)
    return Program(compiled, split, update.seed_key(config.seed, mesh), begin)


def model(config: ml_collections.ConfigDict, rngs: nnx.Rngs) -> SimCLR:
    """Encoder and projection head."""
    levers = {name: config.compute[name] for name in ("space_to_depth", "remat")}
    dtype = meshes.compute_dtype(config.precision)
    return SimCLR(**config.model, **levers, rngs=rngs, dtype=dtype)


def rule(config: ml_collections.ConfigDict, rate: optax.Schedule) -> optax.GradientTransformation:
    """The optimizer's, at the rate of `recipe`."""
    return optimizer.make(
        config.optimizer.name,
        rate=rate,
        weight_decay=config.optimizer.weight_decay,
        momentum=config.optimizer.momentum,
    )


def train(
    program: Program,
    rows: records.Rows,
    config: ml_collections.ConfigDict,
    plan: configs.Plan,
    mesh: jax.sharding.Mesh,
    source: provenance.Provenance,
    place: Path,
    judge: online.Online,
    end: ending.Ending,
) -> bool:
    """The loop: from the newest checkpoint to the last step, which is saved.

    Returns:
      False when SIGTERM ended the run early (saved, to be resumed), else True.
    """
    saved = checkpoint.Checkpoints(place, keep=config.run.keep, keep_every=config.run.keep_every)
    first, arrays = saved.resume(program.split.arrays)
    if first:
        report.say(f"resumed from step {first} of {place}")
    else:
        arrays = program.begin.into(arrays)
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
        batches_of(rows, config, first, plan.total_steps, mesh, watch) as batches,
        terminated() as stop,
        processes.ending_together(),
        out_of_memory.naming(out_of_memory.LEVERS["pretrain"]),
        jax.transfer_guard("disallow"),
    ):
        if not first and program.begin.arrays:
            told.log_start(judge.start(0, arrays[0]["encoder"]))
        for done in range(first + 1, plan.total_steps + 1):
            patches = batches.next(pending=(window[-1:], judge.dispatched))
            arrays, metrics = program.step(arrays, patches, program.seed_key)
            end.hold()  # compiled, so that there is a step to save
            due = judge.is_due(done)
            answers = judge.start(done, arrays[0]["encoder"]) if due else None
            window.append(metrics)
            if len(window) > update.AHEAD:
                jax.block_until_ready(window[-1 - update.AHEAD])
            last, logs = done == plan.total_steps, due or done % config.run.log_every == 0
            stops = stop(done)
            saves = last or stops or is_due(done, config.run)
            if saves or logs:
                summary = telemetry.summarize(jax.device_get(window), done, saved.latest())
                waited = batches.wait_fraction()
                corrupt = watch.corrupt
                told.log(
                    done, summary, wait_fraction=waited, corrupt_records=corrupt, answers=answers
                )
                window.clear()
                saved.check()
            if saves:
                telemetry.check_finite(state.parts(arrays), done, saved.latest())
                told.flush()  # resumed from here, no line up to here comes again
                features = fingerprint.of_training(arrays[0]["encoder"], source)
                saved.save(done, arrays, source, features=features)
            if done == first + 1:
                jax.block_until_ready(metrics)  # compiled: rates and waits count from here
                told.restart_clock(done)
                batches.wait_fraction()
            if stops and not last:
                saved.wait()
                report.say(f"stopped by SIGTERM, saved step {done}; run the same command to go on")
                return False
    return True


def is_due(done: int, run: ml_collections.ConfigDict) -> bool:
    """Whether a checkpoint is due after step `done`: every few steps, and at the milestones."""
    is_milestone = run.keep_every > 0 and done % run.keep_every == 0
    return is_milestone or done % run.checkpoint_every == 0


def evaluate(config: ml_collections.ConfigDict, mesh: jax.sharding.Mesh, place: Path) -> None:
    """Linear evaluation of the last checkpoint on each labelled set of the configuration."""
    settings = {key: value for key, value in config.evaluation.items() if key != "records"}
    for record_set in map(records.resolve_record_set, config.evaluation.records):
        out = place / "evaluation" / record_set.parent.name
        report.say(f"linear evaluation on {record_set.parent.name}")
        results = linear_eval.evaluate_checkpoint(place, record_set, mesh=mesh, out=out, **settings)
        report.say(linear_eval.format_table(results))


def batches_of(
    rows: records.Rows,
    config: ml_collections.ConfigDict,
    first: int,
    stop: int,
    mesh: jax.sharding.Mesh,
    watch: reader.Watch,
) -> device.Feed:
    """Global batches `first` to `stop - 1`, as the configuration draws them."""
    return feed.global_batches(
        rows,
        functools.partial(
            order.batch_rows, seed=config.seed, n=len(rows), batch_size=config.batch_size
        ),
        start=first,
        stop=stop,
        mesh=mesh,
        max_corrupt=config.data.max_corrupt,
        watch=watch,
        depth=config.run.prefetch,
        cached=config.run.cache_decoded,
    )


def mpp_of(mix: dict[str, Any]) -> tuple[float, ...]:
    """µm/px of the patches of a mix, ascending; 0 where a source does not say."""
    return tuple(sorted({mpp for cohort in mix["cohorts"].values() for mpp in cohort["mpp"]}))


def origin(
    config: ml_collections.ConfigDict, mix: dict[str, Any], init_from: dict[str, Any]
) -> provenance.Provenance:
    """What the run's checkpoints say of themselves; init_from: `start.Start.record`."""
    return provenance.of_run(
        config,
        mpp=mpp_of(mix),
        mix=provenance.mix_summary(mix),
        origin={"kind": "pretrained"} | ({"init_from": init_from} if init_from else {}),
    )


@contextlib.contextmanager
def terminated() -> Iterator[Callable[[int], bool]]:
    """Turns SIGTERM into a question to ask after every step: `stop(step)`.

    Saving is collective, so several processes must stop at the same step. JAX sees to that: from
    its start it catches SIGTERM, tells the other processes, and in the background they agree on a
    step that none of them has reached yet.
    """
    alone, came = jax.process_count() == 1, []
    before = signal.getsignal(signal.SIGTERM)
    if alone:
        signal.signal(signal.SIGTERM, lambda *_: came.append(True))
    try:
        yield (lambda _: bool(came)) if alone else multihost_utils.reached_preemption_sync_point
    finally:
        # JAX's own, which Python cannot put back, would swallow what comes after the last step.
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
