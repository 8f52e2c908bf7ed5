"""The recall of tables that are spoiled by known amounts; test_recall.py has it under every rule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from lookalike import config
from lookalike.quality.recall import estimate as recall_of
from support.brute_force import Neighbours, brute_force
from support.item_vectors import Items, as_table, random_items, stored

Build = Callable[..., config.Settings]


@pytest.fixture
def recall(spark: SparkSession, settings: Build, tmp_path: Path) -> Callable[..., float]:
    """The estimate for `neighbours` of `items`, over a sample as large as the items unless given."""

    def estimate(items: Items, neighbours: Neighbours, k: int, sample: int = 4096) -> float:
        grouped = any(group is not None for group in items.groups.values())
        similar = {"k": k, "recall_sample": sample, "group_by": "kind" if grouped else None}
        chosen = settings(similar=similar)
        return recall_of(stored(items.embeddings(spark), tmp_path), as_table(spark, neighbours), chosen).estimate

    return estimate


COMPLETE = {
    "one group": (random_items(60), 5),
    "groups with nulls among them": (random_items(60, ("shoe", "bag", None, "shoe")), 5),
    "copies of the same pictures tie": (random_items(60, copies=12), 5),
    "copies in groups": (random_items(60, ("shoe", "bag"), copies=6), 4),
    "all the same picture": (random_items(20, copies=20), 3),
    "k beyond the groups": (random_items(12, ("a", "b", "c", None)), 10),
    "groups of one": (random_items(5, ("a", "b", "c", "d", "e")), 3),
    "groups of one among others": (
        Items(random_items(5).vectors, dict(zip(random_items(5).vectors, "aabbc", strict=True))),
        3,
    ),
    "one item": (random_items(1), 3),
    "two items": (random_items(2), 1),
}


@pytest.mark.parametrize("case", COMPLETE)
def test_complete_table_has_recall_1(recall: Callable[..., float], case: str) -> None:
    items, k = COMPLETE[case]
    assert recall(items, items.neighbours(k), k) == 1.0


def test_any_of_tied_neighbours_counts_as_found(recall: Callable[..., float]) -> None:
    """Of 12 copies with k = 5, the last five ids are as right as the first five."""
    items = random_items(24, copies=12)
    ids = list(items.vectors)
    copies = {item: (ids[:12] if item in ids[:12] else ids[12:]) for item in ids}
    last = {item: [(other, 1.0) for other in copies[item] if other != item][-5:] for item in ids}
    assert last != items.neighbours(5)
    assert recall(items, last, 5) == 1.0


def test_all_zero_vectors_are_no_obstacle(recall: Callable[..., float]) -> None:
    items = random_items(10)
    items.vectors["i003"][:] = 0
    assert recall(items, items.neighbours(4), 4) == 1.0


@pytest.mark.parametrize("sample", [7, 4096])
@pytest.mark.parametrize("dropped", [[0], [3], [0, 2], [0, 1, 2, 3]])
def test_recall_falls_by_the_share_of_dropped_neighbours(
    recall: Callable[..., float], dropped: list[int], sample: int
) -> None:
    """Every item loses the same ranks, so any sample of items tells the same."""
    items = random_items(40, ("shoe", "bag"))
    rest = {
        item: [pair for rank, pair in enumerate(listed) if rank not in dropped]
        for item, listed in items.neighbours(4).items()
    }
    assert recall(items, rest, 4, sample) == pytest.approx(1 - len(dropped) / 4)


def test_items_without_any_row_count_in_full(recall: Callable[..., float]) -> None:
    items = random_items(40)
    rest = {item: listed for item, listed in items.neighbours(4).items() if item >= "i010"}
    assert recall(items, rest, 4) == pytest.approx(0.75)


def test_small_groups_weigh_by_what_they_could_have(recall: Callable[..., float]) -> None:
    """12 items in groups of 2 and 10: of 2 x 1 + 10 x 4 neighbours the two of the small group are missing."""
    base = random_items(12)
    items = Items(base.vectors, {item: "small" if item < "i002" else "large" for item in base.vectors})
    rest = {item: listed for item, listed in items.neighbours(4).items() if items.groups[item] == "large"}
    assert recall(items, rest, 4) == pytest.approx(40 / 42)


@pytest.mark.parametrize("claimed", [0.0, 1.0, 2.0])
def test_invented_scores_do_not_fool_it(recall: Callable[..., float], claimed: float) -> None:
    """Two of four neighbours become the farthest items, whatever score the table claims for them."""
    items = random_items(40)
    everyone = items.neighbours(39)
    spoiled = {
        item: [(other, claimed) for other, _ in [*listed[:2], *listed[-2:]]] for item, listed in everyone.items()
    }
    assert recall(items, spoiled, 4) == pytest.approx(0.5)


def test_random_neighbours_are_worth_what_chance_finds(recall: Callable[..., float]) -> None:
    items, rng = random_items(50), np.random.default_rng(1)
    ids, found = list(items.vectors), 0
    table: Neighbours = {}
    for item, listed in items.neighbours(5).items():
        others = rng.choice([other for other in ids if other != item], 5, replace=False).tolist()
        found += len({other for other, _ in listed} & set(others))
        table[item] = [(other, 0.99) for other in others]
    assert 0 < found < 100
    assert recall(items, table, 5) == pytest.approx(found / 250)


def test_same_neighbour_twice_counts_once(recall: Callable[..., float]) -> None:
    items = random_items(20)
    twice = {item: listed[:1] * 4 for item, listed in items.neighbours(4).items()}
    assert recall(items, twice, 4) == pytest.approx(0.25)


def test_neighbours_that_are_no_items_count_for_nothing(recall: Callable[..., float]) -> None:
    items = random_items(20)
    gone = {item: [*listed[:3], ("gone", 0.99)] for item, listed in items.neighbours(4).items()}
    assert recall(items, gone, 4) == pytest.approx(0.75)


def test_rows_of_items_that_are_no_more_do_not_matter(recall: Callable[..., float]) -> None:
    items = random_items(20)
    assert recall(items, {**items.neighbours(4), "gone": [("i000", 1.0)]}, 4) == 1.0


def test_nothing_embedded_misses_nothing(recall: Callable[..., float]) -> None:
    assert recall(Items({}, {}), {}, 4) == 1.0


def test_sample_of_one_is_the_same_item_each_time_and_follows_the_seed(
    spark: SparkSession, settings: Build, tmp_path: Path
) -> None:
    """Half of the items have no rows, so the recall of a sample of one tells which half it came from."""
    items = random_items(8)
    half = {item: listed for item, listed in items.neighbours(2).items() if item < "i004"}
    embeddings, table = stored(items.embeddings(spark), tmp_path), as_table(spark, half).cache()
    similar = {"k": 2, "recall_sample": 1, "recall_floor": 0}

    def told(seed: int) -> float:
        return recall_of(embeddings, table, settings(similar=similar, index={"seed": seed})).estimate

    by_seed = [told(seed) for seed in range(4)]
    assert set(by_seed) == {0.0, 1.0}
    assert told(0) == by_seed[0]


def test_item_as_its_own_neighbour_counts_for_nothing(recall: Callable[..., float]) -> None:
    items = random_items(40)
    spoiled = {item: [(item, 1.0), *listed[:3]] for item, listed in items.neighbours(4).items()}
    assert recall(items, spoiled, 4) == pytest.approx(0.75)


def test_neighbours_of_another_group_count_for_nothing(recall: Callable[..., float]) -> None:
    items = random_items(40, ("shoe", "bag"))
    ungrouped = brute_force(items.vectors, dict.fromkeys(items.vectors), 4)
    kept = sum(items.groups[item] == items.groups[other] for item, listed in ungrouped.items() for other, _ in listed)
    assert recall(items, ungrouped, 4) == pytest.approx(kept / (40 * 4))


def test_neighbours_beyond_k_count_for_nothing(recall: Callable[..., float]) -> None:
    """Everything listed, the k best of it last."""
    items = random_items(30)
    backwards = {item: listed[::-1] for item, listed in items.neighbours(29).items()}
    assert recall(items, backwards, 4) == 0.0


def test_more_ties_than_asked_for_do_not_make_up_for_others(recall: Callable[..., float]) -> None:
    items = random_items(24, copies=12)
    whole = items.neighbours(5)
    half = {item: listed for item, listed in whole.items() if item < "i012"}
    assert recall(items, half, 5) == pytest.approx(0.5)
