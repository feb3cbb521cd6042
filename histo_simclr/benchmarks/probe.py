"""`histo-simclr bench probe`: heads on made-up features, beside scikit-learn's in the same run."""

import argparse
import contextlib
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from histo_simclr.benchmarks import probe_peer, programs, rooflines, trace
from histo_simclr.benchmarks.clock import Found
from histo_simclr.benchmarks.compilations import Compilations
from histo_simclr.errors import InputError
from histo_simclr.evaluate import heads, knn, probe

SIZES = {
    "examples": (100_000, "training examples"),
    "queries": (7_000, "test examples of the nearest neighbors"),
    "dimensions": (512, "of the features"),
    "classes": (9, "number of classes"),
    "strengths": (12, "values of C from 1e-5 to 1"),
    "folds": (5, "of the cross-validation"),
    "neighbors": (200, "k"),
    "rounds": (3, "times that each of ours is timed; the median counts"),
}
WARM_UP_QUERIES = 100


def add_arguments(case: argparse.ArgumentParser) -> None:
    """Sizes, and how much of it scikit-learn does too."""
    for name, (default, meaning) in SIZES.items():
        case.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} ({default})")
    case.add_argument(
        "--peer-folds",
        type=int,
        default=1,
        help="folds that scikit-learn fits too, its time then counted for all (1); 0: none",
    )
    case.add_argument(
        "--peer-tolerance",
        type=float,
        default=1e-6,
        help="scikit-learn's tol (%(default)s; its own 1e-4 stops above a loss equal to 1e-6)",
    )


def clocked(args: argparse.Namespace) -> Found:
    """Times the neighbors, then the probe, then scikit-learn's, which is fitted once.

    Seconds are the clock's; CPU seconds of all cores stand beside them, because other work on the
    machine changes the first more. Both programs get standardized features, float32; scikit-learn
    starts each strength where the last one ended, as its LogisticRegressionCV does.
    """
    for name in SIZES:
        if getattr(args, name) < 1:
            raise InputError("too few", where=f"--{name}", way_out="give 1 or more")
    if args.folds < 2 or not 0 <= args.peer_folds <= args.folds or args.classes < 2:
        raise InputError(
            f"{args.peer_folds} of {args.folds} folds, {args.classes} classes",
            where="--peer-folds, --folds, --classes",
            way_out="give two folds and classes or more, and no more peer folds than folds",
        )
    features, labels, queries = _made_up(args)
    parts = _parts(labels, args)
    strengths = tuple(np.logspace(-5, 0, args.strengths).tolist())
    measured = {"mode": "probe"} | {name: getattr(args, name) for name in SIZES}
    found, rows = _neighbors(features, labels, queries, args)
    measured |= found
    solved, found, more = _probe(features, labels, parts, strengths, args)
    measured |= found
    rows += more
    if args.peer_folds:
        found, more = probe_peer.clocked(features, labels, parts, strengths, solved, args)
        measured |= found
        for ratio, key in (("ratio", "s"), ("ratio_cpu", "cpu_s")):
            measured[ratio] = round(measured[f"peer_{key}"] / measured[f"probe_{key}"], 3)
        rows += [*more, ("  ratio", "{ratio:.2f}", "{ratio_cpu:.2f} in CPU time")]
    return measured, [tuple(each.format(**measured) for each in row) for row in rows]


def forget_peak() -> bool:
    """Has Linux count the peak of resident memory anew; whether it can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_rss_mib() -> float:
    """Largest resident memory of this process so far, or since `forget_peak`."""
    status = Path("/proc/self/status")
    if status.is_file():
        peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"))
        return int(peak[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss is in KiB, on macOS in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _made_up(args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features as an encoder's: correlated, rectified, classes that overlap; some labels wrong."""
    rng = np.random.default_rng(0)
    spread = np.arange(1, args.dimensions + 1) ** -0.5
    centers = 0.12 * rng.normal(size=(args.classes, args.dimensions)) * spread
    mixing = rng.normal(size=(args.dimensions, args.dimensions)) / args.dimensions**0.5
    labels = np.arange(args.examples + args.queries) % args.classes
    latent = rng.normal(size=(len(labels), args.dimensions)) * spread + centers[labels]
    features = np.maximum(latent @ mixing, -0.1).astype(np.float32)
    wrong = rng.random(len(labels)) < 0.05
    labels[wrong] = rng.integers(0, args.classes, wrong.sum())
    return features[: args.examples], labels[: args.examples], features[args.examples :]


def _parts(labels: np.ndarray, args: argparse.Namespace) -> np.ndarray:
    """(folds, examples) booleans: what each fold fits; a fold leaves out as much of each class."""
    fold = np.arange(args.examples) // args.classes % args.folds
    parts = fold[None] != np.arange(args.folds)[:, None]
    if any(len(np.unique(labels[members])) < args.classes for members in parts):
        raise InputError(
            f"{args.examples} are too few for all {args.classes} classes in each of {args.folds} "
            "folds",
            where="--examples",
            way_out="give more examples, or fewer --classes",
        )
    return parts


