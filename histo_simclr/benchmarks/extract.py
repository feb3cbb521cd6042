"""`histo-simclr bench extract`: does reading keep up with the encoder?"""

import argparse
import statistics
import time
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from histo_simclr import mesh as meshes
from histo_simclr import records
from histo_simclr.benchmarks import clock, programs, rooflines, settings, trace
from histo_simclr.benchmarks.compilations import Compilations
from histo_simclr.encode import encoding
from histo_simclr.evaluate import extract
from histo_simclr.model.resnet import ResNet

ROUNDS = 5


def clocked(config: Any, mesh: Mesh, args: argparse.Namespace) -> clock.Found:
    """Times features of rows against the encoder's program alone, in turn.

    Both do the same batches: --steps of them a round. The encoder alone gets patches that lie on
    the device. The share is the median over rounds, so that a slow second of the machine, which
    both halves of its round share, does not count.
    """
    rows = settings.rows(args, config)
    encoder = ResNet(config.model.arch, rngs=nnx.Rngs(0))
    encoder.eval()
    looks = {"px": config.views.px, "mean": (0.5,) * 3, "std": (0.5,) * 3, "mesh": mesh}
    encode = encoding(encoder, **looks)
    patches = jax.device_put(
        np.random.default_rng(0).integers(0, 256, (config.batch_size, rows.px, rows.px, 3), "u1"),
        meshes.batch_sharding(mesh),
    )
    program = programs.compiled(encode.func, *encode.args, patches)

    def alone(steps: int) -> float:
        start, done = time.perf_counter(), []
        for _ in range(steps):
            done.append(encode(patches))
            # One batch behind, as where features are wanted.
            jax.block_until_ready(done[-2:-1])
        np.concatenate([np.asarray(batch) for batch in done])
        return time.perf_counter() - start

    def whole(steps: int) -> float:
        # Small sets are read again and again.
        index = np.arange(steps * config.batch_size) % len(rows)
        places = (each[index] for each in (rows.shard, rows.offset, rows.length, rows.crc))
        chosen = records.Rows(rows.shards, *places, rows.px)
        start = time.perf_counter()
        extract.features(encoder, chosen, batch_size=config.batch_size, **looks)
        return time.perf_counter() - start

    alone(args.warmup)
    whole(args.warmup)
    with Compilations() as compilations:
        times = [(alone(args.steps), whole(args.steps)) for _ in range(ROUNDS)]
    patches_a_round = args.steps * config.batch_size
    forward_s, extract_s = (statistics.median(each) for each in zip(*times, strict=True))
    traced, trace_rows = trace.record((whole(args.steps) for _ in range(1)), args.profile, steps=1)
    found = {
        "images_per_s": round(patches_a_round / extract_s, 3),
        "forward_images_per_s": round(patches_a_round / forward_s, 3),
        "share_of_forward": round(statistics.median(a / w for a, w in times), 3),
        "steps": args.steps,
        "rounds": ROUNDS,
        "compile_s": round(program.seconds, 2),
        "compile_cache": program.cache,
        "compilations": compilations.count,
    }
    texts = [
        ("images/s", "{images_per_s:,.1f}", "from records to features, median of {rounds} rounds"),
        ("  by the encoder alone", "{forward_images_per_s:,.1f}", "of {steps} batches each"),
        ("  share", "{share_of_forward:.2f}", "median over the rounds"),
        ("compiled in", "{compile_s:.1f} s", "compile cache: {compile_cache}"),
        ("compiled meanwhile", "{compilations}", "programs; should be 0"),
    ]
    shares, share_rows = rooflines.measured(
        program.call, None, rate=found["forward_images_per_s"], batch=config.batch_size, mesh=mesh
    )
    lines = [tuple(each.format(**found) for each in row) for row in texts]
    return found | shares | traced, lines + share_rows + trace_rows
