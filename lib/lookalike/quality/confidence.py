"""The recall of a sample of items: how many to draw, from which groups, and what the sample says of all items.

Each item has a number of neighbours that should be found (pairs), and a number that were (hits); the recall is hits by
pairs. The pairs of one item are not independent: a search that misses one neighbour of an item tends to miss others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Weights = NDArray[np.float64]

# The normal quantile of a two-sided 95 % interval; its square is 3.84.
Z = 1.959964

# The vectors of 4,096 items are 32 MiB in every task; their products with 1,000 others take a fifth of a second.
MAX_ITEMS = 4096

# Times the pairs that prove the floor, since some items have fewer neighbours than their group has other items.
SLACK = 1.25


@dataclass(frozen=True)
class Interval:
    """A share with its 95 % interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class SampleCounts:
    """The sampled items, in any order: their hits and pairs, and how many items each represents."""

    hits: Counts  # [n]
    pairs: Counts  # [n]
    strata: Counts  # the number of the group that each was drawn from [n]
    weights: Weights  # items that each represents, itself included: 1 where all were drawn [n]


def items_needed(floor: float, least: int, pairs_per_item: float) -> int:
    """Return how many items to sample, so that a sample without a miss proves the recall `floor`.

    Wilson's lower bound of n hits in n pairs is n / (n + z²), which reaches the floor at n = z² floor / (1 - floor).
    At least `least` items, and no more than MAX_ITEMS for the proof.
    """
    if pairs_per_item <= 0:
        return least
    pairs = SLACK * Z**2 * floor / (1 - floor) if floor < 1 else math.inf
    return max(least, math.ceil(min(MAX_ITEMS, pairs / pairs_per_item)))


def allocate(sizes: Counts, items: int, seed: int) -> tuple[Counts, Weights]:
    """Return how many of `items` to draw from each group of `sizes` [g], all above 0, and the weight of its items.

    First one of every group, then the rest in proportion to the items that are left in each (largest remainders). With
    more groups than items to draw, it is a systematic sample over the groups in random order (Madow 1949): every item
    has the same chance, and so a group of twice the size has twice the chance.
    """
    total = int(sizes.sum())
    if items >= total:
        return sizes.copy(), np.ones(len(sizes))
    if len(sizes) > items:
        return _systematic(sizes, items, seed), np.full(len(sizes), total / items)
    more = (sizes - 1) * ((items - len(sizes)) / (total - len(sizes)))
    counts = 1 + np.floor(more).astype(np.int64)
    largest = np.argsort(-(more % 1), kind="stable")
    counts[largest[: items - int(counts.sum())]] += 1
    return counts, sizes / counts


def _systematic(sizes: Counts, items: int, seed: int) -> Counts:
    random = np.random.default_rng(seed)
    order, step = random.permutation(len(sizes)), sizes.sum() / items
    points = step * (random.random() + np.arange(items))
    at = np.minimum(np.searchsorted(np.cumsum(sizes[order]), points, side="right"), len(sizes) - 1)
    counts = np.zeros(len(sizes), dtype=np.int64)
    counts[order] = np.bincount(at, minlength=len(sizes))
    return counts


def interval_of(drawn: SampleCounts) -> Interval:
    """Return the recall of all items: the weighted ratio, and Wilson's interval on the effective number of pairs.

    The effective number is the sampled pairs divided by Kish's design effect (Survey Sampling, 1965, section 8.2): the
    variance between items and their weights, as a multiple of that of independent pairs. An effect below 1 counts as 1,
    also where nothing varies: a sample without a miss cannot tell how misses cluster. The population is finite: only
    pairs that were not sampled are uncertain, so that a sample of all items has no interval. Without any pair the
    recall is 1.
    """
    pairs, seen = float(drawn.weights @ drawn.pairs), int(drawn.pairs.sum())
    if pairs == 0:
        return Interval(1.0, 1.0, 1.0)
    share = float(drawn.weights @ drawn.hits) / pairs
    unseen = 1 - seen / pairs
    if unseen <= 1e-12:  # weights of exactly 1, but for rounding
        return Interval(share, share, share)
    independent = unseen * share * (1 - share) / seen
    effect = max(1.0, variance(drawn, share) / independent) if independent > 0 else 1.0
    return Interval(share, *wilson(share, seen / (effect * unseen)))


def variance(drawn: SampleCounts, share: float) -> float:
    """Return the variance of the weighted ratio `share`: linearised over items, stratified (Cochran 1977, 6.11, 5.9).

    A group of which one item was drawn shows no variance: the distance of that item from `share` is taken instead.
    """
    off = drawn.weights * (drawn.hits - share * drawn.pairs)
    inverse = np.unique(drawn.strata, return_inverse=True)[1]
    n, total = np.bincount(inverse), np.bincount(inverse, off)
    single = n == 1
    centre = np.where(single, 0, total / n)
    squares = np.bincount(inverse, (off - centre[inverse]) ** 2)
    uncertain = 1 - n / np.bincount(inverse, drawn.weights)
    spread = squares * np.where(single, 1, n / np.maximum(1, n - 1)) * uncertain
    return float(spread.sum() / (drawn.weights @ drawn.pairs) ** 2)


def wilson(share: float, n: float) -> tuple[float, float]:
    """Return Wilson's score interval of a share of `n` independent trials (JASA 22, 1927, 209-212), z = 1.96."""
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    # At a share of 0 or 1 the bound would be the share itself, if it were not for rounding.
    return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))
