"""The linear probe of `bench probe` by scikit-learn: its seconds, and its losses beside ours."""

import argparse
import time

import numpy as np

from histo_simclr.benchmarks.clock import Found
from histo_simclr.errors import InputError
from histo_simclr.evaluate import heads


def clocked(
    features: np.ndarray,
    labels: np.ndarray,
    parts: np.ndarray,
    strengths: tuple[float, ...],
    solved: heads.Heads,
    args: argparse.Namespace,
) -> Found:
    """Its seconds for all folds, and how far its losses lie above ours.

    Args:
      features: (n, D) float32.
      labels: (n,) integers.
      parts: (F, n) booleans, what each fold fits; the first `args.peer_folds` are fitted.
      strengths: values of C, in the order in which one starts from the last.
      solved: ours, on the host; what standardizes features is taken from there.
      args: of the command.

    Raises:
      InputError: scikit-learn is not installed.
    """
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
    for number, members in enumerate(parts[: args.peer_folds]):
        judge = LogisticRegression(warm_start=True, tol=args.peer_tolerance, max_iter=10_000)
        start, cpu = time.perf_counter(), time.process_time()
        part = (features[members] - solved.mean[number]) / solved.scale[number]
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
        "peer_s": share * seconds,
        "peer_cpu_s": share * cpu_seconds,
        "loss_above_least": min(above),
        "loss_above_most": max(above),
    }, [
        ("scikit-learn {peer_version}", "{peer_s:.2f} s", "{peer_folds} of {folds} folds fitted"),
        ("  CPU time", "{peer_cpu_s:.2f} s", "tol {peer_tolerance:g}"),
        ("  loss above ours", "{loss_above_most:.1e}", "at most; least {loss_above_least:.1e}"),
    ]


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
