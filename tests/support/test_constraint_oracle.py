"""The naive loop over the rules of similar_items, on tables small enough to check by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from lookalike.config import SimilarSettings
from support import constraint_items, random_catalogues
from support.brute_force import Neighbours
from support.constraint_oracle import (
    Item,
    Row,
    assert_fit,
    assert_full,
    assert_same,
    assert_same_duplicates,
    components,
    duplicates,
    neighbours,
    recall,
)

# The cosine with (1, 0) of an item, by the first letter of its name.
ANGLES = {"q": 1.0, "a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6, "e": 0.5, "z": -0.5}


def item(name: str, kind: object = "x", dept: object = "y", product: object = None, *, eligible: bool = True) -> Item:
    """An item with the vector of its first letter."""
    x = ANGLES[name[0]]
    vector = np.array([x, np.sqrt(1 - x * x)], dtype=np.float32)
    return Item(name, vector, {"kind": kind, "dept": dept, "product": product}, eligible)


def listed(items: Sequence[Item], query: str = "q", **rules: Any) -> str:
    """The neighbours of one item, as one text."""
    return " ".join(other for _, other, _ in neighbours(items, SimilarSettings(**rules))[query])


def as_found(rows: dict[str, list[Row]]) -> Neighbours:
    """The rows in the form in which the job's table is read."""
    return {item_id: [(other, score) for _, other, score in found] for item_id, found in rows.items() if found}


FALLBACK: dict[str, Any] = {"group_by": "kind", "group_fallback": ["dept"]}
DUPLICATES: dict[str, Any] = {"duplicate_cosine": 0.99}
PRODUCTS: dict[str, Any] = {"variant_of": "product"}
FOR_SALE: dict[str, Any] = {"eligible": "in_stock"}

