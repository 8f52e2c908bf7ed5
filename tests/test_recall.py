"""Recall under every rule of the lists, against lists found by plain loops and spoiled by known amounts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from lookalike import config, quality, recall
from lookalike.recall import Recall

Build = Callable[..., config.Settings]
Lists = dict[str, list[tuple[str, float]]]

pytestmark = pytest.mark.usefixtures("small_queries")


@dataclass(frozen=True)
class Item:
    """`same` names the component of duplicates that it is in."""

    item_id: str
    vector: np.ndarray
    kind: str | None = None
    part: str | None = None
    product: str | None = None
    eligible: bool | None = True
    same: str | None = None


@dataclass(frozen=True)
class Catalogue:
    """Items and the settings that their lists are made by."""

    items: Sequence[Item]
    similar: Mapping[str, object] = field(default_factory=dict)

    @property
    def wanted(self) -> int:
        return int(str(self.similar["k"])) + int(str(self.similar.get("spare", 0)))

    def embeddings(self, spark: SparkSession) -> DataFrame:
        rows = [(i.item_id, i.vector.tolist(), 1.0, i.kind, i.part, i.product, i.eligible) for i in self.items]
        schema = "embedding array<float>, norm float, kind string, part string, product string, eligible boolean"
        return spark.createDataFrame(rows, f"item_id string, {schema}").repartition(3)

    def duplicates(self, spark: SparkSession) -> DataFrame | None:
        """Of each component the first eligible item stands for it; the first of all where none is."""
        if not any(item.same for item in self.items):
            return None
        rows = []
        for item in self.items:
            members = [other for other in self.items if item.same and other.same == item.same]
            first = min([m.item_id for m in members if self.may_be_listed(m)] or [m.item_id for m in members] or [""])
            if members and first != item.item_id:
                rows.append((item.item_id, first, 1.0, "r"))
        schema = "item_id string, representative_item_id string, score float, release_id string"
        return spark.createDataFrame(rows, schema)

    def may_be_listed(self, item: Item) -> bool:
        return item.eligible is True or "eligible" not in self.similar

    def ring(self, one: Item, other: Item) -> int | None:
        """The first of the columns whose value they share, if any."""
        columns = (self.similar.get("group_by"), *self.similar.get("group_fallback", ()))  # type: ignore[misc]
        shared = [column is None or getattr(one, column) == getattr(other, column) for column in columns]
        return shared.index(True) if True in shared else None

    def stands_for_its_picture(self, one: Item, other: Item, ring: int) -> bool:
        """Whether no duplicate with an earlier id could take the place of `other` in that ring's column."""
        columns = (self.similar.get("group_by"), *self.similar.get("group_fallback", ()))  # type: ignore[misc]
        pool = [
            m
            for m in self.items
            if m.same == other.same
            and (columns[ring] is None or getattr(m, columns[ring]) == getattr(one, columns[ring]))
        ]
        return other.same is None or other.item_id == min(m.item_id for m in pool if self.may_be_listed(m))

    def lists(self) -> Lists:
        """As the rules say, all `wanted` of them, best first by score."""
        found: Lists = {}
        for one in self.items:
            candidates = []
            for other in self.items:
                ring = self.ring(one, other)
                if other is one or ring is None or not self.may_be_listed(other):
                    continue
                if self.stands_for_its_picture(one, other, ring):
                    score = float(one.vector.astype(float) @ other.vector.astype(float))
                    candidates.append((ring, -score, other.item_id, other))
            products = {one.product} - {None} if "variant_of" in self.similar else set()
            pictures, slots = {one.same} - {None}, []
            for _, score, _, other in sorted(candidates, key=lambda row: row[:3]):
                if len(slots) == self.wanted or other.product in products or other.same in pictures:
                    continue
                slots.append((other.item_id, -score))
                products |= {other.product} - {None} if "variant_of" in self.similar else set()
                pictures |= {other.same} - {None}
            least = self.similar.get("min_score", -1)
            found[one.item_id] = sorted((s for s in slots if s[1] >= least), key=lambda s: (-s[1], s[0]))  # type: ignore[operator]
        return found

    def pairs(self) -> int:
        """Neighbours within k, of all items."""
        return sum(min(len(listed), int(str(self.similar["k"]))) for listed in self.lists().values())


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
    """Kinds within two parts, some without; products of up to three variants; some items not eligible, one unknown."""
    random = np.random.default_rng(seed)
    vectors = unit(random.normal(size=(n, 12)))
    kinds = ["shoe", "boot", "hat", None]
    items = []
    for number in range(n):
        kind = kinds[random.choice(4, p=[0.5, 0.1, 0.3, 0.1])]
        product = f"p{random.integers(n // 3)}" if random.random() < 0.6 else None
        eligible = [True, True, True, False, None][random.integers(5)]
        part = "feet" if kind in ("shoe", "boot") else "head"
        items.append(Item(f"i{number:03d}", vectors[number], kind, part, product, eligible))
    return Catalogue(items, {"k": 5, **similar})


