"""Recall under every rule of the lists, against those that constraint_oracle.py finds, spoiled by known amounts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lookalike import config
from lookalike.quality import gates, recall
from lookalike.quality import metrics as quality
from lookalike.quality.recall import Recall
from lookalike.spark.release_tables import ReleaseTables
from lookalike.warehouse.release import ReleaseFolder
from support import constraint_oracle
from support.constraint_oracle import Item
from support.item_vectors import stored

Build = Callable[..., config.Settings]
Lists = dict[str, list[tuple[str, float]]]


@dataclass(frozen=True)
class Catalogue:
    """Items and the settings that their lists are made by."""

    items: Sequence[Item]
    similar: Mapping[str, object] = field(default_factory=dict)

    @property
    def rules(self) -> config.SimilarSettings:
        return config.SimilarSettings.model_validate(self.similar)

    def embeddings(self, spark: SparkSession, folder: Path) -> DataFrame:
        rows = [(i.item_id, i.vector.tolist(), 1.0, *i.columns.values(), i.eligible) for i in self.items]
        schema = "embedding array<float>, norm float, kind string, part string, product string, eligible boolean"
        return stored(spark.createDataFrame(rows, f"item_id string, {schema}"), folder)

    def duplicates(self, spark: SparkSession) -> DataFrame | None:
        if self.rules.duplicate_cosine is None:
            return None
        rows = constraint_oracle.duplicates(self.items, self.rules)
        return spark.createDataFrame(rows, "item_id string, representative_item_id string, score float")

    def lists(self) -> Lists:
        """As the rules say, best first."""
        found = constraint_oracle.neighbours(self.items, self.rules)
        return {item: [(other, score) for _, other, score in rows] for item, rows in found.items()}

    def pairs(self) -> int:
        """Neighbours within k, of all items."""
        return sum(min(len(listed), self.rules.k) for listed in self.lists().values())


def item(
    item_id: str,
    vector: np.ndarray,
    kind: str | None = None,
    product: str | None = None,
    eligible: bool | None = True,
) -> Item:
    """Shoes and boots are worn on the feet, the rest on the head."""
    part = "feet" if kind in ("shoe", "boot") else "head"
    return Item(item_id, vector, {"kind": kind, "part": part, "product": product}, eligible)  # type: ignore[arg-type]


def as_table(spark: SparkSession, lists: Lists) -> DataFrame:
    rows = [
        (item, rank, other, score, "r")
        for item, listed in lists.items()
        for rank, (other, score) in enumerate(listed, 1)
    ]
    schema = "item_id string, rank int, similar_item_id string, score float, release_id string"
    return spark.createDataFrame(rows, schema)


def unit(rows: np.ndarray) -> np.ndarray:
    vectors: np.ndarray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return vectors


def shop(n: int = 60, seed: int = 1, **similar: object) -> Catalogue:
    """Kinds, some without one; products of up to three variants; some items not eligible, one unknown."""
    random = np.random.default_rng(seed)
    vectors = unit(random.normal(size=(n, 12)))
    kinds = ["shoe", "boot", "hat", None]
    items = []
    for number in range(n):
        kind = kinds[random.choice(4, p=[0.5, 0.1, 0.3, 0.1])]
        product = f"p{random.integers(n // 3)}" if random.random() < 0.6 else None
        eligible = [True, True, True, False, None][random.integers(5)]
        items.append(item(f"i{number:03d}", vectors[number], kind, product, eligible))
    return Catalogue(items, {"k": 5, **similar})


def with_duplicates(catalogue: Catalogue, share: float = 0.4) -> Catalogue:
    """So many items show the picture of another one, of their part or not."""
    random, items = np.random.default_rng(2), list(catalogue.items)
    for number, one in enumerate(items):
        if random.random() < share:
            items[number] = replace(one, vector=items[random.integers(len(items))].vector)
    return Catalogue(items, {**catalogue.similar, "duplicate_cosine": 0.999})


GROUPS = {"group_by": "kind", "group_fallback": ("part",)}

SHOPS = {
    "nothing asked": shop(),
    "groups": shop(group_by="kind"),
    "fallback of a long list": shop(**GROUPS, k=12, spare=3),
    "eligible": shop(eligible="x"),
    "variants across levels": shop(**GROUPS, k=9, variant_of="product"),
    "min_score across levels": shop(**GROUPS, min_score=0.1, k=8),
    "duplicates": with_duplicates(shop()),
    "duplicates across levels": with_duplicates(shop(**GROUPS, k=9)),
    "everything": with_duplicates(shop(**GROUPS, k=9, spare=3, eligible="x", variant_of="product", min_score=-0.4)),
    "everything, many duplicates": with_duplicates(shop(**GROUPS, k=9, eligible="x", variant_of="product"), 0.9),
}


@pytest.fixture
def recall_of(spark: SparkSession, settings: Build, tmp_path: Path) -> Callable[..., Recall]:
    """The recall of `lists`; of all items unless the settings say otherwise."""

    def estimate(catalogue: Catalogue, lists: Lists, **similar: object) -> Recall:
        chosen = settings(similar={"recall_sample": 4096, **catalogue.similar, **similar})
        table, duplicates = as_table(spark, lists), catalogue.duplicates(spark)
        return recall.estimate(catalogue.embeddings(spark, tmp_path), table, chosen, duplicates)

    return estimate


@pytest.mark.parametrize("name", SHOPS)
def test_lists_by_the_rules_have_recall_1(recall_of: Callable[..., Recall], name: str) -> None:
    catalogue = SHOPS[name]
    found = recall_of(catalogue, catalogue.lists())
    assert (found.estimate, found.low, found.high, found.missed) == (1, 1, 1, 0)
    assert (found.items, found.pairs) == (60, catalogue.pairs())


BROKEN = {
    # a rule, and the settings under which lists ignore it
    "eligible": (shop(eligible="x"), {"eligible"}),
    "group_by": (shop(group_by="kind"), {"group_by"}),
    "fallback levels": (shop(**GROUPS), {"group_by", "group_fallback"}),
    "variants": (shop(variant_of="product", seed=3), {"variant_of"}),
    "variants in groups": (shop(**GROUPS, k=9, variant_of="product"), {"variant_of"}),
    "min_score": (shop(min_score=0.3), {"min_score"}),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_neighbours_that_break_a_rule_are_no_hits(recall_of: Callable[..., Recall], rule: str) -> None:
    """Only those count that are also in the right list; min_score breaks nothing that is asked for."""
    catalogue, ignored = BROKEN[rule]
    spoiled = Catalogue(catalogue.items, {key: v for key, v in catalogue.similar.items() if key not in ignored}).lists()
    right = catalogue.lists()
    hits = sum(len(dict(spoiled[item]).keys() & dict(listed).keys()) for item, listed in right.items())
    found = recall_of(catalogue, spoiled)
    assert found.pairs - found.missed == hits
    assert (found.estimate == 1) == (rule == "min_score")


def test_duplicates_that_are_both_listed_count_once(recall_of: Callable[..., Recall]) -> None:
    catalogue = with_duplicates(shop())
    blind = Catalogue(catalogue.items, {"k": 5})
    right, spoiled = catalogue.lists(), blind.lists()
    hits = sum(len(dict(spoiled[item]).keys() & dict(listed).keys()) for item, listed in right.items())
    found = recall_of(catalogue, spoiled)
    assert found.pairs - found.missed == hits < found.pairs


def test_a_duplicate_in_place_of_its_representative_is_no_hit(recall_of: Callable[..., Recall]) -> None:
    """The first id is."""
    vectors = unit(np.array([[1, 0], [1, 0.1], [1, 0.1], [1, 0.5]]))
    catalogue = Catalogue(
        [item(*one) for one in zip("qabc", vectors, strict=True)], {"k": 2, "duplicate_cosine": 0.999}
    )
    right = catalogue.lists()
    assert [other for other, _ in right["q"]] == ["a", "c"]
    found = recall_of(catalogue, {**right, "q": [("b", right["q"][0][1]), right["q"][1]]})
    assert found.missed == 1


@pytest.mark.parametrize("name", ["groups", "everything"])
def test_interval_holds_the_recall_of_planted_misses(recall_of: Callable[..., Recall], name: str) -> None:
    """A third of the items lose a third of their neighbours: of all items exactly, of a sample within its interval."""
    catalogue, random = SHOPS[name], np.random.default_rng(5)
    k, kept, lost = catalogue.rules.k, {}, 0
    for asked, listed in catalogue.lists().items():
        gone = {n for n in range(min(k, len(listed))) if n % 3 == 0} if random.random() < 0.33 else set()
        lost += len(gone)
        # Left out of the k best, not made up for by spare ones
        kept[asked] = [(("gone", 0.0) if n in gone else one) for n, one in enumerate(listed)]
    whole = recall_of(catalogue, kept)
    assert (whole.missed, whole.estimate) == (lost, pytest.approx(1 - lost / catalogue.pairs()))
    assert whole.low == whole.high == whole.estimate
    part = recall_of(catalogue, kept, recall_sample=25, recall_floor=0)
    assert part.items == 25
    assert part.low < part.estimate < part.high
    assert part.low <= whole.estimate <= part.high


def test_worst_groups_come_first(recall_of: Callable[..., Recall]) -> None:
    catalogue = SHOPS["groups"]
    kinds = {one.item_id: one.columns["kind"] for one in catalogue.items}
    lists = {
        asked: listed[1:] if kinds[asked] == "hat" else listed[2:] if kinds[asked] is None else listed
        for asked, listed in catalogue.lists().items()
    }
    found = recall_of(catalogue, lists)
    assert [group.group for group in found.groups[:2]] == [None, "hat"]
    assert {group.group for group in found.groups[2:]} == {"shoe", "boot"}
    assert [group.estimate for group in found.groups[2:]] == [1, 1]
    sizes = {kind: list(kinds.values()).count(kind) for kind in kinds.values()}
    assert all(group.sampled == group.items == sizes[group.group] for group in found.groups)


def test_every_group_is_sampled_as_long_as_there_are_enough(recall_of: Callable[..., Recall]) -> None:
    """Of 40 shoes, 5 hats and 2 without a kind, whom only their own group's recall tells from each other."""
    vectors = unit(np.random.default_rng(3).normal(size=(47, 8)))
    kinds = ["shoe"] * 40 + ["hat"] * 5 + [None] * 2
    items = [item(f"i{n:02d}", vectors[n], kind) for n, kind in enumerate(kinds)]
    catalogue = Catalogue(items, {"k": 3, "group_by": "kind"})
    few = recall_of(catalogue, catalogue.lists(), recall_sample=3, recall_floor=0)
    assert {group.group: group.sampled for group in few.groups} == {"shoe": 1, "hat": 1, None: 1}
    more = recall_of(catalogue, {}, recall_sample=20, recall_floor=0)
    assert {group.group: group.sampled for group in more.groups} == {"shoe": 16, "hat": 3, None: 1}
    assert (more.estimate, more.low, more.missed) == (0, 0, more.pairs)
    one = recall_of(catalogue, catalogue.lists(), recall_sample=1, recall_floor=0)
    assert (one.items, one.estimate) == (1, 1)
    assert one.low < 0.6


