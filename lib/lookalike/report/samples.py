"""A few items of a release with their neighbours, for people to look at: few rows, collected on the driver."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat, zip_longest
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from lookalike.pages import texts
from lookalike.spark import arrow_files, schemas
from lookalike.spark.release_tables import ReleaseTables
from lookalike.spark.tasks import map_tasks
from lookalike.warehouse.shared_files import SharedFiles

_BATCH_ROWS = 1 << 16


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


def in_turns(groups: Mapping[str, Sequence[str]], items: int) -> list[str]:
    """Return the first item of each group, the largest group first, then the second ones, up to `items`."""
    by_size = sorted(groups, key=lambda name: (-len(groups[name]), name))
    turns = zip_longest(*(groups[name][:items] for name in by_size))
    return [item for turn in turns for item in turn if item is not None][:items]


def ids_without_list(tables: ReleaseTables, items: int) -> list[str]:
    """Return the first `items` items by id that have no neighbour."""
    listed = tables.similar_items.where("rank = 1").select("item_id")
    alone = tables.embeddings.select("item_id").join(listed, on="item_id", how="left_anti")
    return [row["item_id"] for row in alone.orderBy("item_id").limit(items).collect()]


def find_items(
    tables: ReleaseTables, paths: Sequence[Path], kept: Sequence[str], item_ids: Iterable[str]
) -> dict[str, LabelledItem]:
    """Return those of some ten thousand items that the files of the embeddings have, with these columns as labels.

    A task reads a file: next to a query of Spark that joins them, 100,000 items take a quarter of the time.
    """
    wanted = pa.array(sorted(item_ids), pa.string())
    work = partial(_of_file, tables.release.shared, tuple(kept), wanted)
    found: dict[str, LabelledItem] = {}
    for part in map_tasks(tables.embeddings.sparkSession, paths, work):
        ids, places, *labels = (column.to_pylist() for column in part.columns)
        rows = zip(*labels, strict=True) if labels else repeat((), len(ids))
        found |= {item: LabelledItem(item, *row) for item, *row in zip(ids, places, rows, strict=True)}
    return found


def _of_file(shared: SharedFiles, kept: tuple[str, ...], wanted: pa.Array, path: Path) -> pa.Table:
    """Return item_id, image_path and the labels of those items that a file has."""
    batches = arrow_files.read_batches(shared.fetch(path), ("item_id", "image_path", *kept), size=_BATCH_ROWS)
    names = [str(number) for number in range(2 + len(kept))]  # a column of the catalogue may have any name
    # A batch after the other: a column may have a page of text, of which few are wanted.
    found = [batch.filter(pc.is_in(batch["item_id"].cast(pa.string()), wanted)) for batch in batches]
    if not found:
        return pa.table({name: pa.array([], pa.string()) for name in names})
    rows = pa.Table.from_batches(found)
    columns = [texts.texts(rows[name]) for name in ("item_id", "image_path")]
    return pa.table(dict(zip(names, [*columns, *(texts.labels(rows[name]) for name in kept)], strict=True)))


def _readable(embeddings: DataFrame) -> DataFrame:
    """Return item_id, image_path and the kept columns as one array, so that no vector comes to the driver."""
    kept = schemas.kept_columns(embeddings)
    values = (F.coalesce(F.col(f"`{name}`").cast("string"), F.lit("")) for name in kept)
    # An array of no columns has no type of its own.
    labels = F.array(*(F.left(text, F.lit(texts.LONGEST_LABEL)) for text in values)).cast("array<string>")
    return embeddings.select("item_id", "image_path", labels.alias("labels"))


def _items(rows: DataFrame) -> dict[str, LabelledItem]:
    """Return the items by id, in the order of the rows."""
    return {row["item_id"]: _item(row) for row in rows.collect()}


def _item(row: Row) -> LabelledItem:
    return LabelledItem(row["item_id"], row["image_path"], tuple(row["labels"]))
