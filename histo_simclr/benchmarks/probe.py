"""`histo-simclr bench probe`: heads on made-up features, beside scikit-learn's in the same run."""

import argparse
import re
import resource
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from histo_simclr.benchmarks.clock import Found
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
}


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
    """Times the neighbors, then the probe, then scikit-learn's.

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
    fold = np.arange(args.examples) % args.folds
    parts = fold[None] != np.arange(args.folds)[:, None]
    strengths = tuple(np.logspace(-5, 0, args.strengths).tolist())
    measured = {"mode": "probe"} | {name: getattr(args, name) for name in SIZES}
    measured |= _neighbors(features, labels, queries, args)
    solved, found = _probe(features, labels, parts, strengths, args)
    measured |= found
    texts = [
        (
            "neighbors",
            "{knn_s:.1f} s",
            "{examples:,} x {queries:,} x {dimensions}, k = {neighbors}",
        ),
        ("  memory", "{knn_rss_mib:,} MiB", "more; the matrix alone has {knn_matrix_mib:,}"),
        ("probe", "{probe_s:.1f} s", "{classes} classes, {strengths} strengths x {folds} folds"),
        ("  CPU time", "{probe_cpu_s:.1f} s", "{iterations} iterations at most"),
        ("  compiled in", "{compile_s:.1f} s", ""),
    ]
    if args.peer_folds:
        measured |= _peer(features, labels, parts[: args.peer_folds], strengths, solved, args)
        measured["ratio"] = round(measured["peer_s"] / measured["probe_s"], 3)
        measured["ratio_cpu"] = round(measured["peer_cpu_s"] / measured["probe_cpu_s"], 3)
        texts += [
            (
                "scikit-learn {peer_version}",
                "{peer_s:.1f} s",
                "{peer_folds} of {folds} folds fitted",
            ),
            ("  CPU time", "{peer_cpu_s:.1f} s", "tol {peer_tolerance:g}"),
            ("  ratio", "{ratio:.2f}", "{ratio_cpu:.2f} in CPU time"),
            ("  loss above ours", "{loss_above_most:.1e}", "at most; least {loss_above_least:.1e}"),
        ]
    return measured, [tuple(each.format(**measured) for each in row) for row in texts]


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


def _neighbors(features, labels, queries, args) -> dict[str, Any]:
    # Making the features up took more memory than they take.
    forget_peak()
    before, start = peak_rss_mib(), time.perf_counter()
    knn.predict(
        features,
        queries,
        labels=labels,
        num_classes=args.classes,
        neighbors=(args.neighbors,),
        temperature=knn.TEMPERATURE,
    )
    return {
        "knn_s": round(time.perf_counter() - start, 4),
        "knn_rss_mib": round(peak_rss_mib() - before),
        "knn_matrix_mib": round(4 * args.examples * args.queries / 2**20),
    }


def _probe(features, labels, parts, strengths, args) -> tuple[heads.Heads, dict[str, Any]]:
    settings = {
        "num_classes": args.classes,
        "strengths": strengths,
        "standardize": True,
        "tolerance": probe.TOLERANCE,
    }
    # A limit of 0 compiles the same program and stops before its first step.
    start = time.perf_counter()
    try:
        heads.fit_linear(features, labels, parts, max_iterations=0, **settings)
    except heads.NotConverged:
        compile_s = time.perf_counter() - start
    start, cpu = time.perf_counter(), time.process_time()
    solved = heads.fit_linear(
        features, labels, parts, max_iterations=probe.MAX_ITERATIONS, **settings
    )
    solved = jax.tree.map(np.asarray, solved)
    return solved, {
        "probe_s": round(time.perf_counter() - start, 2),
        "probe_cpu_s": round(time.process_time() - cpu, 2),
        "compile_s": round(compile_s, 2),
        "iterations": int(solved.iterations.max()),
    }


def _peer(features, labels, parts, strengths, solved, args) -> dict[str, Any]:
    """Seconds of scikit-learn for all folds, and how far its losses lie above ours."""
    try:
        import sklearn
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise InputError(
            "scikit-learn is not installed",
            where="--peer-folds",
            way_out="pip install scikit-learn, or give 0",
        ) from None

    # What it imports and starts at its first fit is not counted.
    LogisticRegression().fit(np.eye(args.classes), np.arange(args.classes))
    seconds, cpu_seconds, above = 0.0, 0.0, []
    for number, members in enumerate(parts):
        judge = LogisticRegression(warm_start=True, tol=args.peer_tolerance, max_iter=10_000)
        start, cpu = time.perf_counter(), time.process_time()
        part = (features[members] - features[members].mean(0)) / features[members].std(0)
        found = []
        for judge.C in strengths:
            judge.fit(part, labels[members])
            found.append((judge.coef_, judge.intercept_))
        seconds += time.perf_counter() - start
        cpu_seconds += time.process_time() - cpu
        for index, theirs in enumerate(found):
            ours = solved.weight[number, index], solved.bias[number, index]
            losses = [
                _objective(*head, part, labels[members], strengths[index])
                for head in (theirs, ours)
            ]
            above.append(losses[0] - losses[1])
    share = args.folds / args.peer_folds
    return {
        "peer_version": sklearn.__version__,
        "peer_tolerance": args.peer_tolerance,
        "peer_folds": args.peer_folds,
        "peer_s": round(share * seconds, 2),
        "peer_cpu_s": round(share * cpu_seconds, 2),
        "loss_above_least": min(above),
        "loss_above_most": max(above),
    }


def _objective(weight, bias, features, labels, strength) -> float:
    """scikit-learn's objective over C n, in float64."""
    weight, bias = weight.astype(np.float64), bias.astype(np.float64)
    if len(weight) == 1:
        # Two classes as its single logit, one of two that differ by it.
        weight, bias = (np.concatenate([0 * each, each]) for each in (weight, bias))
    logits = features @ weight.T + bias
    logits -= logits.max(1, keepdims=True)
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]
    if len(weight) == 2:
        weight = weight[1:] - weight[:1]
    return float(losses.mean() + np.sum(weight**2) / (2 * strength * len(labels)))