def with_duplicates(catalogue: Catalogue, share: float = 0.4) -> Catalogue:
    """So many items show the picture of another one of their part."""
    random, items = np.random.default_rng(2), list(catalogue.items)
    for number, item in enumerate(items):
        others = [n for n, other in enumerate(items) if other.part == item.part and n != number]
        if random.random() < share and others:
            other = random.choice(others)
            name = items[other].same or f"c{other}"
            items[other] = Item(**{**vars(items[other]), "same": name})
            items[number] = Item(**{**vars(item), "same": name, "vector": items[other].vector})
    # A picture that joins two components makes them one; the last one to write has it.
    by_bytes: dict[bytes, str] = {}
    for number, item in enumerate(items):
        if item.same:
            items[number] = Item(**{**vars(item), "same": by_bytes.setdefault(item.vector.tobytes(), item.same)})
    return Catalogue(items, catalogue.similar)


GROUPS = {"group_by": "kind", "group_fallback": ["part"]}

SHOPS = {
    "nothing asked": shop(),
    "groups": shop(group_by="kind"),
    "fallback of a long list": shop(**GROUPS, k=12, spare=3),
    "eligible": shop(eligible="x"),
    "variants across rings": shop(**GROUPS, k=9, variant_of="product"),
    "min_score across rings": shop(**GROUPS, min_score=0.1, k=8),
    "duplicates": with_duplicates(shop()),
    "duplicates across rings": with_duplicates(shop(**GROUPS, k=9)),
    "everything": with_duplicates(shop(**GROUPS, k=9, spare=3, eligible="x", variant_of="product", min_score=-0.4)),
    "everything, many duplicates": with_duplicates(shop(**GROUPS, k=9, eligible="x", variant_of="product"), 0.9),
}


@pytest.fixture
def judged(spark: SparkSession, settings: Build) -> Callable[..., Recall]:
    """The recall of `lists`; of all items unless the settings say otherwise."""

    def judge(catalogue: Catalogue, lists: Lists, **similar: object) -> Recall:
        chosen = settings(similar={"recall_sample": 4096, **catalogue.similar, **similar})
        table, duplicates = as_table(spark, lists), catalogue.duplicates(spark)
        return recall.estimate(catalogue.embeddings(spark), table, chosen, duplicates)

    return judge


@pytest.mark.parametrize("name", SHOPS)
def test_lists_by_the_rules_have_recall_1(judged: Callable[..., Recall], name: str) -> None:
    catalogue = SHOPS[name]
    found = judged(catalogue, catalogue.lists())
    assert (found.estimate, found.low, found.high, found.missed) == (1, 1, 1, 0)
    assert (found.items, found.pairs) == (60, catalogue.pairs())


