"""The figures of a release."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lookalike import config
from lookalike.neighbours.step import NeighbourTables
from lookalike.quality import metrics as quality
from lookalike.spark import schemas
from lookalike.spark.release_tables import ReleaseTables
from lookalike.warehouse.record import Figures, NeighboursRecord, PlanRecord
from lookalike.warehouse.release import ReleaseFolder
from lookalike.warehouse.stored_config import StoredConfig
from support import records
from support.brute_force import Neighbours
from support.item_vectors import Items, as_table, random_items, stored

Build = Callable[..., config.Settings]


def hub(listed: Neighbours) -> dict[str, object]:
    """The item that most lists hold, by counting; of several the last by id."""
    counts = Counter(other for others in listed.values() for other, _ in others)
    item = max(counts, key=lambda other: (counts[other], other))
    return {"hub_item": item, "hub_recommended": counts[item]}


# A release in the making whose tables are given.
NOWHERE = ReleaseFolder(Path("release"))


NO_FAILURES = "item_id string, image_path string, reason string, detail string"


def test_figures_count_the_tables(spark: SparkSession, settings: Build, tmp_path: Path) -> None:
    items = random_items(10)
    reasons = ["not_found", "corrupt", "not_found"]
    failures = spark.createDataFrame(
        [(str(i), f"{i}.jpg", reason, "why") for i, reason in enumerate(reasons)],
        "item_id string, image_path string, reason string, detail string",
    )
    table = as_table(spark, items.neighbours(3))
    tables = ReleaseTables(NOWHERE, stored(items.embeddings(spark), tmp_path), failures, table)
    chosen = settings(similar={"k": 3, "recall_sample": 6})
    assert quality.measure(tables, chosen) == Figures(
        items=13,
        embedded=10,
        failed=3,
        failed_by_reason={"corrupt": 1, "not_found": 2},
        failed_example="item 0, '0.jpg': not_found, why",
        similar_items=30,
        recall=1.0,
        recall_sample=10,  # all, which the floor asks for
        recall_low=1.0,
        recall_high=1.0,
        recall_pairs=30,
        recall_missed=0,
        without_neighbours=0,
        short_lists=0,
        **hub(items.neighbours(3)),
    )
    empty = ReleaseTables(NOWHERE, tables.embeddings.limit(0), failures, table.limit(0))
    assert quality.measure(empty, chosen) == Figures(
        items=3,
        embedded=0,
        failed=3,
        failed_by_reason={"corrupt": 1, "not_found": 2},
        failed_example="item 0, '0.jpg': not_found, why",
        similar_items=0,
        recall=1.0,
        recall_sample=0,
        recall_low=1.0,
        recall_high=1.0,
    )


def test_vectors_without_length_and_those_of_other_items_are_counted(
    spark: SparkSession, settings: Build, tmp_path: Path
) -> None:
    """Ten items of six different vectors; the length before scaling tells a zero and what is not finite."""
    norms = [0.0, None, math.nan, math.inf, 1e-30, 1.0, 2.0, 3.0, 4.0, 5.0]
    vectors = [[float(n), 1.0] for n in (0, 0, 0, 1, 1, 2, 3, 4, 4, 5)]
    rows = [(f"i{n}", vector, norm) for n, (vector, norm) in enumerate(zip(vectors, norms, strict=True))]
    embeddings = spark.createDataFrame(rows, "item_id string, embedding array<float>, norm float")
    tables = ReleaseTables(
        NOWHERE, stored(embeddings, tmp_path), spark.createDataFrame([], NO_FAILURES), as_table(spark, {})
    )
    found = quality.measure(tables, settings())
    assert (found.embedded, found.unusable_vectors, found.duplicate_vectors) == (10, 4, 4)
    assert (found.hub_item, found.hub_recommended, found.similar_items) == (None, 0, 0)
    assert (found.items_before, found.churn_checked) == (None, 0)


def test_hub_is_the_item_of_most_lists(spark: SparkSession, settings: Build, tmp_path: Path) -> None:
    items = random_items(4)
    listed = {"i000": [("i003", 0.5), ("i001", 0.4)], "i001": [("i003", 0.5)], "i002": [("i003", 0.5), ("i001", 0.1)]}
    tables = ReleaseTables(
        NOWHERE,
        stored(items.embeddings(spark), tmp_path),
        spark.createDataFrame([], NO_FAILURES),
        as_table(spark, listed),
    )
    found = quality.measure(tables, settings(similar={"k": 2}))
    assert (found.hub_item, found.hub_recommended, found.similar_items) == ("i003", 3, 5)
    assert found.without_neighbours == 1  # i003
    assert found.short_lists == 2  # i001, which has one of two, and i003


EXACT = [PlanRecord(kind="exact", items=20)]


IVF = [PlanRecord(kind="ivf", items=20)]


@pytest.mark.parametrize(
    ("then", "plans", "now", "checked", "moved"),
    [
        ({}, EXACT, EXACT, 20, 1),
        ({"k": 4}, EXACT, EXACT, 0, 0),
        ({"group_by": "kind"}, EXACT, EXACT, 0, 0),
        ({"eligible": "price > 1"}, EXACT, EXACT, 0, 0),
        ({}, IVF, EXACT, 0, 0),
        ({}, EXACT, [*EXACT, *IVF], 0, 0),
    ],
)
def test_lists_are_compared_to_those_of_a_release_that_was_made_alike(
    spark: SparkSession,
    settings: Build,
    tmp_path: Path,
    then: dict[str, object],
    plans: list[PlanRecord],
    now: list[PlanRecord],
    checked: int,
    moved: int,
) -> None:
    items, chosen = random_items(20), settings(similar={"k": 3})
    listed = items.neighbours(3)
    old_release = ReleaseFolder(tmp_path / "release")
    columns = {"image_hash": F.col("item_id"), "model_id": F.lit("m")}
    embeddings = stored(items.embeddings(spark).withColumns(columns), tmp_path)
    records.write_record(
        old_release,
        counts=records.figures(items=25),
        config=StoredConfig.of(settings(similar={"k": 3, **then})),
        neighbours=NeighboursRecord(plans=tuple(plans)),
    )
    none = spark.createDataFrame([], NO_FAILURES)
    before = ReleaseTables(old_release, embeddings, none, as_table(spark, listed))
    table = as_table(spark, {**listed, "i007": listed["i007"][:2]})
    lists = spark.createDataFrame([], schemas.NEIGHBOURS)
    may_differ = NeighbourTables(table, lists, 20, 0, now).items_that_may_differ(before, None, chosen)
    found = quality.measure(ReleaseTables(NOWHERE, embeddings, none, table), chosen, before, may_differ)
    assert (found.items_before, found.churn_checked, found.churn_moved) == (25, checked, moved)


@dataclass(frozen=True)
class Case:
    """Labels by item, neighbours by item best first, and what comes out at k."""

    labels: Mapping[str, object]
    listed: Mapping[str, str]
    k: int
    at_k: float
    chance: float


FOUR = {"a": "x", "b": "x", "c": "y", "d": "y"}


NEXT = {"a": "bc", "b": "ad", "c": "da", "d": "cb"}


PRECISION = {
    # a-b and c-d agree: 4 of the 8 pairs; chance: 2 x (2 x 1) / (4 x 3)
    "half right": Case(FOUR, NEXT, 2, 0.5, 0.333),
    "only the first counts at 1": Case(FOUR, NEXT, 1, 1, 0.333),
    # pairs with the null item, on either side, are left out: a-b and b-a agree, a-c does not
    "nulls left out": Case(
        {"a": "x", "b": "x", "c": "y", "d": None}, {"a": "bcd", "b": "ad", "d": "abc"}, 3, 0.667, 0.333
    ),
    "one value": Case({"a": "x", "b": "x", "c": "x"}, {"a": "bc", "b": "a", "c": "ab"}, 5, 1, 1),
    "all differ": Case({"a": "x", "b": "y", "c": "z"}, {"a": "bc", "b": "a", "c": "ab"}, 5, 0, 0),
    # 3 of x, 2 of y: (3 x 2 + 2 x 1) / (5 x 4); 1 of 3 pairs agrees
    "uneven": Case({"a": "x", "b": "x", "c": "x", "d": "y", "e": "y"}, {"a": "bd", "d": "c"}, 2, 0.333, 0.4),
    "numbers": Case({"a": 1, "b": 1, "c": 2}, {"a": "bc"}, 2, 0.5, 0.333),
    "no neighbours": Case({"a": "x", "b": "x"}, {}, 2, 0, 1),
    "all null": Case({"a": None, "b": None}, {"a": "b"}, 2, 0, 0),
    "neighbour that is no item": Case({"a": "x", "b": "x"}, {"a": "bz"}, 2, 1, 1),
    "no items": Case({}, {}, 2, 0, 0),
}


@pytest.mark.parametrize("case", PRECISION)
@pytest.mark.parametrize("column", ["a kind.of"])
def test_precision_by_hand(spark: SparkSession, case: str, column: str) -> None:
    labels, listed = PRECISION[case].labels, PRECISION[case].listed
    kind = "int" if any(isinstance(label, int) for label in labels.values()) else "string"
    embeddings = spark.createDataFrame(list(labels.items()), f"item_id string, `{column}` {kind}")
    table = as_table(spark, {item: [(other, 0.5) for other in others] for item, others in listed.items()})
    found = quality.precision(embeddings, table, column, PRECISION[case].k)
    assert found == quality.Precision(column, PRECISION[case].at_k, PRECISION[case].chance)


def test_precision_of_a_single_labelled_item_is_zero_and_not_an_error(spark: SparkSession) -> None:
    items = Items(random_items(3).vectors, dict(zip(random_items(3).vectors, ["shoe", None, None], strict=True)))
    found = quality.precision(items.embeddings(spark), as_table(spark, random_items(3).neighbours(2)), "kind", 2)
    assert (found.at_k, found.chance) == (0.0, 0.0)
