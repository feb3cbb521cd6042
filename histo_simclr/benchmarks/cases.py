"""The cases `input`, `views`, `step` and `cost`: each times or counts a part of a run."""

import argparse
import contextlib
import itertools
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from jax.sharding import Mesh

from histo_simclr.benchmarks import clock, programs, rooflines, settings, trace
from histo_simclr.input import reader


def read(config: Any, mesh: Mesh, args: argparse.Namespace, *, since: float) -> clock.Found:
    """Records → read, checked, decoded → device → two views, by a run's own input."""
    from histo_simclr.pretrain import train

    rows = settings.rows(args, config)
    views = programs.views(config, mesh, rows.px)
    start = time.perf_counter()
    # Without end: reading ahead must go on to the last timed step.
    feed = train.batches_of(rows, config, 0, sys.maxsize, mesh, reader.Watch())
    fill_s = time.perf_counter() - start

    def outputs() -> Iterator[Any]:
        done = None
        for number in itertools.count():
            done = views.call(np.uint32(number), feed.next(pending=done))
            yield done

    with contextlib.closing(feed):
        found, lines = _times(outputs(), views, config, args, since, reads=True)
    shares, share_lines = rooflines.measured(
        views.call, None, rate=found["images_per_s"], batch=config.batch_size, mesh=mesh
    )
    found |= shares | {"prefetch": config.run.prefetch, "cache_decoded": config.run.cache_decoded}
    if config.run.cache_decoded:
        found["cache_fill_s"] = round(fill_s, 2)
        lines.append(("decoded into memory in", f"{fill_s:.1f} s", f"{len(rows):,} patches"))
    return found, lines + share_lines


def views(config: Any, mesh: Mesh, args: argparse.Namespace, *, since: float) -> clock.Found:
    """Views alone, on one batch of random bytes."""
    side = config.data.px
    program = programs.views(config, mesh, side)
    patches = programs.noise((config.batch_size, side, side, 3), "uint8", mesh)
    outputs = (program.call(np.uint32(number), patches) for number in itertools.count())
    found, lines = _times(outputs, program, config, args, since)
    shares, share_lines = rooflines.measured(
        program.call, None, rate=found["images_per_s"], batch=config.batch_size, mesh=mesh
    )
    return found | shares, lines + share_lines


def step(config: Any, mesh: Mesh, args: argparse.Namespace, *, since: float) -> clock.Found:
    """Pretraining steps on one batch of noise that lies on the device."""
    variant = "ready" if args.ready_views else "whole"
    program, training, batch = programs.training(config, mesh, config.data.px, variant=variant)
    patches, losses = programs.noise(batch.shape, batch.dtype, mesh), []

    def outputs() -> Iterator[Any]:
        for metrics in training.steps(lambda _: patches, ahead=0):
            losses.append(metrics["loss"])
            yield metrics

    found, lines = _times(outputs(), program, config, args, since)
    found |= {"loss_first": float(losses[0]), "loss_last": float(losses[-1])}
    found["views"] = "ready" if args.ready_views else "made in the step"
    lines.append(("views", found["views"], ""))
    model = rooflines.by_hand(config.model.arch, config.views.px, config.precision)
    shares, share_lines = rooflines.measured(
        program.call, model, rate=found["images_per_s"], batch=config.batch_size, mesh=mesh
    )
    return found | shares, lines + share_lines


def cost(config: Any, mesh: Mesh, args: argparse.Namespace) -> clock.Found:
    """What the compiler counts of the whole step, and of the step on ready views; runs nothing."""
    program, variants = programs.steps_of(config, mesh, config.data.px)
    found, lines = {}, []
    for name, (jitted, batch) in variants.items():
        compiled = programs.compiled(jitted, program.split.arrays, batch, program.seed_key)
        counted = rooflines.by_compiler(compiled.call, batch=config.batch_size, devices=mesh.size)
        found[name] = counted | {"compile_s": round(compiled.seconds, 2)}
        lines += [(f"step, {name} views" if name == "ready" else "whole step", "", "")]
        lines += rooflines.counted_rows(counted)
        lines += [("  compiled in", f"{compiled.seconds:.1f} s", "")]
    for what in ("flops", "bytes"):
        whole, ready = (found[name][f"{what}_per_image"] for name in ("whole", "ready"))
        found[f"views_share_{what}"] = 1 - ready / whole
        lines.append((f"views' share of the {what}", f"{1 - ready / whole:.1%}", ""))
    model = rooflines.by_hand(config.model.arch, config.views.px, config.precision)
    found |= {"hand_flops_per_image": model.flops, "hand_bytes_per_image": model.bytes}
    by_hand = f"{model.flops:.4g} FLOPs, {model.bytes:.4g} bytes"
    return found, [*lines, ("an image, by hand", by_hand, "convolutions; activations")]


def _times(
    outputs: Iterator[Any],
    program: programs.Compiled,
    config: Any,
    args: argparse.Namespace,
    since: float,
    *,
    reads: bool = False,
) -> clock.Found:
    """Warm-up, timed steps, trace."""
    first, first_lines = clock.warm(outputs, args.warmup, program=program, since=since)
    found, lines = clock.timed(outputs, batch=config.batch_size, steps=args.steps, reads=reads)
    traced, trace_lines = trace.record(outputs, args.profile)
    return found | first | traced, lines + first_lines + trace_lines
