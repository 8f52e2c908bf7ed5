"""The naive loop over the rules of similar_items, on tables small enough to check by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from lookalike.config import SimilarSettings
from support.constraint_oracle import (
    Item,
    components,
    duplicates,
    neighbours,
)
from support.lettered_items import item


def listed(items: Sequence[Item], query: str = "q", **rules: Any) -> str:
    """The neighbours of one item, as one text."""
    return " ".join(other for _, other, _ in neighbours(items, SimilarSettings(**rules))[query])


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
    "far ones leave their place to near ones of a fallback level": (
        [item("q"), item("a", "w"), item("d"), item("b"), item("e", "w")],
        {**FALLBACK, "k": 3, "min_score": 0.7},
        "a b",
    ),
    "a far variant leaves the place of its product to a near one of a fallback level": (
        [item("q"), item("a", "w", product="p"), item("d", product="p"), item("b")],
        {**FALLBACK, **PRODUCTS, "min_score": 0.7},
        "a b",
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
