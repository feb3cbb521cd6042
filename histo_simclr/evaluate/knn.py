"""k nearest neighbors by cosine similarity, weighted votes: nothing is fitted but k.

The protocol of instance discrimination (Wu et al., arXiv 1805.01978, section 3.4) and DINO (Caron
et al., arXiv 2104.14294, whose code tries k = 10, 20, 100, 200): the vote of a neighbor at
similarity s weighs exp(s / T), with T = 0.07 in both.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from histo_simclr.errors import InputError
from histo_simclr.evaluate import checks, metrics
from histo_simclr.evaluate.folds import grouped_folds
from histo_simclr.evaluate.neighbors import unit_length

TEMPERATURE = 0.07
# Similarities held at once: 64 MB of float32, whatever the number of examples.
_CHUNK = 2**24


class Voted(NamedTuple):
    """What the neighbors say of the test split.

    Fields:
      probabilities: (m, K), shares of the votes.
      neighbors: k, chosen among the candidates.
      validation: macro-F1 of each candidate, out of fold.
      folds: number of folds of whole groups that chose it.
    """

    probabilities: np.ndarray
    neighbors: int
    validation: list[float]
    folds: int


def predict(
    train: np.ndarray,
    test: np.ndarray,
    *,
    labels: np.ndarray,
    num_classes: int,
    neighbors: Sequence[int],
    temperature: float,
) -> np.ndarray:
    """Shares of the votes for several k at once.

    Args:
      train, test: (n, D), (m, D) features; scaled to unit length here.
      labels: (n,) integers in [0, K).
      num_classes: K.
      neighbors: values of k; one above n takes all n.
      temperature: > 0, divides the similarities.

    Returns:
      (len(neighbors), m, K) float32; rows sum to 1.

    Raises:
      InputError: features, labels, k or temperature that cannot be used.
    """
    _check(train, test, labels, num_classes, neighbors, temperature)
    nowhere = np.full(len(test), -1)
    folds = np.zeros(len(train), int)
    settings = {"num_classes": num_classes, "temperature": temperature}
    return _vote(train, folds, test, nowhere, labels, neighbors=tuple(neighbors), **settings)


def cross_validated(
    train: np.ndarray,
    test: np.ndarray,
    *,
    labels: np.ndarray,
    groups: np.ndarray,
    num_classes: int,
    neighbors: Sequence[int],
    temperature: float,
    folds: int,
    seed: int,
) -> Voted:
    """Chooses k by macro-F1 on folds of whole groups, then asks the whole training split.

    Macro-F1, not cross-entropy: a class without neighbor has the probability 0. Of equally good k
    the first is taken.

    Args:
      train, test, labels, num_classes, neighbors, temperature: see `predict`.
      groups: (n,) names; no neighbor comes from a fold that holds the example's own group.
      folds, seed: see `folds.grouped_folds`.

    Raises:
      InputError: as `predict`, or groups that allow no folds.
    """
    _check(train, test, labels, num_classes, neighbors, temperature)
    fold = grouped_folds(labels, groups, folds=folds, seed=seed)
    settings = {"num_classes": num_classes, "temperature": temperature}
    tables = _vote(train, fold, train, fold, labels, neighbors=tuple(neighbors), **settings)
    scores = [float(metrics.values(labels, table)["macro_f1"]) for table in tables]
    best = int(np.argmax(scores))
    nowhere = np.full(len(test), -1)
    chosen = _vote(train, fold, test, nowhere, labels, neighbors=(neighbors[best],), **settings)[0]
    return Voted(chosen, neighbors[best], scores, int(fold.max()) + 1)


def _vote(bank, bank_fold, queries, query_fold, labels, *, num_classes, neighbors, temperature):
    rows = min(max(1, _CHUNK // len(bank)), len(queries))
    padding = -len(queries) % rows
    places = np.pad(np.arange(len(queries)), (0, padding)).reshape(-1, rows)
    with jax.default_matmul_precision("highest"):
        tables = _votes(
            jnp.asarray(unit_length(bank), jnp.float32),
            jnp.asarray(bank_fold),
            jnp.asarray(labels),
            jnp.asarray(unit_length(queries), jnp.float32),
            jnp.asarray(query_fold),
            jnp.asarray(places),
            temperature,
            num_classes=num_classes,
            neighbors=neighbors,
        )
    tables = np.asarray(tables)  # (chunks, rows, k, K)
    tables = tables.reshape(-1, *tables.shape[2:])[: len(queries)]
    return tables.transpose(1, 0, 2)


@functools.partial(jax.jit, static_argnames=("num_classes", "neighbors"))
def _votes(
    bank, bank_fold, labels, queries, query_fold, places, temperature, *, num_classes, neighbors
):
    most = min(max(neighbors), len(bank))
    counted = jnp.arange(most)[None] < jnp.array(neighbors)[:, None]

    def vote(chunk):
        similar = queries[chunk] @ bank.T
        own = query_fold[chunk][:, None] == bank_fold[None]
        nearest, index = jax.lax.top_k(jnp.where(own, -jnp.inf, similar), most)
        # Relative to the nearest: shares are the same, and none overflows.
        weights = jnp.exp((nearest - nearest[:, :1]) / temperature)
        ballots = jax.nn.one_hot(labels[index], num_classes)
        sums = jnp.einsum("rn,kn,rnc->rkc", weights, counted.astype(weights.dtype), ballots)
        return sums / sums.sum(-1, keepdims=True)

    return jax.lax.map(vote, places)


def _check(train, test, labels, num_classes, neighbors, temperature):
    checks.check_features(train, test)
    checks.check_labels(labels, count=len(train), num_classes=num_classes)
    if not neighbors or min(neighbors) < 1:
        raise InputError(
            f"cannot be {list(neighbors)}", where="neighbors", way_out="give values of 1 or more"
        )
    if not temperature > 0:
        raise InputError(
            f"cannot be {temperature}", where="temperature", way_out="give a value above 0"
        )
