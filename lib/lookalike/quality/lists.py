"""What the lists of a release look like: how they score, the worst ones, and some to read or to compare.

A task reads a file of similar_items, sorted and of whole lists: 1,000,000 rows take 0.2 s of a core and 160 MB.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from lookalike import id_hash
from lookalike.spark import arrow_files
from lookalike.spark.tasks import map_tasks
from lookalike.warehouse.shared_files import SharedFiles

# Of scores from -1 to 1.
BINS = 80

_COLUMNS = ("item_id", "rank", "similar_item_id", "score")
_BATCH_ROWS = 1 << 16

Counts = NDArray[np.int64]
Worst = tuple[float, str]  # what makes a list one of the worst, and its item


@dataclass(frozen=True)
class Wanted:
    """Which lists to return, up to rank `k`: those of `items`, those that `draw` chooses, and the `worst` of a kind."""

    k: int
    items: frozenset[str] = frozenset()
    draw: int = 0  # lists of an item whose hash of 32 bits is below this
    worst: int = 0

    @classmethod
    def some(cls, k: int, items: Iterable[str], sample: int, of: int, worst: int) -> Wanted:
        """Return what draws about `sample` lists `of` all, the same ones each night."""
        return cls(k, frozenset(items), min(1 << 32, (sample << 32) // max(1, of)), worst)


@dataclass(frozen=True)
class Lists:
    """The lists of a table or of one of its files."""

    count: int  # items with a list
    best: Counts  # [BINS]: how many first neighbours have a score in each bin
    last: Counts  # [BINS]: the same of the last ones
    lowest: list[Worst]  # the worst lists by the score of the first neighbour
    shortest: list[Worst]  # by the number of neighbours, of those with fewer than k
    drawn: list[str]
    rows: pa.Table  # item_id, rank, similar_item_id and score of the wanted lists

    def neighbours(self) -> dict[str, list[tuple[str, float]]]:
        """Return the wanted lists, the best neighbour first."""
        found: dict[str, list[tuple[str, float]]] = {}
        for row in self.rows.sort_by([("item_id", "ascending"), ("rank", "ascending")]).to_pylist():
            found.setdefault(row["item_id"], []).append((row["similar_item_id"], row["score"]))
        return found


def read(spark: SparkSession, shared: SharedFiles, paths: Sequence[Path], wanted: Wanted) -> Lists:
    """Return what the files of a table similar_items hold; raises WarehouseError."""
    found = map_tasks(spark, paths, partial(_of_file, shared, wanted))
    none = np.zeros(BINS, np.int64)
    both = reduce(partial(_both, wanted.worst), found, Lists(0, none, none, [], [], [], _EMPTY))
    shown = {*wanted.items, *both.drawn, *(item for _, item in (*both.lowest, *both.shortest))}
    rows = both.rows.filter(pc.is_in(both.rows["item_id"], pa.array(sorted(shown), pa.string())))
    return replace(both, rows=rows)


_EMPTY = pa.table(
    {"item_id": pa.array([], pa.string()), "rank": pa.array([], pa.int32())}
    | {"similar_item_id": pa.array([], pa.string()), "score": pa.array([], pa.float32())}
)


def _of_file(shared: SharedFiles, wanted: Wanted, path: Path) -> Lists:
    batches = list(arrow_files.read_batches(shared.fetch(path), _COLUMNS, size=_BATCH_ROWS))
    if not batches:
        return _of_rows(_EMPTY, wanted)
    rows = pa.Table.from_batches(batches).select(_COLUMNS).cast(_EMPTY.schema)
    return _of_rows(rows.filter(pc.less_equal(rows["rank"], wanted.k)), wanted)


def _of_rows(rows: pa.Table, wanted: Wanted) -> Lists:
    scores, first = rows["score"].to_numpy(), np.flatnonzero(rows["rank"].to_numpy() == 1)
    sizes = np.diff(first, append=len(rows))
    ids = rows["item_id"].take(pa.array(first))
    best, last = scores[first], scores[first + sizes - 1]
    short = np.flatnonzero(sizes < wanted.k)
    lowest = _first(best, ids, wanted.worst)
    shortest = _first(sizes[short], ids.take(pa.array(short)), wanted.worst)
    drawn = ids.filter(pa.array(id_hash.of_many(ids) < wanted.draw)).to_pylist() if wanted.draw else []
    shown = {*wanted.items, *drawn, *(item for _, item in (*lowest, *shortest))}
    kept = rows.filter(pc.is_in(rows["item_id"], pa.array(sorted(shown), pa.string())))
    return Lists(len(first), _histogram(best), _histogram(last), lowest, shortest, drawn, kept)


def _first(values: NDArray[np.generic], ids: pa.ChunkedArray, count: int) -> list[Worst]:
    """Return the `count` smallest values with their ids; of equal ones those of the first ids."""
    table = pa.table({"value": pa.array(values), "id": ids})
    places = pc.select_k_unstable(table, count, [("value", "ascending"), ("id", "ascending")]) if count else []
    return [(row["value"], row["id"]) for row in table.take(pa.array(places, pa.uint64())).to_pylist()]


def _histogram(scores: NDArray[np.float32]) -> Counts:
    counts: Counts = np.histogram(np.clip(scores, -1, 1), BINS, (-1, 1))[0]
    return counts


def _both(worst: int, one: Lists, other: Lists) -> Lists:
    return Lists(
        one.count + other.count,
        one.best + other.best,
        one.last + other.last,
        sorted([*one.lowest, *other.lowest])[:worst],
        sorted([*one.shortest, *other.shortest])[:worst],
        [*one.drawn, *other.drawn],
        pa.concat_tables([one.rows, other.rows]),
    )
