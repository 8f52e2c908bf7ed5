"""Constraints of neighbours: the search on Spark against a naive loop over the rules, on catalogues made for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from lookalike import config
from lookalike.neighbours.duplicates import write_duplicates
from lookalike.neighbours.step import write_neighbours
from lookalike.warehouse.local import Warehouse
from support import built_index, constraint_items, constraint_oracle, random_catalogues
from support.brute_force import Neighbours, published
from support.constraint_items import item, signs
from support.constraint_oracle import Duplicate, Item

Build = Callable[..., config.Settings]


def search(spark: SparkSession, items: Sequence[Item], settings: config.Settings) -> tuple[Neighbours, list[Duplicate]]:
    """The published neighbours of `items`, and the rows of the file of duplicates in their order."""
    table = spark.createDataFrame(constraint_items.embeddings(items, eligible=settings.similar.eligible is not None))
    with Warehouse(settings.warehouse.path).stage() as staged:
        index = built_index.build(table, settings, staged)
        rows: list[dict[str, Any]] = []
        if settings.similar.duplicate_cosine is not None:
            found_duplicates = write_duplicates(spark, index, settings, staged, None)
            rows = pq.read_table(staged.duplicates).to_pylist()
            assert found_duplicates.table.count() == len(rows)
            assert found_duplicates.touched is None
            assert {row["release_id"] for row in rows} <= {staged.release_id}
        found = published(write_neighbours(spark, index, settings, staged).similar_items)
        return found, [(row["item_id"], row["representative_item_id"], row["score"]) for row in rows]


def assert_exact(found: Neighbours, items: Sequence[Item], rules: config.SimilarSettings) -> None:
    """Equal to the last bit, ties included: for vectors with cosines that are exact in float32."""
    expected = constraint_oracle.neighbours(items, rules)
    for one in items:
        wanted = [(other, score) for _, other, score in expected[one.item_id]]
        assert found.get(one.item_id, []) == wanted, f"{one}: {found.get(one.item_id)}, should have {wanted}"
    assert set(found) <= set(expected)


FALLBACK = {"group_by": "kind", "group_fallback": ["dept", "brand"]}

RULES: dict[str, dict[str, Any]] = {
    "nothing but k": {"k": 3},
    "kinds, spare ones": {"group_by": "kind", "k": 4, "spare": 2},
    "for sale, not too far": {"group_by": "kind", "eligible": "in_stock", "min_score": 0.125, "k": 5},
    "products": {"group_by": "dept", "variant_of": "product", "k": 4},
    "pictures": {"duplicate_cosine": 0.875, "k": 6},
    "the same pictures": {"duplicate_cosine": 1.0, "group_by": "kind", "eligible": "in_stock", "k": 2},
    "fallback levels": {**FALLBACK, "k": 7},
    "fallback levels, for sale, not too far": {
        **FALLBACK,
        "eligible": "in_stock",
        "min_score": 0.0,
        "k": 3,
        "spare": 1,
    },
    "fallback levels and products": {**FALLBACK, "variant_of": "product", "k": 5},
    "fallback levels and pictures": {**FALLBACK, "duplicate_cosine": 0.875, "k": 4},
    "all": {**FALLBACK, "eligible": "in_stock", "variant_of": "product", "duplicate_cosine": 0.875, "k": 2, "spare": 1},
}


@pytest.mark.parametrize("case", RULES)
def test_exact_plan_keeps_every_rule_to_the_last_bit(spark: SparkSession, settings: Build, case: str) -> None:
    items = constraint_items.all_cases()
    shard_items = 13 if len(case) % 2 else 1000  # groups of one shard, and of many
    chosen = settings(similar={**RULES[case], "plan": "exact"}, index={"trees": 1, "shard_items": shard_items})
    found, same = search(spark, items, chosen)
    assert_exact(found, items, chosen.similar)
    assert same == constraint_oracle.duplicates(items, chosen.similar)


def test_vectors_of_any_direction_give_the_lists_of_the_rules(spark: SparkSession, settings: Build) -> None:
    items = random_catalogues.real_items(300, 1)
    chosen = settings(similar={**RULES["all"], "duplicate_cosine": 0.97, "plan": "exact"}, index={"shard_items": 50})
    found, same = search(spark, items, chosen)
    constraint_oracle.assert_same(found, items, chosen.similar)
    constraint_oracle.assert_same_duplicates(same, items, chosen.similar)


def test_same_vectors_are_one_picture_at_a_cosine_of_one(spark: SparkSession, settings: Build) -> None:
    """The float32 product of a unit vector with itself is often a last bit below 1."""
    vectors = np.random.default_rng(3).normal(size=(30, 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    assert (np.einsum("nd,nd->n", vectors, vectors) < 1).any()
    items = [item(n, vectors[n // 2]) for n in range(60)]
    chosen = settings(similar={"k": 10, "duplicate_cosine": 1.0})
    found, same = search(spark, items, chosen)
    constraint_oracle.assert_same(found, items, chosen.similar)
    constraint_oracle.assert_same_duplicates(same, items, chosen.similar)


# Plans that do not compare every pair have to keep the rules and find nearly all of the right neighbours.
INEXACT: dict[str, dict[str, Any]] = {
    "for sale, products": {"k": 8, "eligible": "in_stock", "variant_of": "product"},
    "fallback levels, pictures": {**FALLBACK, "k": 8, "spare": 2, "duplicate_cosine": 0.97},
    "all": {**RULES["all"], "duplicate_cosine": 0.97, "min_score": 0.2, "k": 6},
}


@pytest.mark.parametrize("case", INEXACT)
@pytest.mark.parametrize("plan", ["ivf", "annoy"])
def test_inexact_plan_keeps_every_rule_and_nearly_all_neighbours(
    spark: SparkSession, settings: Build, plan: str, case: str
) -> None:
    items = random_catalogues.real_items(500, 2)
    chosen = settings(similar={**INEXACT[case], "plan": plan}, index={"shard_items": 120})
    found, same = search(spark, items, chosen)
    constraint_oracle.assert_fit(found, items, chosen.similar)
    constraint_oracle.assert_same_duplicates(same, items, chosen.similar)
    if case != "all":
        constraint_oracle.assert_full(found, items, chosen.similar)
    assert constraint_oracle.recall(found, items, chosen.similar) > 0.95


@pytest.mark.parametrize("plan", ["ivf", "annoy"])
def test_inexact_plan_of_a_tiny_catalogue_keeps_every_rule(spark: SparkSession, settings: Build, plan: str) -> None:
    """Groups of one, of copies, of zeros, of nothing for sale: most have no lists to speak of."""
    items = constraint_items.all_cases()
    chosen = settings(similar={**RULES["all"], "plan": plan})
    found, same = search(spark, items, chosen)
    constraint_oracle.assert_fit(found, items, chosen.similar)
    assert same == constraint_oracle.duplicates(items, chosen.similar)
    assert constraint_oracle.recall(found, items, chosen.similar) > 0.95


@pytest.mark.parametrize("plan", ["auto", "exact", "ivf", "annoy"])
def test_nothing_embedded_gives_empty_tables(spark: SparkSession, settings: Build, plan: str) -> None:
    chosen = settings(similar={**RULES["all"], "plan": plan})
    assert search(spark, [], chosen) == ({}, [])


def test_one_item_has_no_neighbours_and_no_duplicates(spark: SparkSession, settings: Build) -> None:
    assert search(spark, [item(0, signs(0))], settings(similar=RULES["all"])) == ({}, [])