BROKEN = {
    # a rule, and the settings under which lists ignore it
    "eligible": (shop(eligible="x"), {"eligible"}),
    "group_by": (shop(group_by="kind"), {"group_by"}),
    "rings": (shop(**GROUPS), {"group_by", "group_fallback"}),
    "variants": (shop(variant_of="product", seed=3), {"variant_of"}),
    "variants in groups": (shop(**GROUPS, k=9, variant_of="product"), {"variant_of"}),
    "min_score": (shop(min_score=0.3), {"min_score"}),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_neighbours_that_break_a_rule_are_no_hits(judged: Callable[..., Recall], rule: str) -> None:
    """Only those count that are also in the right list; min_score breaks nothing that is asked for."""
    catalogue, ignored = BROKEN[rule]
    spoiled = Catalogue(catalogue.items, {key: v for key, v in catalogue.similar.items() if key not in ignored}).lists()
    right = catalogue.lists()
    hits = sum(len(dict(spoiled[item]).keys() & dict(listed).keys()) for item, listed in right.items())
    found = judged(catalogue, spoiled)
    assert found.pairs - found.missed == hits
    assert (found.estimate == 1) == (rule == "min_score")


def test_duplicates_listed_side_by_side_take_one_slot(judged: Callable[..., Recall]) -> None:
    catalogue = with_duplicates(shop())
    blind = Catalogue([Item(**{**vars(item), "same": None}) for item in catalogue.items], catalogue.similar)
    right, spoiled = catalogue.lists(), blind.lists()
    hits = sum(len(dict(spoiled[item]).keys() & dict(listed).keys()) for item, listed in right.items())
    found = judged(catalogue, spoiled)
    assert found.pairs - found.missed == hits < found.pairs


def test_a_duplicate_in_place_of_its_representative_is_no_hit(judged: Callable[..., Recall]) -> None:
    """The first id is."""
    vectors = unit(np.array([[1, 0], [1, 0.1], [1, 0.1], [1, 0.5]]))
    items = [Item(name, v, same=same) for name, v, same in zip("qabc", vectors, (None, "s", "s", None), strict=True)]
    catalogue = Catalogue(items, {"k": 2})
    right = catalogue.lists()
    assert [other for other, _ in right["q"]] == ["a", "c"]
    found = judged(catalogue, {**right, "q": [("b", right["q"][0][1]), right["q"][1]]})
    assert found.missed == 1


@pytest.mark.parametrize("name", ["groups", "everything"])
def test_interval_holds_the_recall_of_planted_misses(judged: Callable[..., Recall], name: str) -> None:
    """A third of the items lose a third of their neighbours: of all items exactly, of a sample within its interval."""
    catalogue, random = SHOPS[name], np.random.default_rng(5)
    k, kept, lost = int(str(catalogue.similar["k"])), {}, 0
    for item, listed in catalogue.lists().items():
        gone = {n for n in range(min(k, len(listed))) if n % 3 == 0} if random.random() < 0.33 else set()
        lost += len(gone)
        # Left out of the k best, not made up for by spare ones
        kept[item] = [(("gone", 0.0) if n in gone else one) for n, one in enumerate(listed)]
    whole = judged(catalogue, kept)
    assert (whole.missed, whole.estimate) == (lost, pytest.approx(1 - lost / catalogue.pairs()))
    assert whole.low == whole.high == whole.estimate
    part = judged(catalogue, kept, recall_sample=25, recall_floor=0)
    assert part.items == 25
    assert part.low < part.estimate < part.high
    assert part.low <= whole.estimate <= part.high


def test_worst_groups_come_first(judged: Callable[..., Recall]) -> None:
    catalogue = SHOPS["groups"]
    kinds = {item.item_id: item.kind for item in catalogue.items}
    lists = {
        item: listed[1:] if kinds[item] == "hat" else listed[2:] if kinds[item] is None else listed
        for item, listed in catalogue.lists().items()
    }
    found = judged(catalogue, lists)
    assert [group.group for group in found.groups[:2]] == [None, "hat"]
    assert {group.group for group in found.groups[2:]} == {"shoe", "boot"}
    assert [group.estimate for group in found.groups[2:]] == [1, 1]
    sizes = {kind: list(kinds.values()).count(kind) for kind in kinds.values()}
    assert all(group.sampled == group.items == sizes[group.group] for group in found.groups)


def test_every_group_is_sampled_as_long_as_there_are_enough(judged: Callable[..., Recall]) -> None:
    """Of 40 shoes, 5 hats and 2 without a kind, whom only their own group's recall tells from each other."""
    vectors = unit(np.random.default_rng(3).normal(size=(47, 8)))
    kinds = ["shoe"] * 40 + ["hat"] * 5 + [None] * 2
    items = [Item(f"i{n:02d}", vectors[n], kind) for n, kind in enumerate(kinds)]
    catalogue = Catalogue(items, {"k": 3, "group_by": "kind"})
    few = judged(catalogue, catalogue.lists(), recall_sample=3, recall_floor=0)
    assert {group.group: group.sampled for group in few.groups} == {"shoe": 1, "hat": 1, None: 1}
    more = judged(catalogue, {}, recall_sample=20, recall_floor=0)
    assert {group.group: group.sampled for group in more.groups} == {"shoe": 16, "hat": 3, None: 1}
    assert (more.estimate, more.low, more.missed) == (0, 0, more.pairs)
    one = judged(catalogue, catalogue.lists(), recall_sample=1, recall_floor=0)
    assert (one.items, one.estimate) == (1, 1)
    assert one.low < 0.6


def test_sample_grows_with_the_floor(judged: Callable[..., Recall]) -> None:
    catalogue = SHOPS["nothing asked"]
    sizes = {floor: judged(catalogue, {}, recall_sample=2, recall_floor=floor).items for floor in (0.0, 0.9, 0.99)}
    assert sizes == {0.0: 2, 0.9: 9, 0.99: 60}  # 43.2 and 475 pairs of 5 an item


ODD = {
    "groups of one": Catalogue(
        [Item(f"i{n}", unit(np.eye(4) + 1)[n], kind=str(n)) for n in range(4)], {"k": 3, "group_by": "kind"}
    ),
    "one variant": Catalogue(
        [Item(f"i{n}", unit(np.eye(4) + 1)[n], product="p") for n in range(4)], {"k": 3, "variant_of": "product"}
    ),
    "nobody is eligible": Catalogue(
        [Item(f"i{n}", unit(np.eye(4) + 1)[n], eligible=None) for n in range(4)], {"k": 3, "eligible": "x"}
    ),
    "one picture": Catalogue([Item(f"i{n}", unit(np.ones((1, 4)))[0], same="s") for n in range(4)], {"k": 3}),
    "no items": Catalogue([], {"k": 3}),
}


@pytest.mark.parametrize("case", ODD)
def test_nothing_to_be_found_is_nothing_missed(judged: Callable[..., Recall], case: str) -> None:
    catalogue = ODD[case]
    assert not any(catalogue.lists().values())
    for lists in ({}, {"i0": [("i1", 0.9)]}):
        found = judged(catalogue, lists)
        assert (found.estimate, found.low, found.high) == (1, 1, 1)
        assert (found.items, found.pairs, found.missed, found.groups) == (len(catalogue.items), 0, 0, ())


def test_zero_vectors_tie_with_everybody(judged: Callable[..., Recall]) -> None:
    base = shop(n=20, **GROUPS)
    items = [Item(**{**vars(item), "vector": item.vector * (n > 4)}) for n, item in enumerate(base.items)]
    catalogue = Catalogue(items, base.similar)
    assert judged(catalogue, catalogue.lists()).missed == 0


def test_same_pictures_without_duplicate_cosine_are_items_like_others(judged: Callable[..., Recall]) -> None:
    same = unit(np.ones((1, 4)))[0]
    catalogue = Catalogue([Item(f"i{n}", same) for n in range(9)], {"k": 3})
    last = {item.item_id: [(f"i{n}", 1.0) for n in (8, 7, 6, 5) if f"i{n}" != item.item_id] for item in catalogue.items}
    assert judged(catalogue, last).missed == 0


def test_floor_that_is_missed_refuses_the_release(spark: SparkSession, settings: Build) -> None:
    """And a floor of 1, which a sample cannot prove, is passed by one without a miss."""
    catalogue = SHOPS["everything"]
    chosen = settings(similar={**catalogue.similar, "recall_floor": 1.0, "duplicate_cosine": 0.999})
    failures = spark.createDataFrame([], "item_id string, image_path string, reason string, detail string")
    lists = catalogue.lists()
    spoiled = {**lists, "i007": lists["i007"][1:], "i008": []}

    def lines(lists: Lists) -> list[str]:
        embeddings, duplicates = catalogue.embeddings(spark), catalogue.duplicates(spark)
        tables = quality.Tables(embeddings, failures, as_table(spark, lists), duplicates)
        found = quality.gates(quality.measure(tables, chosen), chosen)
        return quality.refused([gate for gate in found if gate.name == "similar.recall_floor"])

    assert lines(lists) == []
    (line,) = lines(spoiled)
    assert "REFUSED" in line
    assert "on 60 of 60 items" in line
    assert "similar.plan: exact" in line
