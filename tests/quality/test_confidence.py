"""How many items are sampled, by hand-computed numbers; intervals against published ones and simulated catalogues."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.quality.confidence import (
    MAX_ITEMS,
    Counts,
    SampleCounts,
    allocate,
    interval_of,
    items_needed,
    variance,
    wilson,
)

# --- how many


@pytest.mark.parametrize(
    ("floor", "least", "pairs", "items"),
    [
        # 1.25 x 3.8415 x 0.99 / 0.01 = 475.4 pairs
        (0.99, 256, 20, 256),
        (0.99, 10, 20, 24),
        (0.99, 10, 1, 476),
        (0.5, 1, 1, 5),  # 4.8 pairs
        (0.0, 7, 20, 7),
        (0.9999, 256, 20, 2401),
        (0.99999, 256, 20, MAX_ITEMS),
        (1.0, 256, 20, MAX_ITEMS),
        (0.99, 256, 0.0, 256),  # every item is alone
        (1.0, 256, 0.0, 256),
        (0.99, 4096, 0.001, MAX_ITEMS),
    ],
)
def test_items_needed_by_hand(floor: float, least: int, pairs: float, items: int) -> None:
    assert items_needed(floor, least, pairs) == items


@pytest.mark.parametrize("floor", [0.5, 0.9, 0.99, 0.999, 0.9999])
@pytest.mark.parametrize("pairs", [1, 3, 20])
def test_sample_without_a_miss_proves_the_floor(floor: float, pairs: int) -> None:
    items = items_needed(floor, 1, pairs)
    assert items == MAX_ITEMS or wilson(1.0, items * pairs)[0] > floor


# --- of whom


@pytest.mark.parametrize(
    ("sizes", "items", "counts"),
    [
        ([100], 10, [10]),
        ([10, 10], 4, [2, 2]),
        ([90, 10], 12, [10, 2]),  # one each, and of the ten others 9.08 and 0.92
        ([997, 1, 1, 1], 10, [7, 1, 1, 1]),
        ([5, 5, 5], 4, [2, 1, 1]),  # the first of equal remainders
        ([1, 1, 1], 3, [1, 1, 1]),
        ([3, 4], 7, [3, 4]),
        ([3, 4], 100, [3, 4]),
    ],
)
def test_allocation_by_hand(sizes: list[int], items: int, counts: list[int]) -> None:
    found, weights = allocate(np.array(sizes), items, seed=1)
    assert found.tolist() == counts
    np.testing.assert_allclose(weights, np.array(sizes) / counts)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 300), st.integers(0, 5))
def test_allocation_gives_all_items_and_no_group_more_than_it_has(sizes: list[int], items: int, seed: int) -> None:
    counts, weights = allocate(np.array(sizes), items, seed)
    assert counts.sum() == min(items, sum(sizes))
    assert (counts <= sizes).all()
    assert (counts >= (1 if len(sizes) <= items else 0)).all()
    # The weights stand for all items: exactly so for groups, on the whole where these are drawn.
    assert (weights * counts).sum() == pytest.approx(sum(sizes))


def test_more_groups_than_items_are_drawn_in_proportion_to_their_size() -> None:
    """Every item has the same chance, 5 in 60: 20 groups of 1, 10 of 2, one of 20."""
    sizes = np.array([1] * 20 + [2] * 10 + [20])
    drawn = np.array([allocate(sizes, 5, seed)[0] for seed in range(4000)])
    assert (drawn.sum(axis=1) == 5).all()
    assert (allocate(sizes, 5, 3)[0] == drawn[3]).all()
    # The standard error of a chance of 1 in 12 over 4,000 trials is 0.0044.
    np.testing.assert_allclose(drawn.mean(axis=0), sizes * 5 / 60, atol=0.025)
    assert drawn[:, -1].min() >= 1  # 1.67 are due to it every time


# --- Wilson


@pytest.mark.parametrize(
    ("share", "n", "low", "high"),
    [
        (0.9, 10, 0.5958, 0.9821),  # 9 of 10
        (0.5, 20, 0.2993, 0.7007),
        (0.81 / 2.63, 263, 0.2553, 0.3662),  # 81 of 263: Newcombe 1998, table I, method 3
        (15 / 148, 148, 0.0624, 0.1605),  # the same
        (0.0, 20, 0.0, 0.1611),  # the same
        (1.0, 20, 0.8389, 1.0),
    ],
)
def test_wilson_as_published(share: float, n: float, low: float, high: float) -> None:
    assert wilson(share, n) == pytest.approx((low, high), abs=6e-5)


@given(st.floats(0, 1), st.floats(0.01, 1e9))
def test_wilson_holds_the_share_and_stays_within_0_and_1(share: float, n: float) -> None:
    low, high = wilson(share, n)
    assert 0 <= low <= share <= high <= 1


# --- the interval of a sample


def drawn(hits: list[int], pairs: list[int], strata: list[int] | None = None, weight: float = 10) -> SampleCounts:
    n = len(hits)
    return SampleCounts(np.array(hits), np.array(pairs), np.array(strata or [0] * n), np.full(n, float(weight)))


def test_variance_by_hand() -> None:
    """Three items of 4 pairs with 4, 4 and 1 hits: share 3/4, off by 1, 1, -2; 3/2 x 6 = 9, of 144 x 0.9."""
    one = drawn([4, 4, 1], [4, 4, 4])
    assert variance(one, 0.75) == pytest.approx(9 / 144 * 0.9)
    found = interval_of(one)
    assert found.estimate == pytest.approx(0.75)
    # independent pairs: 0.9 x 0.1875 / 12; the design effect is 0.05625 / 0.0140625 = 4, pairs 12 / (4 x 0.9)
    assert (found.low, found.high) == pytest.approx(wilson(0.75, 12 / 3.6))


def test_variance_within_groups_only() -> None:
    """A group that misses half, and one that misses nothing: the groups themselves are no chance."""
    assert variance(drawn([2, 2, 4, 4], [4, 4, 4, 4], [0, 0, 1, 1]), 0.75) == 0
    assert variance(drawn([2, 2, 4, 4], [4, 4, 4, 4]), 0.75) == pytest.approx(4 / 3 * 4 / 256 * 0.9)


def test_group_of_one_sampled_item_varies_by_its_distance_from_the_share() -> None:
    one = drawn([4, 2], [4, 4], [0, 1])
    assert variance(one, 0.75) == pytest.approx(2 / 64 * 0.9)
    alone = SampleCounts(one.hits, one.pairs, one.strata, np.array([1.0, 1.0]))  # each the only item of its group
    assert variance(alone, 0.75) == 0


def test_item_counts_by_its_weight() -> None:
    """The item that stands for 30 others missed half."""
    two = SampleCounts(np.array([4, 2]), np.array([4, 4]), np.array([0, 1]), np.array([10.0, 30.0]))
    assert interval_of(two).estimate == pytest.approx((40 + 60) / 160)


def test_misses_that_cluster_widen_the_interval_and_others_do_not_narrow_it() -> None:
    clustered = interval_of(drawn([20] * 90 + [0] * 10, [20] * 100))
    spread = interval_of(drawn([18] * 100, [20] * 100))
    assert clustered.estimate == spread.estimate == pytest.approx(0.9)
    assert (spread.low, spread.high) == pytest.approx(wilson(0.9, 2000 / 0.9))  # no less than independent pairs
    assert clustered.low < spread.low - 0.03


def test_no_miss_counts_as_independent_pairs() -> None:
    found = interval_of(drawn([20] * 256, [20] * 256, weight=1e6))
    assert (found.estimate, found.high) == (1, 1)
    assert found.low == pytest.approx(5120 / (5120 + 3.8415), abs=1e-6)


def test_sample_of_all_items_has_no_interval() -> None:
    found = interval_of(drawn([3, 0, 4], [4, 1, 4], weight=1))
    assert (found.low, found.high) == (found.estimate, found.estimate)
    assert found.estimate == pytest.approx(7 / 9)


@pytest.mark.parametrize("items", [0, 1, 5])
def test_without_any_pair_the_recall_is_1(items: int) -> None:
    found = interval_of(drawn([0] * items, [0] * items))
    assert (found.estimate, found.low, found.high) == (1, 1, 1)


def test_nothing_found_has_a_lower_bound_of_0() -> None:
    found = interval_of(drawn([0] * 10, [4] * 10))
    assert (found.estimate, found.low) == (0, 0)
    assert 0 < found.high < 0.1


# --- how often the interval is right


def catalogue(kind: str, random: np.random.Generator) -> tuple[Counts, Counts, Counts]:
    """Hits, pairs and groups of 20,000 items."""
    items, pairs = 20_000, np.full(20_000, 20)
    sizes = {"many groups": 600, "small groups": 100}.get(kind, 8)
    groups = np.sort((random.pareto(1.0, items) * 2).astype(np.int64) % sizes)
    if kind == "independent":
        return random.binomial(pairs, 0.95), pairs, groups
    if kind == "all pairs of an item":  # 5 % of the items have lost everything
        return pairs * (random.random(items) > 0.05), pairs, groups
    # Items differ as a beta distribution does, and so do the groups; small lists among them
    pairs = np.minimum(20, random.integers(1, 60, items))
    of_group = random.uniform(0.85, 1, sizes)[groups]
    return random.binomial(pairs, random.beta(of_group * 3, (1 - of_group) * 3 + 1e-9)), pairs, groups


KINDS = ["independent", "all pairs of an item", "clustered", "small groups", "many groups"]


@pytest.mark.parametrize(
    ("kind", "items", "trials"),
    [*((kind, 256, 600) for kind in KINDS), ("many groups", 1000, 300), ("clustered", 12_000, 200)],
)
def test_interval_holds_the_true_recall_in_95_of_100_samples(kind: str, items: int, trials: int) -> None:
    """In 91.5 to 98.5 of 100: the standard error of 600 trials is 0.9, of 200 it is 1.5; 94 to 97 were seen."""
    random = np.random.default_rng(len(kind) * items)
    hits, pairs, groups = catalogue(kind, random)
    truth = hits.sum() / pairs.sum()
    _, groups, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    members = np.split(np.argsort(groups, kind="stable"), np.cumsum(sizes)[:-1])
    held, estimates = 0, []
    for seed in range(trials):
        counts, weights = allocate(sizes, items, seed)
        chosen = np.concatenate(
            [random.choice(mine, n, replace=False) for mine, n in zip(members, counts, strict=True) if n]
        )
        strata = groups[chosen] if len(sizes) <= items else np.zeros(len(chosen), dtype=np.int64)
        found = interval_of(SampleCounts(hits[chosen], pairs[chosen], strata, weights[groups[chosen]]))
        held += found.low <= truth <= found.high
        estimates.append(found.estimate)
    assert 0.915 <= held / trials <= 0.985
    # Unbiased: the mean of the estimates is off by no more than chance.
    assert abs(np.mean(estimates) - truth) < 4 * np.std(estimates) / math.sqrt(trials) + 1e-9
