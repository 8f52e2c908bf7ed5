"""The joins of docs/sql.md against loops over random small catalogues: nulls, ties, names with quotes, lost items."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from support.drawn import ROOT

PAGE = (ROOT / "docs/sql.md").read_text(encoding="utf-8")
_QUERY = r"^### ([^\n]+)\n(?:(?!^#).)*?```sql\n-- DuckDB and Spark SQL\n(.*?)```"
QUERIES = dict(re.findall(_QUERY, PAGE, re.DOTALL | re.MULTILINE))

KINDS = ("sneaker", "boot", "heel", "dress", 'men\'s "coat"', "Ünïcode, 7/8", None)
SHOES = ("sneaker", "boot", "heel")

Row = dict[str, Any]


@dataclass
class Shop:
    """A catalogue, and a release of it as it was some days before."""

    catalogue: list[Row] = field(default_factory=list)
    embeddings: list[Row] = field(default_factory=list)
    failures: list[Row] = field(default_factory=list)
    similar_items: list[Row] = field(default_factory=list)
    changes: list[Row] = field(default_factory=list)

    def answer(self, heading: str, connection: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
        for name, schema in SCHEMAS.items():
            connection.register(name, pa.Table.from_pylist(getattr(self, name), schema))
        return connection.sql(QUERIES[heading]).fetchall()

    @property
    def lists(self) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        for row in sorted(self.similar_items, key=lambda row: row["rank"]):
            found.setdefault(row["item_id"], []).append(row)
        return found


_TEXT, _INT = pa.string(), pa.int32()
SCHEMAS = {
    "catalogue": pa.schema(
        {"item_id": _TEXT, "image_path": _TEXT, "kind": _TEXT, "price": pa.float64(), "in_stock": pa.bool_()}
    ),
    "embeddings": pa.schema({"item_id": _TEXT, "kind": _TEXT}),
    "failures": pa.schema({"item_id": _TEXT, "reason": _TEXT}),
    "similar_items": pa.schema({"item_id": _TEXT, "rank": _INT, "similar_item_id": _TEXT, "score": pa.float32()}),
    "changes": pa.schema({"kind": _TEXT, "change": _TEXT, "item_id": _TEXT}),
}


def draw(seed: int) -> Shop:
    """Some items, of which a few left the catalogue, came into it, failed, or have no neighbours."""
    random_ = random.Random(seed)
    shop = Shop()
    for number in range(1, random_.randrange(3, 50)):
        item = {"item_id": f"item-{number:04}", "kind": random_.choice(KINDS)}
        fate = random_.choice(["here"] * 6 + ["left", "new", "failed"])
        if fate != "left":
            stock = {"price": random_.choice([None, 9.5]), "in_stock": random_.choice([True, True, False, None])}
            shop.catalogue.append({**item, **stock, "image_path": f"{number}.jpg"})
        if fate == "failed":
            shop.failures.append({**item, "reason": "not_found"})
        elif fate != "new":
            shop.embeddings.append(item)
    ids = [one["item_id"] for one in shop.embeddings]
    for one in ids:
        others = random_.sample(
            [other for other in ids if other != one], min(len(ids) - 1, random_.choice([0, 1, 6, 25]))
        )
        scores = [random_.choice([1.0, 0.75, 0.5, -0.25]) for _ in others]  # many ties
        ranked = sorted(zip(scores, others, strict=True), key=lambda pair: (-pair[0], pair[1]))
        for rank, (score, other) in enumerate(ranked, 1):
            shop.similar_items.append({"item_id": one, "rank": rank, "similar_item_id": other, "score": score})
    random_.shuffle(shop.similar_items)
    for kind, there in (("item", ids), ("list", list(shop.lists))):
        upserts = random_.sample(there, len(there) // 2)
        shop.changes += [{"kind": kind, "change": "upsert", "item_id": one} for one in upserts]
        shop.changes += [{"kind": kind, "change": "delete", "item_id": f"gone-{one}"} for one in upserts[:2]]
    random_.shuffle(shop.changes)
    return shop


def page_of_a_product(shop: Shop) -> list[tuple[Any, ...]]:
    known = {row["item_id"]: row for row in shop.catalogue}
    found = [
        (known[row["similar_item_id"]], row)
        for row in shop.lists.get("item-0001", ())
        if row["similar_item_id"] in known
    ]
    sold = [(one, row["score"]) for one, row in found if one["in_stock"]][:6]
    names = ("item_id", "image_path", "kind", "price")
    return [(place, *(one[name] for name in names), score) for place, (one, score) in enumerate(sold, 1)]


def filled(shop: Shop) -> list[tuple[Any, ...]]:
    kinds = {row["kind"] for row in shop.catalogue} - {None}
    parents = {row["item_id"]: row["kind"] in SHOES for row in shop.embeddings if row["kind"] in kinds}
    popular = Counter(row["similar_item_id"] for row in shop.similar_items)
    rows = []
    for one in sorted({*parents, *shop.lists}):
        own = [(row["similar_item_id"], row["score"]) for row in shop.lists.get(one, ())]
        siblings = [other for other in parents if one in parents and parents[other] == parents[one] and other != one]
        more = sorted(set(siblings) - {other for other, _ in own}, key=lambda other: (-popular[other], other))
        taken = [*own, *((other, None) for other in more)][:12]
        rows += [(one, rank, other, score) for rank, (other, score) in enumerate(taken, 1)]
    return rows


def not_bought(shop: Shop) -> list[tuple[Any, ...]]:
    rows = []
    for customer, bought in {"anna": ["item-0001", "item-0013"], "ben": ["item-0002"]}.items():
        best: dict[str, float] = {}
        for row in [row for one in bought for row in shop.lists.get(one, ())]:
            if row["similar_item_id"] not in bought:
                best[row["similar_item_id"]] = max(row["score"], best.get(row["similar_item_id"], -2))
        ranked = sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))[:5]
        rows += [(customer, rank, other, score) for rank, (other, score) in enumerate(ranked, 1)]
    return rows


def bought_together(shop: Shop) -> list[tuple[Any, ...]]:
    orders = {("item-0001", "item-0013"): 2, ("item-0001", "item-0002"): 1, ("item-0002", "item-0001"): 1}
    rows = []
    for one in ("item-0001", "item-0002"):
        weighed = []
        for row in shop.lists.get(one, ()):
            times = orders.get((one, row["similar_item_id"]), 0)
            weighed.append((-(row["score"] + 0.05 * math.log2(1 + times)), row["rank"], row, times))
        for rank, (_, old, row, times) in enumerate(sorted(weighed, key=lambda one: one[:2]), 1):
            rows.append((one, rank, row["similar_item_id"], row["score"], times, old))
    return rows


def most_recommended(shop: Shop) -> list[tuple[Any, ...]]:
    found: dict[str, list[Row]] = {}
    for row in shop.similar_items:
        found.setdefault(row["similar_item_id"], []).append(row)
    counted = sorted(found.items(), key=lambda pair: (-len(pair[1]), pair[0]))[:20]
    return [
        (one, len(rows), sum(row["rank"] for row in rows) / len(rows), max(row["score"] for row in rows))
        for one, rows in counted
    ]


def without_neighbours(shop: Shop) -> list[tuple[Any, ...]]:
    failed = {row["item_id"]: row["reason"] for row in shop.failures}
    embedded = {row["item_id"] for row in shop.embeddings}
    rows = []
    for row in sorted(shop.catalogue, key=lambda row: str(row["item_id"])):
        one = row["item_id"]
        alone = "no other item is allowed by the rules" if one in embedded else "not in this release"
        if one not in shop.lists:
            rows.append((one, row["kind"], failed.get(one, alone)))
    return rows


def changed_tonight(shop: Shop) -> list[tuple[Any, ...]]:
    labels = {row["item_id"]: row["kind"] for row in shop.embeddings}
    rows: list[tuple[Any, ...]] = []
    for kind, change, one in sorted(tuple(row.values()) for row in shop.changes):
        if (kind, change) == ("list", "upsert"):
            listed = [(row["rank"], row["similar_item_id"], row["score"]) for row in shop.lists[one]]
            rows += [(kind, change, one, None, *row) for row in listed]
        else:
            label = labels[one] if (kind, change) == ("item", "upsert") else None
            rows.append((kind, change, one, label, None, None, None))
    return rows


LOOPS = {
    "A product page's items": page_of_a_product,
    "Fill from the parent category": filled,
    "Without what a customer bought": not_bought,
    "Re-rank by co-purchase": bought_together,
    "Most recommended": most_recommended,
    "Items without neighbours": without_neighbours,
    "What changed tonight": changed_tonight,
}


def test_every_join_of_the_page_has_its_loop() -> None:
    assert list(QUERIES) == list(LOOPS)


@pytest.mark.parametrize("heading", LOOPS)
def test_join_is_what_a_loop_finds(heading: str) -> None:
    answers = 0
    with duckdb.connect(config={"threads": 1}) as connection:
        for seed in range(20):
            shop = draw(seed)
            found = shop.answer(heading, connection)
            assert found == [pytest.approx(row) for row in LOOPS[heading](shop)], seed
            answers += len(found)
    assert answers > 20