def _timed(call: Callable[[], Any], rounds: int) -> tuple[Any, float, float]:
    """What the call returns; the medians of its seconds and CPU seconds."""
    times = []
    for _ in range(rounds):
        start, cpu = time.perf_counter(), time.process_time()
        result = call()
        times.append((time.perf_counter() - start, time.process_time() - cpu))
    return result, *map(statistics.median, zip(*times, strict=True))


def _neighbors(features, labels, queries, args) -> Found:
    def votes(asked: np.ndarray) -> np.ndarray:
        return knn.predict(
            features,
            asked,
            labels=labels,
            num_classes=args.classes,
            neighbors=(args.neighbors,),
            temperature=knn.TEMPERATURE,
        )

    votes(queries[:WARM_UP_QUERIES])
    # Making the features up took more memory than they take.
    forget_peak()
    before = peak_rss_mib()
    _, seconds, _ = _timed(lambda: votes(queries), args.rounds)
    products = args.examples * args.queries
    return {
        "knn_s": seconds,
        "knn_flops": 2 * products * args.dimensions,
        "knn_gflops_per_s": round(2 * products * args.dimensions / seconds / 1e9, 3),
        "knn_rss_mib": round(peak_rss_mib() - before),
        "knn_matrix_mib": round(4 * products / 2**20),
    }, [
        (
            "neighbors",
            "{knn_s:.2f} s",
            "{examples:,} x {queries:,} x {dimensions}, k = {neighbors}; median of {rounds}",
        ),
        ("  products", "{knn_gflops_per_s:,.1f} GFLOP/s", "{knn_flops:.3g} FLOPs, on the host"),
        ("  memory", "{knn_rss_mib:,} MiB", "more; the matrix alone has {knn_matrix_mib:,}"),
    ]


def _probe(features, labels, parts, strengths, args) -> tuple[heads.Heads, *Found]:
    arguments = heads.on_device(features, labels, parts, strengths)
    stop = (probe.TOLERANCE, probe.MAX_ITERATIONS)
    static = {"num_classes": args.classes, "standardize": True}
    program = programs.compiled(heads.solve_folds, *arguments, stop, **static)

    def fit(most: int = probe.MAX_ITERATIONS) -> heads.Heads:
        solved = heads.fit_linear(
            features,
            labels,
            parts,
            strengths=strengths,
            tolerance=probe.TOLERANCE,
            max_iterations=most,
            **static,
        )
        return jax.tree.map(np.asarray, solved)

    # A limit of 0 runs the same program and stops before its first step.
    with contextlib.suppress(heads.NotConverged):
        fit(0)
    with Compilations() as compilations:
        solved, seconds, cpu_seconds = _timed(fit, args.rounds)
    traced, trace_rows = trace.record((fit() for _ in range(1)), args.profile, steps=1)
    counted = rooflines.by_compiler(program.call, batch=1, devices=1, unit="fit")
    shares, share_rows = rooflines.shares(
        None,  # most of the work is a loop of a length that the compiler does not know
        _by_hand(solved.iterations, args),
        rate=1 / seconds,
        devices=1,
        kind=jax.devices()[0].device_kind,
        unit="fit",
    )
    found = {
        "probe_s": seconds,
        "probe_cpu_s": cpu_seconds,
        "compile_s": round(program.seconds, 2),
        "compile_cache": program.cache,
        "compilations": compilations.count,
        "iterations": int(solved.iterations.max()),
    }
    rows = [
        (
            "probe",
            "{probe_s:.2f} s",
            "{classes} classes, {strengths} strengths x {folds} folds; median of {rounds}",
        ),
        ("  CPU time", "{probe_cpu_s:.2f} s", "{iterations} iterations at most"),
        ("  compiled in", "{compile_s:.1f} s", "compile cache: {compile_cache}"),
        ("  compiled meanwhile", "{compilations}", "programs; should be 0"),
        *rooflines.counted_rows(counted, unit="fit"),
        (
            "per fit, by hand",
            "{hand_flops_per_fit:.4g} FLOPs, {hand_bytes_per_fit:.4g} bytes",
            "of all steps; the compiler counts one",
        ),
    ]
    return solved, found | counted | shares | traced, rows + share_rows + trace_rows


def _by_hand(iterations: np.ndarray, args: argparse.Namespace) -> rooflines.Work:
    """Of products with the features: for each fold two of D columns, then three a step of L-BFGS.

    Bytes are those of the features, float32, which all strengths of a fold read together.
    """
    features = args.examples * args.dimensions
    steps = 6 * args.classes * int(iterations.sum())
    reads = 4 * args.folds + 3 * int(iterations.max(1).sum())
    return rooflines.Work(
        flops=features * (4 * args.dimensions * args.folds + steps), bytes=4 * features * reads
    )
