"""Items as arrays: taken, joined, and their ids as bytes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from lookalike.topk.items import (
    ItemVectors,
    as_ids,
    as_text,
    concatenate_items,
    is_in,
    items_without_groups,
    unit_length,
)
from support.ranking import names, random_units

TEXTS = ["Z", "a", "", "Ärmel", "日本", "a long id with spaces"]


def test_ids_come_back_as_the_text_they_were() -> None:
    for column in (pa.array(TEXTS), pa.chunked_array([TEXTS[:2], TEXTS[2:]])):
        assert as_text(as_ids(column)).to_pylist() == TEXTS


@pytest.mark.parametrize("chosen", [[], ["a"], ["Z", "a"], ["", "b"]])
def test_ids_are_found_among_those_chosen(chosen: list[str]) -> None:
    found = is_in(as_ids(pa.array(TEXTS)), np.sort(as_ids(pa.array(chosen, pa.string()))))
    assert found.tolist() == [text in chosen for text in TEXTS]


def test_items_without_groups_share_none() -> None:
    items = items_without_groups(random_units(5, 3), names(5))
    assert items.by_variant_group is None
    assert items.same_groups
    assert items.take(np.array([3, 1])).same_groups


def test_items_are_sorted_by_their_variant_groups() -> None:
    items = ItemVectors(random_units(5, 3), names(5), np.array([7, 2, 7, 5, 2]), np.arange(5))
    assert items.by_variant_group is not None
    order, first = items.by_variant_group
    assert order.tolist() == [1, 4, 3, 0, 2]
    assert first.tolist() == [0, 2, 3]


def test_parts_joined_are_the_items_again() -> None:
    items = ItemVectors(random_units(7, 3), names(7), np.arange(7), np.arange(7) // 2)
    again = concatenate_items(list(items.chunks(3)))
    for field in ("vectors", "ids", "variant_groups", "duplicate_groups"):
        np.testing.assert_array_equal(getattr(again, field), getattr(items, field))
    assert concatenate_items(list(items_without_groups(items.vectors, items.ids).chunks(2))).same_groups


def test_vectors_are_scaled_to_unit_length_and_zeros_stay_zeros() -> None:
    features = np.float32([[3, 4], [0, 0], [-0.5, 0]])
    vectors, norms = unit_length(features)
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0, 0], [-1, 0]], atol=1e-7)
    assert norms.tolist() == [5, 0, 0.5]