LISTS: dict[str, tuple[list[Item], dict[str, Any], str]] = {
    "the best come first": ([item("c"), item("q"), item("a"), item("z")], {}, "a c z"),
    "ties are in id order": ([item("q"), item("b2"), item("b10"), item("b1")], {}, "b1 b10 b2"),
    "no more than k": ([item("q"), item("a"), item("b"), item("c")], {"k": 2}, "a b"),
    "spare ones besides k": ([item("q"), item("a"), item("b"), item("c"), item("d")], {"k": 2, "spare": 1}, "a b c"),
    "no other item": ([item("q")], {}, ""),
    "of one kind": ([item("q"), item("a", "w"), item("b")], {"group_by": "kind"}, "b"),
    "no kind is a kind": ([item("q", None), item("a"), item("b", None)], {"group_by": "kind"}, "b"),
    "columns count where they are named": ([item("q"), item("a", "w", product="p")], {}, "a"),
    # eligible
    "not for sale": ([item("q"), item("a", eligible=False), item("b")], FOR_SALE, "b"),
    "has neighbours though not for sale": ([item("q", eligible=False), item("a")], FOR_SALE, "a"),
    "for sale without a predicate": ([item("q"), item("a", eligible=False)], {}, "a"),
    "filtered before the cut": ([item("q"), item("a", eligible=False), item("b")], {**FOR_SALE, "k": 1}, "b"),
    # variants
    "one of a product": ([item("q"), item("a", product="p"), item("b", product="p"), item("c")], PRODUCTS, "a c"),
    "not its own product": ([item("q", product="p"), item("a", product="p"), item("b", product="r")], PRODUCTS, "b"),
    "no product is none": ([item("q"), item("a"), item("b")], PRODUCTS, "a b"),
    "the first of a product that ties": ([item("q"), item("a2", product="p"), item("a1", product="p")], PRODUCTS, "a1"),
    "the best of a product that is for sale": (
        [item("q"), item("a", product="p", eligible=False), item("b", product="p"), item("c", product="p")],
        {**PRODUCTS, **FOR_SALE},
        "b",
    ),
    # duplicates
    "a picture once": ([item("q"), item("a2"), item("a1"), item("b")], DUPLICATES, "a1 b"),
    "not its own picture": ([item("q"), item("q2"), item("a")], DUPLICATES, "a"),
    "the first of a picture that is for sale": (
        [item("q"), item("a1", eligible=False), item("a2"), item("a3")],
        {**DUPLICATES, **FOR_SALE},
        "a2",
    ),
    "near ones of near ones": ([item("q"), item("c"), item("d"), item("e"), item("z")], DUPLICATES, "c z"),
    "other kinds show other pictures": (
        [item("q"), item("a1", "w"), item("a2")],
        {**DUPLICATES, "group_by": "kind"},
        "a2",
    ),
    # fallback levels
    "a fallback level fills up": ([item("q"), item("a", "w"), item("b"), item("c", "w", "v")], FALLBACK, "a b"),
    "a fallback level only fills up": (
        [item("q"), item("a", "w"), item("b", "w"), item("c"), item("d")],
        {**FALLBACK, "k": 3},
        "a c d",
    ),
    "enough of its own kind": ([item("q"), item("a", "w"), item("b"), item("c")], {**FALLBACK, "k": 2}, "b c"),
    "the last level last": (
        [item("q"), item("a", "w", "v", "p"), item("b", "w"), item("c")],
        {"group_by": "kind", "group_fallback": ["dept", "product"], "k": 3},
        "b c",
    ),
    "a product's own kind comes first": (
        [item("q"), item("a", "w", product="p"), item("b", product="p")],
        {**FALLBACK, **PRODUCTS},
        "b",
    ),
    "a picture's own kind comes first": (
        [item("q"), item("a1", "w"), item("a2"), item("b")],
        {**FALLBACK, **DUPLICATES},
        "a2 b",
    ),
    "a picture of a fallback level": (
        [item("q"), item("a2", "w"), item("a1", "w"), item("b")],
        {**FALLBACK, **DUPLICATES},
        "a1 b",
    ),
    "its picture is its own at fallback levels too": (
        [item("q"), item("q2", "w"), item("b")],
        {**FALLBACK, **DUPLICATES},
        "b",
    ),
    # min_score
    "near enough": ([item("q"), item("a"), item("c"), item("z")], {"min_score": 0.65}, "a c"),
    "negative is near enough": ([item("q"), item("a"), item("z")], {"min_score": -1}, "a z"),
    "far ones are not replaced from a fallback level": (
        [item("q"), item("a", "w"), item("d"), item("b")],
        {**FALLBACK, "k": 2, "min_score": 0.7},
        "b",
    ),
}


@pytest.mark.parametrize("case", LISTS)
def test_list(case: str) -> None:
    items, rules, expected = LISTS[case]
    assert listed(items, **rules) == expected
    assert listed(items[::-1], **rules) == expected


def test_ranks_count_from_one_and_scores_are_cosines() -> None:
    rows = neighbours([item("q"), item("a"), item("b")], SimilarSettings())["q"]
    assert [(rank, other) for rank, other, _ in rows] == [(1, "a"), (2, "b")]
    assert [score for _, _, score in rows] == pytest.approx([0.9, 0.8], abs=1e-6)


def test_zero_vector_is_near_to_nothing() -> None:
    zeros = [Item(name, np.zeros(2, dtype=np.float32), {}) for name in "mn"]
    rows = neighbours([*zeros, item("a"), item("z")], SimilarSettings(duplicate_cosine=0.1))
    assert [(other, score) for _, other, score in rows["m"]] == [("a", 0), ("n", 0), ("z", 0)]
    assert [other for _, other, _ in rows["a"]] == ["m", "n", "z"]


def test_same_vector_meets_any_threshold() -> None:
    assert duplicates([item("b1"), item("b2")], SimilarSettings(duplicate_cosine=1.0)) == [("b2", "b1", 1.0)]


def test_chain_is_one_picture_within_the_last_fallback_level() -> None:
    steps = [item("a"), item("b", "w"), item("c", "v"), item("d", "u", "other")]
    near = {"duplicate_cosine": 0.97}
    assert len(set(components(steps, SimilarSettings(**near)).values())) == 1
    assert len(set(components(steps, SimilarSettings(**near, group_by="dept")).values())) == 2
    assert len(set(components(steps, SimilarSettings(**near, **FALLBACK)).values())) == 2
    assert len(set(components(steps, SimilarSettings(**near, group_by="kind")).values())) == 4
    assert len(set(components(steps, SimilarSettings()).values())) == 4


