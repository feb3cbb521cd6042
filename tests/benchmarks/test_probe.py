"""`bench probe` at small sizes: folds, ratios, and a fit's work against the solver's products."""

import argparse
import functools
import json

import jax
import numpy as np
import pytest

from histo_simclr import cli
from histo_simclr.benchmarks import probe, probe_peer
from histo_simclr.evaluate import heads


@pytest.mark.parametrize("classes", [2, 3])
def test_the_probe_is_timed_beside_scikit_learns_at_an_equal_loss(
    classes, capsys, tmp_path, traced
):
    sizes = {"examples": 1000, "queries": 50, "dimensions": 12, "strengths": 3, "folds": 2}
    arguments = [f"--{name}={size}" for name, size in sizes.items()]
    arguments += [f"--classes={classes}", "--neighbors=9", "--peer-folds=2", "--rounds=2"]
    arguments += [f"--profile={tmp_path}", "--json"]
    assert cli.main(["bench", "probe", *arguments]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result | sizes == result
    assert abs(result["loss_above_least"]) < 1e-6
    assert abs(result["loss_above_most"]) < 1e-6
    assert result["ratio"] == pytest.approx(result["peer_s"] / result["probe_s"], rel=1e-2)
    assert result["knn_s"] > 0
    assert result["compilations"] == 0
    assert traced(result) == 1
    assert result["mfu"] is result["bandwidth_share_hand"] is None  # of no CPU


def test_a_feature_that_is_constant_is_no_obstacle():
    features, labels = np.random.default_rng(0).normal(size=(60, 4)).astype("f4"), np.arange(60) % 2
    features[:, 2], parts, strengths = -0.125, np.ones((1, 60), bool), (0.1,)
    stop = {"tolerance": 1e-6, "max_iterations": 100}
    solved = heads.fit_linear(
        features, labels, parts, num_classes=2, strengths=strengths, standardize=True, **stop
    )
    args = argparse.Namespace(classes=2, folds=2, peer_folds=1, peer_tolerance=1e-6)
    solved = jax.tree.map(np.asarray, solved)
    found, _ = probe_peer.clocked(features, labels, parts, strengths, solved, args)
    assert abs(found["loss_above_most"]) < 1e-6


def test_a_probe_of_milliseconds_has_a_ratio(capsys):
    sizes = {"examples": 100, "queries": 5, "dimensions": 4, "classes": 3, "strengths": 1}
    sizes |= {"folds": 2, "neighbors": 3, "rounds": 1}
    arguments = [f"--{name}={size}" for name, size in sizes.items()]
    assert cli.main(["bench", "probe", *arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    for ratio, key in (("ratio", "s"), ("ratio_cpu", "cpu_s")):
        expected = result[f"peer_{key}"] / result[f"probe_{key}"]
        assert result[ratio] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(("classes", "folds"), [(2, 2), (4, 2), (9, 3), (3, 9), (9, 5)])
def test_folds_are_balanced_in_their_classes(classes, folds):
    labels = np.arange(1000) % classes
    args = argparse.Namespace(examples=1000, classes=classes, folds=folds)
    left_out = [np.bincount(labels[~part]) for part in probe._parts(labels, args)]
    assert np.min(left_out) > 0
    assert np.ptp(left_out) <= 1
    assert np.sum(left_out) == 1000


def products(jaxpr, *, looped=False):
    """(whether in a loop, FLOPs, shapes of both operands) of each product of matrices."""
    for each in jaxpr.eqns:
        if each.primitive.name == "dot_general":
            shapes = [operand.aval.shape for operand in each.invars]
            ((contracted, _), _) = each.params["dimension_numbers"]
            terms = np.prod([shapes[0][axis] for axis in contracted])
            yield looped, 2 * terms * np.prod(each.outvars[0].aval.shape), shapes
        for inner in jax.tree.leaves(list(each.params.values())):
            if hasattr(inner := getattr(inner, "jaxpr", inner), "eqns"):
                yield from products(inner, looped=looped or each.primitive.name == "while")


def test_a_fit_s_work_by_hand_is_that_of_the_solver_s_products():
    sizes = {"examples": 2000, "dimensions": 256, "classes": 20, "strengths": 2, "folds": 3}
    args = argparse.Namespace(**sizes)
    arguments = heads.on_device(
        np.zeros((2000, 256), "f4"), np.zeros(2000, int), np.ones((3, 2000), bool), (0.1, 1.0)
    )
    solve = functools.partial(heads.solve_folds, num_classes=20, standardize=True)
    found = list(products(jax.make_jaxpr(solve)(*arguments, (1e-6, 1)).jaxpr))
    start, one, two = (probe._by_hand(np.full((3, 2), steps), args) for steps in range(3))
    step = two.flops - one.flops
    # Those of L-BFGS and of the line search have no features in them: 0.2 %.
    assert sum(flops for looped, flops, _ in found if looped) == pytest.approx(step, rel=0.01)
    # Before the loop there is a first step's gradient, logits of zeros too: left out by hand.
    outside = sum(flops for looped, flops, _ in found if not looped)
    assert outside == pytest.approx(start.flops + 2 / 3 * step, rel=0.02)
    reads = sum(shape[-2:] == (2000, 256) for looped, _, both in found if looped for shape in both)
    assert 4 * 3 * 2000 * 256 * reads == two.bytes - one.bytes
