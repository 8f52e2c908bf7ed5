"""The checks of a table of neighbours refuse every wrong one; the catalogues hold what they are for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lookalike.config import SimilarSettings
from support import constraint_items
from support.constraint_oracle import (
    Item,
    assert_fit,
    assert_full,
    assert_same,
    assert_same_duplicates,
    components,
    duplicates,
    neighbours,
    recall,
)
from support.lettered_items import ANGLES, as_found, item
from support.random_nights import RandomCatalogue

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
    items, rules = [item("q"), item("a1"), item("a2"), item("b")], SimilarSettings(k=2, duplicate_cosine=0.99)
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
    items, rules = (
        [item("q"), item("a"), item("b", "w"), item("c", "w")],
        SimilarSettings(k=2, group_by="kind", group_fallback=("dept",)),
    )
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
    items, rules = [item("a"), item("a2"), item("b")], SimilarSettings(duplicate_cosine=0.99)
    rows = duplicates(items, rules)
    assert_same_duplicates(rows, items, rules)
    for wrong in ([], [("a", "a2", 1.0)], [("a2", "a", 0.99)], [*rows, ("b", "a", 0.98)]):
        with pytest.raises(AssertionError):
            assert_same_duplicates(wrong, items, rules)


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


def test_random_nights_hold_ties_duplicates_zeros_and_nulls_and_change() -> None:
    catalogue = RandomCatalogue(np.random.default_rng(1), "0", nulls=True, exact=True)
    nights = [list(catalogue.night()) for _ in range(9)]
    assert all(len({one.item_id for one in items}) == len(items) for items in nights)
    assert all(set(now) - set(before) for before, now in itertools.pairwise(nights))
    items = [one for night in nights for one in night]
    assert {one.eligible for one in items} == {True, False}
    assert any(not one.vector.any() for one in items)
    for column in constraint_items.COLUMNS:
        assert None in {one.columns[column] for one in items}
    pictures = components(nights[0], SimilarSettings(duplicate_cosine=0.875))
    assert max(map(len, pictures.values())) > 3
