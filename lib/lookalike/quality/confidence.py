"""A share found on a sample of items: how many to draw, from which groups, and what it says of them all. numpy only.

An item has so many neighbours to be found (pairs), of which so many were: the share is hits by pairs. The pairs of one
item are not independent, since a search that misses one neighbour of an item tends to miss others.
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

# 4,096 items and their vectors are 32 MiB for every task, and a fifth of a second of products for 1,000 others.
MAX_ITEMS = 4096

# Pairs to have beyond those that prove the floor: some items have fewer neighbours than their group has others.
SLACK = 1.25


@dataclass(frozen=True)
class Interval:
    """A share with its 95 % interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class SampleCounts:
    """The sampled items, in any order: what was found of each, and whom each stands for."""

    hits: Counts  # [n]
    pairs: Counts  # [n]
    strata: Counts  # of each the number of the group that it was drawn from [n]
    weights: Weights  # items that it stands for, itself among them: 1 where all were drawn [n]


def items_needed(floor: float, least: int, pairs_per_item: float) -> int:
    """Items of which a sample without a miss has a lower bound above `floor`, `least` at least, MAX_ITEMS at most.

    Wilson's lower bound of n hits in n is n / (n + z²): at or above the floor once n >= z² floor / (1 - floor).
    """
    if pairs_per_item <= 0:
        return least
    pairs = SLACK * Z**2 * floor / (1 - floor) if floor < 1 else math.inf
    return max(least, math.ceil(min(MAX_ITEMS, pairs / pairs_per_item)))


def allocate(sizes: Counts, items: int, seed: int) -> tuple[Counts, Weights]:
    """How many of `items` to draw from each group of `sizes` [g], all above 0; and the weight of an item of each.

    One of every group, the rest in proportion to what is left of it (largest remainders). Where there are more groups
    than items, a systematic sample over the groups in random order instead (Madow 1949): every item has the same
    chance, a group of twice the size twice that of another.
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


def of_sample(drawn: SampleCounts) -> Interval:
    """The share of hits among the pairs of all items: the weighted ratio, and Wilson's interval on effective pairs.

    Those are the sampled pairs by Kish's design effect (Survey Sampling, 1965, section 8.2), by which the variance
    between items and with their weights exceeds that of as many independent pairs. It counts as 1 where it is less, or
    where nothing varies: a sample without a miss cannot tell how misses would cluster. Finite population: of pairs,
    and of the variance of a group, only the share that was not sampled is uncertain, so that a sample of all items has
    no interval. Where nothing was to be found, nothing was missed.
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
    """Of the weighted ratio `share`, by linearisation over items, stratified (Cochran 1977, 6.11 and 5.9).

    A group of which one item was drawn has no variance to be seen: its distance from the whole stands for it.
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
    """Wilson's score interval of a share of `n` independent trials (JASA 22, 1927, 209-212), z = 1.96."""
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    # At a share of 0 or 1 the bound is the share itself, but for rounding.
    return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))