def test_sample_grows_with_the_floor(recall_of: Callable[..., Recall]) -> None:
    catalogue = SHOPS["nothing asked"]
    sizes = {floor: recall_of(catalogue, {}, recall_sample=2, recall_floor=floor).items for floor in (0.0, 0.9, 0.99)}
    assert sizes == {0.0: 2, 0.9: 9, 0.99: 60}  # 43.2 and 475 pairs of 5 an item


ODD = {
    "groups of one": Catalogue(
        [item(f"i{n}", unit(np.eye(4) + 1)[n], kind=str(n)) for n in range(4)], {"k": 3, "group_by": "kind"}
    ),
    "one variant": Catalogue(
        [item(f"i{n}", unit(np.eye(4) + 1)[n], product="p") for n in range(4)], {"k": 3, "variant_of": "product"}
    ),
    "no item is eligible": Catalogue(
        [item(f"i{n}", unit(np.eye(4) + 1)[n], eligible=None) for n in range(4)], {"k": 3, "eligible": "x"}
    ),
    "one picture": Catalogue(
        [item(f"i{n}", unit(np.ones((1, 4)))[0]) for n in range(4)], {"k": 3, "duplicate_cosine": 0.9}
    ),
    "no items": Catalogue([], {"k": 3}),
}


@pytest.mark.parametrize("case", ODD)
def test_nothing_to_be_found_is_nothing_missed(recall_of: Callable[..., Recall], case: str) -> None:
    catalogue = ODD[case]
    assert not any(catalogue.lists().values())
    for lists in ({}, {"i0": [("i1", 0.9)]}):
        found = recall_of(catalogue, lists)
        assert (found.estimate, found.low, found.high) == (1, 1, 1)
        assert (found.items, found.pairs, found.missed, found.groups) == (len(catalogue.items), 0, 0, ())


