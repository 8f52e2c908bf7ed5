"""A few items of a release with their neighbours, for people to look at: few rows, collected on the driver."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from lookalike.spark import schemas
from lookalike.spark.release_tables import ReleaseTables

# Items of one group that are shown, where there are few groups.
MOST_OF_GROUP = 3

# Characters of a label that come to the driver: a column may hold a page of text.
LONGEST_LABEL = 200


@dataclass(frozen=True)
class LabelledItem:
    """An item with its kept columns as text (`labels`), '' for a null."""

    item_id: str
    image_path: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class LabelledNeighbour:
    """A neighbour and its score."""

    item: LabelledItem
    score: float


@dataclass(frozen=True)
class ItemWithNeighbours:
    """An item with its best neighbours; none when no other item is in its group."""

    item: LabelledItem
    neighbours: tuple[LabelledNeighbour, ...]


def draw(tables: ReleaseTables, items: int, neighbours: int) -> list[ItemWithNeighbours]:
    """Return `items` items, the same each time for a catalogue, with up to `neighbours` neighbours each."""
    readable = _readable(tables.embeddings)
    chosen = _items(readable.orderBy(F.xxhash64("item_id"), "item_id").limit(items))
    # Literal ids, not a join: Parquet skips the row groups that cannot hold them.
    listed = (
        tables.similar_items.where(F.col("item_id").isin(list(chosen)))
        .where(F.col("rank") <= neighbours)
        .select(F.col("item_id").alias("of"), "rank", "similar_item_id", "score")
    )
    rows = readable.join(F.broadcast(listed), F.col("item_id") == F.col("similar_item_id")).collect()
    found: dict[str, list[LabelledNeighbour]] = {item_id: [] for item_id in chosen}
    for row in sorted(rows, key=lambda row: int(row["rank"])):
        found[row["of"]].append(LabelledNeighbour(_item(row), row["score"]))
    return [ItemWithNeighbours(item, tuple(found[item_id])) for item_id, item in chosen.items()]


def ids_by_group(embeddings: DataFrame, group_by: str | None, items: int) -> list[str]:
    """Return `items` items, the same each time for a catalogue: one of each large group, then second ones."""
    of_group = items if group_by is None else MOST_OF_GROUP
    by_chance = F.struct(F.xxhash64("item_id").alias("hash"), "item_id")
    groups = (
        embeddings.select("item_id", schemas.group(group_by))
        .groupBy("group")
        .agg(F.count("*").alias("size"), F.min_by("item_id", by_chance, of_group).alias("first"))
        .orderBy(F.desc("size"), "group")
        .limit(items)
        .collect()
    )
    in_turns = [group["first"][place] for place in range(of_group) for group in groups if place < len(group["first"])]
    return in_turns[:items]


def ids_without_list(tables: ReleaseTables, items: int) -> list[str]:
    """Return the first `items` items by id that have no neighbour."""
    listed = tables.similar_items.where("rank = 1").select("item_id")
    alone = tables.embeddings.select("item_id").join(listed, on="item_id", how="left_anti")
    return [row["item_id"] for row in alone.orderBy("item_id").limit(items).collect()]


def find_items(embeddings: DataFrame, item_ids: Iterable[str]) -> dict[str, LabelledItem]:
    """Return those of a few items that there are."""
    return _items(_readable(embeddings).where(F.col("item_id").isin(list(item_ids))))


def find_codes(embeddings: DataFrame, item_ids: Sequence[str], columns: Sequence[str]) -> pa.Table:
    """Return item_id and the `columns` of some ten thousand items: codes of their values, null without a value."""
    wanted = embeddings.sparkSession.createDataFrame(pa.table({"item_id": pa.array(item_ids, pa.string())}))
    codes = [F.when(F.col(f"`{name}`").isNotNull(), F.xxhash64(_text(name))).alias(name) for name in columns]
    return embeddings.join(F.broadcast(wanted), on="item_id", how="left_semi").select("item_id", *codes).toArrow()


def _readable(embeddings: DataFrame) -> DataFrame:
    """Return item_id, image_path and the kept columns as one array, so that no vector comes to the driver."""
    labels = [
        F.left(F.coalesce(_text(name), F.lit("")), F.lit(LONGEST_LABEL)) for name in schemas.kept_columns(embeddings)
    ]
    # An array of no columns has no type of its own.
    joined = F.array(*labels).cast("array<string>")
    return embeddings.select("item_id", "image_path", joined.alias("labels"))


def _text(column: str) -> Column:
    return F.col(f"`{column}`").cast("string")


def _items(rows: DataFrame) -> dict[str, LabelledItem]:
    """Return the items by id, in the order of the rows."""
    return {row["item_id"]: _item(row) for row in rows.collect()}


def _item(row: Row) -> LabelledItem:
    return LabelledItem(row["item_id"], row["image_path"], tuple(row["labels"]))
