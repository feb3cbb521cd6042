"""Which rows of the index make batch k: a pure function of (seed, k). Knows no files, no devices.

Training sweeps the rows in a fresh uniform permutation each epoch, or each class in permutations of
its own; evaluation takes the rows in their own order.
The position in the data is the step number alone, so that resuming means starting at it.
"""

import functools

import numpy as np

from histo_simclr.errors import InputError


# A batch needs its epoch's permutation; two are kept because batches are fetched in parallel
# across the border of two epochs. 400,000 rows: 26 ms and 3 MB each.
@functools.lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, n: int) -> np.ndarray:
    """Permutation of all rows for one epoch, uniform over permutations.

    Args:
      seed: of the run, >= 0.
      epoch: >= 0.
      n: number of rows.

    Returns:
      (n,) int64, read-only (shared between calls).
    """
    order = np.random.default_rng([seed, epoch]).permutation(n)
    order.flags.writeable = False
    return order


def batch_rows(step: int, *, seed: int, n: int, batch_size: int) -> np.ndarray:
    """Rows of the global batch of one training step.

    An epoch is n // batch_size steps. The rest of its permutation is left out, so that no patch
    is twice in a batch; another epoch leaves out other rows.

    Args:
      step: >= 0, counted over all epochs.
      seed: of the run, >= 0.
      n: number of rows.
      batch_size: of the global batch.

    Returns:
      (batch_size,) int64, read-only, without repeats.

    Raises:
      InputError: fewer rows than one batch holds.
    """
    steps_per_epoch = n // batch_size
    if steps_per_epoch == 0:
        raise InputError(
            f"a batch of {batch_size} needs more than the {n} patches of the mix",
            where="batch_size",
            way_out="make the batch smaller or the mix larger",
        )
    epoch, position = divmod(int(step), steps_per_epoch)
    start = position * batch_size
    return epoch_order(seed, epoch, n)[start : start + batch_size]


def balanced_rows(step: int, *, seed: int, classes: np.ndarray, batch_size: int) -> np.ndarray:
    """Rows of the global batch of one step, every class equally often.

    The classes take turns along all batches, so that no two of K differ by more than one place, in
    a batch or in all so far. Each class is swept in permutations of its own, without a rest: its
    rows, too, are taken equally often. A row is twice in a batch only where its class has fewer
    rows than places in it, or at the border of two sweeps.

    Args:
      step: >= 0.
      seed: of the run, >= 0.
      classes: (n,) integers >= 0; numbers that do not occur take no turns. All equal: plain
        sampling, for any n >= 1.
      batch_size: of the global batch.

    Returns:
      (batch_size,) int64.
    """
    kinds, numbers = np.unique(classes, return_inverse=True)
    places = int(step) * batch_size + np.arange(batch_size)
    rows = np.empty(batch_size, np.int64)
    for number in range(len(kinds)):
        members, mine = np.flatnonzero(numbers == number), places % len(kinds) == number
        sweeps, positions = np.divmod(places[mine] // len(kinds), len(members))
        drawn = np.empty(len(positions), np.int64)
        for sweep in np.unique(sweeps):
            permutation = np.random.default_rng([seed, sweep, number]).permutation(members)
            drawn[sweeps == sweep] = permutation[positions[sweeps == sweep]]
        rows[mine] = drawn
    return rows


def host_slice(rows: np.ndarray, process: int, processes: int) -> np.ndarray:
    """The rows of a global batch that one host reads; in process order they make the batch again.

    Args:
      rows: (B,) rows of the global batch.
      process: number of this host, 0 ≤ process < processes.
      processes: number of hosts.

    Returns:
      (B / processes,) part of rows.

    Raises:
      InputError: B is no multiple of the number of hosts.
    """
    if len(rows) % processes:
        raise InputError(
            f"a batch of {len(rows)} cannot be shared evenly by {processes} hosts",
            where="batch_size",
            way_out=f"make it a multiple of {processes}",
        )
    share = len(rows) // processes
    return rows[process * share : (process + 1) * share]


def sequential(n: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Evaluation order: every row once in its own order, in batches of one size.

    Args:
      n: number of rows, ≥ 1.
      batch_size: rows in a batch.

    Returns:
      rows: (S, batch_size) int64, S = ceil(n / batch_size); padded by starting over at row 0.
      mask: (S, batch_size) bool, False on padding.

    Raises:
      InputError: no rows.
    """
    if n == 0:
        raise InputError("holds no patches", where="record set", way_out="choose another split")
    steps = -(-n // batch_size)
    positions = np.arange(steps * batch_size, dtype=np.int64).reshape(steps, batch_size)
    return positions % n, positions < n
