"""The figures of a release; the recall against tables spoiled by known amounts (its rules: test_recall.py)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lookalike import config
from lookalike.neighbours import step as similar
from lookalike.quality import metrics as quality
from lookalike.quality.recall import estimate as recall_of
from lookalike.spark import schemas
from lookalike.spark.release_tables import ReleaseTables
from lookalike.warehouse.record import Figures, NeighboursRecord, PlanRecord
from lookalike.warehouse.release import ReleaseFolder
from lookalike.warehouse.stored_config import StoredConfig
from support import records
from support.brute_force import Neighbours, brute_force

Build = Callable[..., config.Settings]

# --- recall


@dataclass(frozen=True)
class Items:
    """Unit vectors by item id, with their groups."""

    vectors: Mapping[str, np.ndarray]
    groups: Mapping[str, str | None]

    def embeddings(self, spark: SparkSession, partitions: int = 3) -> DataFrame:
        rows = [(item, vector.tolist(), 1.0, self.groups[item]) for item, vector in self.vectors.items()]
        schema = "item_id string, embedding array<float>, norm float, kind string"
        return spark.createDataFrame(rows, schema).repartition(partitions)

    def neighbours(self, k: int) -> Neighbours:
        return brute_force(self.vectors, self.groups, k)

    def score(self, one: str, other: str) -> float:
        return float(self.vectors[one].astype(float) @ self.vectors[other].astype(float))


def random_items(n: int, groups: Sequence[str | None] = (None,), copies: int = 1) -> Items:
    """`n` items over `groups` in turn; each picture occurs `copies` times."""
    vectors = np.random.default_rng(n).normal(size=(n, 16)).astype(np.float32)
    vectors = np.repeat(vectors[: -(-n // copies)], copies, axis=0)[:n]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [f"i{number:03d}" for number in range(n)]
    return Items(dict(zip(ids, vectors, strict=True)), {item: groups[i % len(groups)] for i, item in enumerate(ids)})


def as_table(spark: SparkSession, neighbours: Neighbours) -> DataFrame:
    rows = [
        (item, rank, other, score, "r")
        for item, listed in neighbours.items()
        for rank, (other, score) in enumerate(listed, 1)
    ]
    return spark.createDataFrame(
        rows, "item_id string, rank int, similar_item_id string, score float, release_id string"
    )


@pytest.fixture
def recall(spark: SparkSession, settings: Build) -> Callable[..., float]:
    """The estimate for `neighbours` of `items`, over a sample as large as the items unless given."""

    def estimate(items: Items, neighbours: Neighbours, k: int, sample: int = 4096) -> float:
        grouped = any(group is not None for group in items.groups.values())
        similar = {"k": k, "recall_sample": sample, "group_by": "kind" if grouped else None}
        chosen = settings(similar=similar)
        return recall_of(items.embeddings(spark), as_table(spark, neighbours), chosen).estimate

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


def test_sample_of_one_is_the_same_item_each_time_and_follows_the_seed(spark: SparkSession, settings: Build) -> None:
    """Half of the items have no rows, so the recall of a sample of one tells which half it came from."""
    items = random_items(8)
    half = {item: listed for item, listed in items.neighbours(2).items() if item < "i004"}
    embeddings, table = items.embeddings(spark).cache(), as_table(spark, half).cache()
    similar = {"k": 2, "recall_sample": 1, "recall_floor": 0}

    def told(seed: int) -> float:
        return recall_of(embeddings, table, settings(similar=similar, index={"seed": seed})).estimate

    by_seed = [told(seed) for seed in range(4)]
    assert set(by_seed) == {0.0, 1.0}
    assert told(0) == by_seed[0]


# --- figures


def hub(listed: Neighbours) -> dict[str, object]:
    """The item that most lists hold, by counting; of several the last by id."""
    counts = Counter(other for others in listed.values() for other, _ in others)
    item = max(counts, key=lambda other: (counts[other], other))
    return {"hub_item": item, "hub_recommended": counts[item]}


# A release in the making whose tables are given.
NOWHERE = ReleaseFolder(Path("release"))
NO_FAILURES = "item_id string, image_path string, reason string, detail string"


def test_figures_count_the_tables(spark: SparkSession, settings: Build) -> None:
    items = random_items(10)
    reasons = ["not_found", "corrupt", "not_found"]
    failures = spark.createDataFrame(
        [(str(i), f"{i}.jpg", reason, "why") for i, reason in enumerate(reasons)],
        "item_id string, image_path string, reason string, detail string",
    )
    table = as_table(spark, items.neighbours(3))
    tables = ReleaseTables(NOWHERE, items.embeddings(spark), failures, table)
    chosen = settings(similar={"k": 3, "recall_sample": 6})
    assert quality.measure(tables, chosen) == Figures(
        items=13,
        embedded=10,
        failed=3,
        failed_by_reason={"corrupt": 1, "not_found": 2},
        failed_example="0.jpg: not_found, why",
        similar_items=30,
        recall=1.0,
        recall_sample=10,  # all, which the floor asks for
        recall_low=1.0,
        recall_high=1.0,
        recall_pairs=30,
        recall_missed=0,
        **hub(items.neighbours(3)),
    )
    empty = ReleaseTables(NOWHERE, tables.embeddings.limit(0), failures, table.limit(0))
    assert quality.measure(empty, chosen) == Figures(
        items=3,
        embedded=0,
        failed=3,
        failed_by_reason={"corrupt": 1, "not_found": 2},
        failed_example="0.jpg: not_found, why",
        similar_items=0,
        recall=1.0,
        recall_sample=0,
        recall_low=1.0,
        recall_high=1.0,
    )


def test_vectors_without_length_and_those_of_other_items_are_counted(spark: SparkSession, settings: Build) -> None:
    """Ten items of six different vectors; the length before scaling tells a zero and what is not finite."""
    norms = [0.0, None, math.nan, math.inf, 1e-30, 1.0, 2.0, 3.0, 4.0, 5.0]
    vectors = [[float(n), 1.0] for n in (0, 0, 0, 1, 1, 2, 3, 4, 4, 5)]
    rows = [(f"i{n}", vector, norm) for n, (vector, norm) in enumerate(zip(vectors, norms, strict=True))]
    embeddings = spark.createDataFrame(rows, "item_id string, embedding array<float>, norm float")
    tables = ReleaseTables(NOWHERE, embeddings, spark.createDataFrame([], NO_FAILURES), as_table(spark, {}))
    found = quality.measure(tables, settings())
    assert (found.embedded, found.unusable_vectors, found.duplicate_vectors) == (10, 4, 4)
    assert (found.hub_item, found.hub_recommended, found.similar_items) == (None, 0, 0)
    assert (found.items_before, found.churn_checked) == (None, 0)


def test_hub_is_the_item_of_most_lists(spark: SparkSession, settings: Build) -> None:
    items = random_items(4)
    listed = {"i000": [("i003", 0.5), ("i001", 0.4)], "i001": [("i003", 0.5)], "i002": [("i003", 0.5), ("i001", 0.1)]}
    tables = ReleaseTables(
        NOWHERE, items.embeddings(spark), spark.createDataFrame([], NO_FAILURES), as_table(spark, listed)
    )
    found = quality.measure(tables, settings(similar={"k": 2}))
    assert (found.hub_item, found.hub_recommended, found.similar_items) == ("i003", 3, 5)


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
    embeddings = items.embeddings(spark).withColumns(columns)
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
    may_differ = similar.NeighbourTables(table, lists, None, 20, 0, now).restless(before, None, chosen)
    found = quality.measure(ReleaseTables(NOWHERE, embeddings, none, table), chosen, before, may_differ)
    assert (found.items_before, found.churn_checked, found.churn_moved) == (25, checked, moved)


# --- precision


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


# --- tables that claim more than they hold


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


def test_precision_of_a_single_labelled_item_is_zero_and_not_an_error(spark: SparkSession) -> None:
    items = Items(random_items(3).vectors, dict(zip(random_items(3).vectors, ["shoe", None, None], strict=True)))
    found = quality.precision(items.embeddings(spark), as_table(spark, random_items(3).neighbours(2)), "kind", 2)
    assert (found.at_k, found.chance) == (0.0, 0.0)
