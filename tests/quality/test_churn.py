"""Neighbour churn by hand-made lists: what moved for a cause is none, what moved without one is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import pytest
from pyspark.sql import SparkSession

from lookalike import config
from lookalike.quality import churn
from lookalike.quality.churn import Churn, ReleaseLists

Neighbours = Mapping[str, Sequence[tuple[str, float]]]


@dataclass(frozen=True)
class Shop:
    """A release: the picture of each item, its neighbours best first, and its group where it has one."""

    pictures: Mapping[str, str]
    listed: Neighbours
    groups: Mapping[str, str] | None = None

    def lists(self, spark: SparkSession) -> ReleaseLists:
        groups = self.groups or {}
        items = [(item, picture, groups.get(item)) for item, picture in self.pictures.items()]
        rows = [
            (item, rank, other, score, "r")
            for item, others in self.listed.items()
            for rank, (other, score) in enumerate(others, 1)
        ]
        return ReleaseLists(
            spark.createDataFrame(items, "item_id string, image_hash string, kind string"),
            spark.createDataFrame(
                rows, "item_id string, rank int, similar_item_id string, score float, release_id string"
            ),
        )


Measure = Callable[..., Churn]


@pytest.fixture
def measure(spark: SparkSession) -> Measure:
    """The churn from one shop to another with two neighbours an item, or `k`."""

    def run(old: Shop, new: Shop, k: int = 2, group_by: str | None = None) -> Churn:
        similar = config.SimilarSettings(k=k, group_by=group_by)
        none = spark.createDataFrame([], "item_id string")
        return churn.measure(old.lists(spark), new.lists(spark), similar, none)

    return run


# Four items whose pictures lie on a line: a 0, b 1, c 3, d 6; the score falls by 0.1 with every step.
OLD = Shop(
    {item: f"picture of {item}" for item in "abcd"},
    {
        "a": [("b", 0.9), ("c", 0.7)],
        "b": [("a", 0.9), ("c", 0.8)],
        "c": [("b", 0.8), ("a", 0.7)],
        "d": [("c", 0.7), ("b", 0.5)],
    },
)


def changed(shop: Shop, pictures: Mapping[str, str | None] | None = None, **listed: list[tuple[str, float]]) -> Shop:
    """`shop` with other pictures, None for an item that is no more, and other lists."""
    all_pictures = {**shop.pictures, **(pictures or {})}
    kept = {item: picture for item, picture in all_pictures.items() if picture is not None}
    return replace(shop, pictures=kept, listed={**{i: o for i, o in shop.listed.items() if i in kept}, **listed})


def test_nothing_changed_is_no_churn(measure: Measure) -> None:
    assert measure(OLD, OLD) == Churn(4, 0)


def test_new_item_that_enters_lists_and_pushes_others_out_is_no_churn(measure: Measure) -> None:
    new = changed(
        OLD,
        {"n": "picture of n"},
        n=[("a", 0.95), ("b", 0.85)],
        a=[("n", 0.95), ("b", 0.9)],
        b=[("a", 0.9), ("n", 0.85)],
    )
    assert measure(OLD, new) == Churn(4, 0)


def test_place_of_a_removed_item_is_taken_without_churn(measure: Measure) -> None:
    new = changed(OLD, {"a": None}, b=[("c", 0.8), ("d", 0.5)], c=[("b", 0.8), ("d", 0.7)])
    assert measure(OLD, new) == Churn(3, 0)


def test_place_of_an_item_whose_picture_changed_is_taken_without_churn(measure: Measure) -> None:
    new = changed(
        OLD,
        {"a": "another picture"},
        a=[("d", 0.99), ("c", 0.2)],
        b=[("c", 0.8), ("d", 0.5)],
        c=[("b", 0.8), ("d", 0.7)],
        d=[("a", 0.99), ("c", 0.7)],
    )
    assert measure(OLD, new) == Churn(3, 0)


def test_item_displaced_by_a_worse_one_is_churn(measure: Measure) -> None:
    """d is no better for b than c was, and neither of them has changed."""
    assert measure(OLD, changed(OLD, b=[("a", 0.9), ("d", 0.5)])) == Churn(4, 1)


def test_item_that_enters_although_it_could_have_before_is_churn(measure: Measure) -> None:
    """The new picture explains why c left b's list, and not why d, worse than c, came in its place."""
    new = changed(OLD, {"n": "picture of n"}, n=[("a", 0.95), ("b", 0.85)], b=[("n", 0.85), ("d", 0.84)])
    assert measure(OLD, new) == Churn(4, 1)