@pytest.mark.parametrize(
    ("items", "rules", "expected"),
    [
        ([item("a2"), item("b"), item("a1"), item("a3")], {}, [("a2", "a1"), ("a3", "a1")]),
        ([item("a2"), item("a1", eligible=False)], FOR_SALE, [("a1", "a2")]),
        ([item("a2", eligible=False), item("a1", eligible=False)], FOR_SALE, [("a2", "a1")]),
        ([item("a1", "w"), item("a2"), item("a3")], {"group_by": "kind"}, [("a3", "a2")]),
        ([item("a1", "w"), item("a2"), item("a3")], FALLBACK, [("a2", "a1"), ("a3", "a1")]),
        ([item("a"), item("b")], {}, []),
    ],
)
def test_table_of_duplicates(items: list[Item], rules: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    rows = duplicates(items, SimilarSettings(**DUPLICATES, **rules))
    assert [row[:2] for row in rows] == expected
    assert [score for _, _, score in rows] == [1.0] * len(rows)


def test_score_of_a_duplicate_is_that_of_the_pair_and_not_of_the_chain() -> None:
    rows = duplicates([item("a"), item("b"), item("c")], SimilarSettings(duplicate_cosine=0.97))
    assert [(other, first, round(score, 3)) for other, first, score in rows] == [("b", "a", 0.982), ("c", "a", 0.941)]


# ---- the checks of a table refuse every wrong one

SHELF = [item("q"), item("a", product="p"), item("b1", product="p"), item("b2"), item("b3"), item("c", eligible=False)]
RULES = SimilarSettings(k=3, variant_of="product", eligible="in_stock")


def test_right_table_passes() -> None:
    found = as_found(neighbours(SHELF, RULES))
    assert [other for other, _ in found["q"]] == ["a", "b2", "b3"]
    assert_same(found, SHELF, RULES)
    assert_full(found, SHELF, RULES)
    assert recall(found, SHELF, RULES) == 1


WRONG: dict[str, list[tuple[str, float]]] = {
    "one too few": [("a", 0.9), ("b2", 0.8)],
    "none": [],
    "the tie the wrong way round": [("a", 0.9), ("b3", 0.8), ("b2", 0.8)],
    "a score that is none": [("a", 0.9), ("b2", 0.8), ("b3", 0.79999)],
    "the same twice": [("a", 0.9), ("b2", 0.8), ("b2", 0.8)],
    "a product twice": [("a", 0.9), ("b1", 0.8), ("b2", 0.8)],
    "the second of a product": [("b1", 0.8), ("b2", 0.8), ("b3", 0.8)],
    "one that is not for sale": [("a", 0.9), ("b2", 0.8), ("c", 0.7)],
    "itself": [("q", 1.0), ("a", 0.9), ("b2", 0.8)],
    "out of order": [("b2", 0.8), ("b3", 0.8), ("a", 0.9)],
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_list_is_refused(case: str) -> None:
    found = as_found(neighbours(SHELF, RULES)) | {"q": WRONG[case]}
    with pytest.raises(AssertionError):
        assert_same(found, SHELF, RULES)


def test_list_with_another_item_of_a_duplicate_group_is_refused() -> None:
    items, rules = [item("q"), item("a1"), item("a2"), item("b")], SimilarSettings(k=2, **DUPLICATES)
    found = as_found(neighbours(items, rules))
    assert_same(found, items, rules)
    for wrong in (["a2", "b"], ["a1", "a2"]):
        with pytest.raises(AssertionError, match="q lists"):
            assert_fit(found | {"q": [(other, ANGLES[other[0]]) for other in wrong]}, items, rules)


def test_close_scores_may_change_places_and_equal_vectors_may_not() -> None:
    near, other, far = (np.array([x, np.sqrt(1 - x * x)], dtype=np.float32) for x in (0.8, 0.8000005, 0.3))
    items = [item("q"), *(Item(name, v, {}) for name, v in (("m1", near), ("m2", near), ("n", other), ("o", far)))]
    rules = SimilarSettings(k=3)
    found = as_found(neighbours(items, rules))
    assert [name for name, _ in found["q"]] == ["n", "m1", "m2"]
    assert_same(found | {"q": [("m1", 0.8), ("m2", 0.8), ("n", 0.8)]}, items, rules)
    apart = [one for one in items if one.item_id != "n"]
    found = as_found(neighbours(apart, rules))
    with pytest.raises(AssertionError, match="in this order"):
        # As in a search that sorts by more digits than it publishes.
        assert_same(found | {"m1": [found["m1"][0], *found["m1"][1:]], "o": _swapped(found["o"])}, apart, rules)


def _swapped(rows: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """The two of one vector in reverse order, the score of the first a last bit higher."""
    assert [name for name, _ in rows] == ["m1", "m2", "q"]
    return [("m2", rows[1][1] + 1e-7), ("m1", rows[0][1]), rows[2]]


def test_level_that_is_left_half_empty_is_refused() -> None:
    items, rules = [item("q"), item("a"), item("b", "w"), item("c", "w")], SimilarSettings(k=2, **FALLBACK)
    found = as_found(neighbours(items, rules))
    assert_full(found, items, rules)
    with pytest.raises(AssertionError, match="by level"):
        assert_full(found | {"q": [("b", 0.8), ("c", 0.7)]}, items, rules)


def test_recall_is_the_share_of_neighbours_as_good_as_the_right_ones() -> None:
    items, rules = [item("q"), item("a"), item("b1"), item("b2"), item("c")], SimilarSettings(k=2)
    found = as_found(neighbours(items, rules))
    assert recall(found, items, rules) == 1
    assert recall(found | {"q": [("a", 0.9), ("b2", 0.8)]}, items, rules) == 1
    assert recall(found | {"q": [("a", 0.9), ("c", 0.7)]}, items, rules) == 0.9
    assert recall({}, items, rules) == 0


def test_wrong_duplicates_are_refused() -> None:
    items, rules = [item("a"), item("a2"), item("b")], SimilarSettings(**DUPLICATES)
    rows = duplicates(items, rules)
    assert_same_duplicates(rows, items, rules)
    for wrong in ([], [("a", "a2", 1.0)], [("a2", "a", 0.99)], [*rows, ("b", "a", 0.98)]):
        with pytest.raises(AssertionError):
            assert_same_duplicates(wrong, items, rules)


# ---- the catalogues of the tests


def test_catalogues_side_by_side_share_no_id_and_no_value() -> None:
    items = constraint_items.all_cases()
    assert len({one.item_id for one in items}) == len(items)
    assert {name for one in items for name in one.columns} == set(constraint_items.COLUMNS)
    pairs = np.array([one.vector for one in items], dtype=np.float64)
    assert set(np.unique((pairs @ pairs.T * 16).round(9))) <= set(
        range(-16, 17)
    )  # exact in float32, whatever the order
    kinds = [(one.item_id.split("/")[0], str(one.columns["kind"]).split("/")[0]) for one in items]
    assert all(kind in (case, "None") for case, kind in kinds)


def test_random_catalogues_hold_ties_duplicates_zeros_and_nulls() -> None:
    catalogues = [random_catalogues.random_items(seed) for seed in range(20)]
    assert all(5 <= len(items) <= 60 for items in catalogues)
    assert all(len({one.item_id for one in items}) == len(items) for items in catalogues)
    items = [one for catalogue in catalogues for one in catalogue]
    assert {one.eligible for one in items} == {True, False}
    assert any(not one.vector.any() for one in items)
    for column in constraint_items.COLUMNS:
        assert None in {one.columns[column] for one in items}
    pictures = components(catalogues[0], SimilarSettings(duplicate_cosine=0.875))
    assert max(map(len, pictures.values())) > 3
