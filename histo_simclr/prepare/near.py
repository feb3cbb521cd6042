"""Near-duplicates among 64-bit hashes: arrays in, arrays out. Never compares all with all."""

import itertools
import math

import numpy as np

BITS = 64
# More bits would be no likeness: of two unrelated pictures one pair in a million is that near.
MAX_DISTANCE = 8
# Bounds for hashes in clusters, as of blank patches, where nearly all are near each other: pairs in
# all (0.4 GB of them and of what finding them takes), and comparisons for each choice of blocks (a
# second or so). Of embedded patches one in 250,000 pairs is near: nowhere near a bound.
MOST_PAIRS, MOST_COMPARED = 2**23, 2**25


def pairs(hashes: np.ndarray, distance: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """Every pair of hashes that differ in at most `distance` bits, exactly, up to a bound.

    Of `distance` + k blocks of bits, two such hashes agree in at least k. So for each choice of
    k blocks, hashes are sorted by these, and only those that agree in all of them are compared
    (Manku, Jain, Das Sarma, "Detecting Near-Duplicates for Web Crawling", WWW 2007). Memory is
    a few numbers a hash and pair found.

    Past MOST_PAIRS or MOST_COMPARED, of hashes that agree in the chosen blocks each is compared
    only with those that come soonest after it, equally many for each. What is found is near then
    too, but some of what is near is not found.

    Args:
      hashes: (n,) uint64, all different.
      distance: 1 to MAX_DISTANCE.

    Returns:
      (m, 2) int64, positions i < j, ascending; (m,) uint8, bits that differ; and whether these
      are all.
    """
    count, is_whole = len(hashes), True
    codes = [np.empty(0, np.int64)]
    for mask in _masks(count, distance):
        key = hashes & mask
        order = np.argsort(key, kind="stable")  # runs in the hashes' order, for the bounds' sake
        key, ordered = key[order], hashes[order]
        # Equal keys lie in a run; row i meets its neighbours at 1, 2, … places, until the run ends.
        active, compared, found = np.arange(count), 0, sum(map(len, codes))
        for step in range(1, count):
            active = active[: np.searchsorted(active, count - step)]
            active = active[key[active] == key[active + step]]
            if not len(active):
                break
            if step > 1 and (compared > MOST_COMPARED or found > MOST_PAIRS):
                is_whole = False
                break
            compared += len(active)
            apart = np.bitwise_count(ordered[active] ^ ordered[active + step])
            near = active[apart <= distance]
            first, second = order[near], order[near + step]
            found += len(near)
            codes.append(np.minimum(first, second) * count + np.maximum(first, second))
        codes = [np.unique(np.concatenate(codes))]
    positions = np.stack(np.divmod(codes[0], max(count, 1)), axis=1)
    bits = np.bitwise_count(hashes[positions[:, 0]] ^ hashes[positions[:, 1]])
    return positions, bits, is_whole


def across(first: np.ndarray, second: np.ndarray, distance: int) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of a hash of `first` and one of `second` that differ in at most `distance` bits.

    As `pairs`, without the pairs within either: of two large sets these are far more.

    Args:
      first: (n,) uint64.
      second: (m,) uint64, all different.
      distance: 1 to MAX_DISTANCE.

    Returns:
      (p, 2) int64, positions in first and in second, ascending; and (p,) int64, bits that differ.
    """
    count = len(second)
    codes = [np.empty(0, np.int64)]
    for mask in _masks(max(len(first), count), distance):
        order = np.argsort(second & mask)
        ordered = second[order]
        place, end = (
            np.searchsorted(ordered & mask, first & mask, side=side) for side in ("left", "right")
        )
        active = np.flatnonzero(place < end)
        while len(active):
            apart = np.bitwise_count(first[active] ^ ordered[place[active]])
            near = active[apart <= distance]
            codes.append(near * count + order[place[near]])
            place[active] += 1
            active = active[place[active] < end[active]]
        codes = [np.unique(np.concatenate(codes))]
    found = np.stack(np.divmod(codes[0], max(count, 1)), axis=1)
    return found, np.bitwise_count(first[found[:, 0]] ^ second[found[:, 1]]).astype(np.int64)


def _masks(count: int, distance: int) -> list[np.uint64]:
    """Choices of blocks to agree in; as many blocks as make sorting and comparing cheapest."""

    def cost(agreeing: int) -> float:
        blocks = distance + agreeing
        # Compared pairs of hashes whose bits are evenly spread, against a sort of all.
        compared = count**2 / 2 ** (BITS * agreeing // blocks + 1)
        return math.comb(blocks, agreeing) * (compared + count * 20)

    agreeing = min(range(1, 7), key=cost)
    blocks = np.array_split(np.arange(BITS, dtype=np.uint64), distance + agreeing)
    values = [np.bitwise_or.reduce(np.uint64(1) << block) for block in blocks]
    return [
        np.bitwise_or.reduce(np.array(chosen))
        for chosen in itertools.combinations(values, agreeing)
    ]


def kept(near: np.ndarray, is_fixed: np.ndarray) -> np.ndarray:
    """Which of n rows stay when, in their order, each row near one that stays is dropped.

    So nothing is dropped without a near one that stays, and no two that stay are a pair of `near`.

    Args:
      near: (m, 2) int, pairs i < j.
      is_fixed: (n,) bool, rows that stay in any case; they come first.

    Returns:
      (n,) bool.
    """
    first, second = near.T
    stays = is_fixed.copy()
    is_open = ~is_fixed
    while True:
        is_open[second[stays[first]]] = False
        settled = is_open.copy()
        settled[second[is_open[first] & is_open[second]]] = False
        if not settled.any():
            return stays
        stays |= settled
        is_open &= ~settled