def test_zero_vectors_tie_with_all_others(recall_of: Callable[..., Recall]) -> None:
    base = shop(n=20, **GROUPS)
    items = [replace(one, vector=one.vector * np.float32(n > 4)) for n, one in enumerate(base.items)]
    catalogue = Catalogue(items, base.similar)
    assert recall_of(catalogue, catalogue.lists()).missed == 0


def test_same_pictures_without_duplicate_cosine_are_items_like_others(recall_of: Callable[..., Recall]) -> None:
    same = unit(np.ones((1, 4)))[0]
    catalogue = Catalogue([item(f"i{n}", same) for n in range(9)], {"k": 3})
    ids = [one.item_id for one in catalogue.items]
    last = {asked: [(other, 1.0) for other in ids[:4:-1] if other != asked] for asked in ids}
    assert recall_of(catalogue, last).missed == 0


def test_floor_that_is_missed_refuses_the_release(spark: SparkSession, settings: Build, tmp_path: Path) -> None:
    """And a floor of 1, which a sample cannot prove, is passed by one without a miss."""
    catalogue = SHOPS["everything"]
    chosen = settings(similar={**catalogue.similar, "recall_floor": 1.0})
    failures = spark.createDataFrame([], "item_id string, image_path string, reason string, detail string")
    lists = catalogue.lists()
    spoiled = {**lists, "i007": lists["i007"][1:], "i008": []}

    def lines(lists: Lists) -> list[str]:
        embeddings, duplicates = catalogue.embeddings(spark, tmp_path), catalogue.duplicates(spark)
        tables = ReleaseTables(ReleaseFolder(Path("r")), embeddings, failures, as_table(spark, lists), duplicates)
        found = gates.gates(quality.measure(tables, chosen), chosen)
        return [gate.line() for gate in found if gate.key == "similar.recall_floor" and not gate.passed]

    assert lines(lists) == []
    (line,) = lines(spoiled)
    assert "REFUSED" in line
    assert "on 60 of 60 items" in line
    assert "similar.plan: exact" in line


@pytest.mark.parametrize("times", [1, 0.02])
def test_sample_is_that_of_the_smallest_hashes_of_each_group(spark: SparkSession, times: float) -> None:
    """Of a large group a part is collected, of a small one all; where that is too few, more are collected."""
    rows = spark.range(3000).select(
        F.col("id").cast("string").alias("item_id"), F.array(F.xxhash64(F.col("id") < 2900)).alias("groups")
    )
    sizes, counts = np.array([100, 2900]), np.array([60, 3])
    hashes = spark.createDataFrame([(False,), (True,)], "large boolean").select(F.xxhash64("large").alias("hash"))
    groups = recall._Groups(["few", "many"], hashes.toArrow()["hash"].combine_chunks(), sizes, counts, counts / sizes)
    found = recall._drawn_ids(rows, groups, 7, times).to_pylist()
    hashed = rows.select("item_id", F.xxhash64("item_id", F.lit(7)).alias("hash")).orderBy("hash").collect()
    in_order = [int(row["item_id"]) for row in hashed]
    expected = [n for n in in_order if n >= 2900][:60] + [n for n in in_order if n < 2900][:3]
    assert sorted(map(int, found)) == sorted(expected)