def test_neighbour_that_left_although_there_is_room_is_churn(measure: Measure) -> None:
    assert measure(OLD, changed(OLD, b=[("a", 0.9)])) == Churn(4, 1)
    assert measure(OLD, changed(OLD, b=[], c=[])) == Churn(4, 2)
    assert measure(changed(OLD, b=[], c=[]), OLD) == Churn(4, 2)


@pytest.mark.parametrize(("score", "moved"), [(0.9 + 1e-6, 0), (0.9 - 1e-6, 0), (0.9 + 1e-5, 1), (0.89, 1)])
def test_score_that_changed_is_churn_beyond_the_rounding_of_kernels(measure: Measure, score: float, moved: int) -> None:
    assert measure(OLD, changed(OLD, b=[("a", score), ("c", 0.8)])) == Churn(4, moved)


def test_scores_of_a_changed_picture_may_change(measure: Measure) -> None:
    new = changed(OLD, {"a": "another picture"}, a=[("b", 0.85), ("c", 0.7)], b=[("a", 0.85), ("c", 0.8)])
    assert measure(OLD, new) == Churn(3, 0)


def test_neighbours_that_tie_may_take_each_other_s_place(measure: Measure) -> None:
    old = changed(OLD, b=[("a", 0.9), ("c", 0.8)])
    assert measure(old, changed(old, b=[("a", 0.9), ("d", 0.8)])) == Churn(4, 0)
    assert measure(old, changed(old, b=[("a", 0.9), ("d", 0.8 + 1e-5)])) == Churn(4, 1)


def test_item_counts_once_however_much_of_its_list_moved(measure: Measure) -> None:
    assert measure(OLD, changed(OLD, a=[("d", 0.4), ("c", 0.1)])) == Churn(4, 1)


def test_item_that_changed_its_group_is_not_compared(measure: Measure) -> None:
    old = replace(OLD, groups=dict.fromkeys("abcd", "shoe"))
    new = changed(old, a=[], b=[("c", 0.8), ("d", 0.5)], c=[("b", 0.8), ("d", 0.7)])
    new = replace(new, groups={**dict.fromkeys("bcd", "shoe"), "a": "bag"})
    assert measure(old, new, group_by="kind") == Churn(3, 0)
    # Without groups there is no cause for a's empty list and its absence from b's; in c's list d ties with it.
    assert measure(old, new) == Churn(4, 2)


@pytest.mark.parametrize(("before", "after"), [(None, ""), ("", None)])
def test_no_group_and_the_empty_group_are_two(measure: Measure, before: str | None, after: str | None) -> None:
    old = Shop(OLD.pictures, OLD.listed, dict.fromkeys("abcd", before))
    new = Shop(OLD.pictures, changed(OLD, a=[]).listed, {**old.groups, "a": after})
    assert measure(old, new, group_by="kind") == Churn(3, 0)


def test_items_without_a_group_are_compared_too(measure: Measure) -> None:
    old = replace(OLD, groups=dict.fromkeys("ab", "shoe"))
    assert measure(old, replace(changed(OLD, d=[("c", 0.7)]), groups=old.groups), group_by="kind") == Churn(4, 1)


def test_releases_that_share_no_picture_have_nothing_to_compare(measure: Measure) -> None:
    other = Shop({"x": "picture of x", "a": "another picture"}, {"x": [("a", 0.1)], "a": [("x", 0.1)]})
    nothing = Shop({}, {})
    for old, new in ((OLD, other), (OLD, nothing), (nothing, OLD), (nothing, nothing)):
        assert measure(old, new) == Churn(0, 0)
