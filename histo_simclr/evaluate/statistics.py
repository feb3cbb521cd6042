"""What a test set says of encoders, and what it is too small to say: arrays in, numbers out.

Intervals and differences come from one bootstrap of whole groups, p values from swapping two
encoders' predictions within whole groups. Any metric of the form of `metrics.values` will do.
"""

import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from histo_simclr.evaluate import metrics

LEVEL = 0.05
POWER = 0.8
# Weights of permutations held at once: 64 MB of float64.
_CHUNK = 8_000_000


class Estimate(NamedTuple):
    """A value, its 95 % bootstrap interval and its standard error; NaN where undefined."""

    value: float
    low: float
    high: float
    error: float


class Measured(NamedTuple):
    """Encoders measured on the same examples.

    Fields:
      values: encoder → name of a metric → value.
      replicates: the same for each bootstrap resample, (resamples,); row r of all encoders is of
        the same resample.
    """

    values: dict[str, dict[str, float]]
    replicates: dict[str, dict[str, np.ndarray]]

    def estimate(self, encoder: str, name: str) -> Estimate:
        """A metric of one encoder."""
        return _estimate(self.values[encoder][name], self.replicates[encoder][name])

    def difference(self, first: str, second: str, name: str) -> Estimate:
        """How much the first encoder is above the second, paired."""
        return _estimate(
            self.values[first][name] - self.values[second][name],
            self.replicates[first][name] - self.replicates[second][name],
        )


class Permuted(NamedTuple):
    """A two-sided paired permutation test.

    Fields:
      difference: first minus second.
      p: share of swaps with a difference as large; NaN where the metric is undefined.
      swaps: how many were tried.
      is_exact: whether these were all.
    """

    difference: float
    p: float
    swaps: int
    is_exact: bool


class Spread(NamedTuple):
    """Mean and standard deviation (of the sample; NaN of fewer than two) over `count` seeds."""

    mean: float
    sd: float
    count: int


def measure(
    metric: metrics.Metric,
    truth: np.ndarray,
    predictions: dict[str, np.ndarray],
    groups: np.ndarray | None,
    *,
    resamples: int,
    seed: int,
) -> Measured:
    """Measures each encoder's predictions and bootstraps them; arguments: `metrics.bootstrap`."""
    values = {
        encoder: {name: float(value) for name, value in metric(truth, table).items()}
        for encoder, table in predictions.items()
    }
    replicates = metrics.bootstrap(
        truth, predictions, groups, resamples=resamples, seed=seed, metric=metric
    )
    return Measured(values, replicates)


def permutation_test(
    metric: metrics.Metric,
    truth: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    groups: np.ndarray | None,
    *,
    permutations: int,
    seed: int,
) -> dict[str, Permuted]:
    """Could the two encoders' predictions be exchanged without anybody noticing?

    Under the null hypothesis they can, group by group. Every choice of groups to swap is tried
    where these are few enough (a choice and its complement differ in sign only: half of them are
    computed); else random ones, and p = (as large + 1) / (tried + 1), which is never too small
    (Phipson, Smyth, "Permutation p-values should never be zero", 2010).

    Args:
      metric: such as `metrics.values`; its cost times twice the permutations is the cost of all.
      truth: (n, …) as `metric` takes it.
      first, second: (n, …), the predictions of two encoders.
      groups: (n,) names swapped as wholes, or None: every example by itself.
      permutations: largest number of swaps.
      seed: of random swaps.

    Returns:
      Name of a metric → test.
    """
    both = np.concatenate([truth, truth]), np.concatenate([first, second])
    names, unit = np.unique(
        np.arange(len(truth)) if groups is None else groups, return_inverse=True
    )
    is_exact = len(names) < 63 and 2 ** (len(names) - 1) <= permutations
    observed = {
        name: float(value) - float(metric(truth, second)[name])
        for name, value in metric(truth, first).items()
    }
    larger, tried = dict.fromkeys(observed, 0), 0
    rows = max(1, _CHUNK // (2 * len(truth)))
    patterns = (
        _all_swaps(len(names), rows)
        if is_exact
        else _random_swaps(len(names), rows, permutations, seed)
    )
    for pattern in patterns:
        swapped = pattern[:, unit]
        # An encoder made of examples of both is a weighting, by 0 and 1, of all predictions.
        mixed = metric(*both, weights=np.concatenate([1 - swapped, swapped], axis=1))
        other = metric(*both, weights=np.concatenate([swapped, 1 - swapped], axis=1))
        tried += len(pattern)
        for name, difference in observed.items():
            found = np.abs(mixed[name] - other[name])
            # Equal differences that were added up in another order count as equal.
            larger[name] += int(np.sum(found >= abs(difference) * (1 - 1e-9) - 1e-12))
    one = 0 if is_exact else 1
    return {
        name: Permuted(
            difference,
            float("nan") if np.isnan(difference) else (larger[name] + one) / (tried + one),
            tried,
            is_exact,
        )
        for name, difference in observed.items()
    }


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation of one number over seeds."""
    table = np.asarray(values, np.float64)
    sd = float(table.std(ddof=1)) if len(table) > 1 else float("nan")
    return Spread(float(table.mean()), sd, len(table))


def detectable(error: float) -> float:
    """The smallest true difference that a test set would show in four of five cases.

    (z(1 - LEVEL / 2) + z(POWER)) · error = 2.80 · error, of a normal difference.

    Args:
      error: standard error of the paired difference, of the bootstrap.
    """
    normal = statistics.NormalDist()
    return (normal.inv_cdf(1 - LEVEL / 2) + normal.inv_cdf(POWER)) * error


def power_note(difference: Estimate, *, units: int, unit: str, margin: float) -> str:
    """What the size of the test set means for a difference, a sentence; empty when one is shown.

    Args:
      difference: paired, of `Measured.difference`.
      units: number of groups that were drawn.
      unit: what they are, in the plural, e.g. "patients".
      margin: difference that would matter, > 0. A test set that would not show it is too small.
    """
    if 2.0 ** (1 - units) > LEVEL:
        return (
            f"too small to tell: with {units} test {unit} no p is below {2.0 ** (1 - units):.3g}, "
            "however large the difference"
        )
    if not difference.low <= 0 <= difference.high:
        return "" if np.isfinite(difference.low) else "too small to tell: no interval is defined"
    smallest = detectable(difference.error)
    shows = (
        f"{units} test {unit} show differences of {smallest:.2g} and more (power {POWER:.0%}, "
        f"level {LEVEL:.0%}); found: {difference.value:+.2g}"
    )
    if smallest > margin:
        return f"too small to tell: {shows}"
    return f"no difference shown: {shows}"


def _estimate(value: float, replicates: np.ndarray) -> Estimate:
    defined = replicates[~np.isnan(replicates)]
    error = float(defined.std(ddof=1)) if len(defined) > 1 else float("nan")
    return Estimate(float(value), *metrics.interval(replicates), error)


def _all_swaps(units: int, rows: int) -> Iterator[np.ndarray]:
    """Every (r, units) of 0 and 1 whose last unit stays, so one of each pair of complements."""
    total = 2 ** (units - 1)
    for start in range(0, total, rows):
        numbers = np.arange(start, min(start + rows, total), dtype=np.int64)
        yield (numbers[:, None] >> np.arange(units) & 1).astype(np.float64)


def _random_swaps(units: int, rows: int, total: int, seed: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    for start in range(0, total, rows):
        size = (min(rows, total - start), units)
        yield rng.integers(0, 2, size).astype(np.float64)
