"""Which lists differ from those of the release before: the rows of the table `changes` that are of kind `list`.

Both releases have their lists in files sorted by id. So a task that has the lists of a range of ids reads the same
range of the release before, some rows at a time, and compares what is published: neighbours, ranks and scores. So it
does not matter how the lists were made: 2,000,000 rows take 0.4 s of a core.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from lookalike.knn.lists import FOUND
from lookalike.spark import arrow_files, schemas
from lookalike.spark.release_tables import ReleaseTables
from lookalike.spark.tasks import map_tasks
from lookalike.topk.items import Ids, as_ids
from lookalike.warehouse.shared_files import SharedFiles

_COLUMNS = ("item_id", "rank", "similar_item_id", "score")

# Rows of the release before that are held at a time: a few megabytes.
_BATCH_ROWS = 1 << 16


@dataclass(frozen=True)
class IdRange:
    """Item ids above `low` and up to `high`; None where there is no such bound."""

    low: bytes | None = None
    high: bytes | None = None

    @classmethod
    def between(cls, bounds: Ids, number: int) -> IdRange:
        """Return the part of this number of those that `bounds`, which ascend, divide all ids into."""
        low, high = ([None, *bounds.tolist(), None][at] for at in (number, number + 1))
        return cls(low, high)

    def may_hold(self, first: bytes, last: bytes) -> bool:
        """Whether any id from `first` to `last` is in the range."""
        return (self.low is None or last > self.low) and (self.high is None or first <= self.high)

    def holds(self, ids: Ids) -> NDArray[np.bool_]:
        """Whether each id is in the range."""
        found = np.ones(len(ids), dtype=bool)
        if self.low is not None:
            found &= ids > self.low
        if self.high is not None:
            found &= ids <= self.high
        return found


@dataclass(frozen=True)
class PreviousLists:
    """The files of similar_items of the release before, each with its first and last id where several are there."""

    shared: SharedFiles
    files: Sequence[tuple[Path, tuple[bytes, bytes] | None]]

    @classmethod
    def of(cls, spark: SparkSession, before: ReleaseTables) -> PreviousLists:
        """Find the ids of each file, so that a task reads, and with a store fetches, those alone that it compares."""
        paths, shared = before.sound_files("similar_items"), before.release.shared
        if len(paths) == 1:
            return cls(shared, [(paths[0], None)])
        ids = map_tasks(spark, paths, lambda path: ids_of_file(shared.fetch(path)))
        return cls(shared, list(zip(paths, ids, strict=True)))

    def batches(self, ids: IdRange) -> Iterator[pa.RecordBatch]:
        """Yield the rows of all files that may be in the range, some thousands at a time."""
        for path, known in self.files:
            if known is None or ids.may_hold(*known):
                copy = self.shared.fetch(path)
                groups = [at for at, group in enumerate(_ids_of_groups(copy)) if group is None or ids.may_hold(*group)]
                yield from arrow_files.read_batches(copy, _COLUMNS, groups, _BATCH_ROWS)


def ids_of_file(path: Path) -> tuple[bytes, bytes] | None:
    """Return the first and the last id of a file, None where its footer does not tell."""
    groups = [group for group in _ids_of_groups(path) if group is not None]
    if not groups or len(groups) < len(_ids_of_groups(path)):
        return None
    return min(first for first, _ in groups), max(last for _, last in groups)


def _ids_of_groups(path: Path) -> list[tuple[bytes, bytes] | None]:
    """Return the first and the last id of each row group, None where its statistics do not tell."""
    return [
        (one.min.encode(), one.max.encode()) if one is not None and one.has_min_max else None
        for one in arrow_files.read_statistics(path, "item_id")
    ]


def list_changes(found: pa.Table, before: PreviousLists | None, ids: IdRange) -> Iterator[pa.RecordBatch]:
    """Yield the rows of `changes` for the lists `found`, rows of FOUND sorted by item, all that are in a range of ids.

    Without a release before, all of them are new. Of two equal ids and ranks there is one row in a release.
    """
    compared = _Comparison(found)
    for batch in before.batches(ids) if before else ():
        yield _rows("delete", compared.gone(batch, ids))
    yield _rows("upsert", compared.changed())


def _rows(change: str, item_ids: pa.Array) -> pa.RecordBatch:
    columns = [*(pa.repeat(one, len(item_ids)) for one in ("list", change)), item_ids]
    return pa.record_batch(columns, schema=schemas.as_arrow(schemas.CHANGES))


class _Comparison:
    """Lists, and which of their rows the release before has as they are."""

    def __init__(self, found: pa.Table) -> None:
        self._items, lists, scores = (found[name].combine_chunks() for name in FOUND.names[:3])
        self._ids = as_ids(self._items)
        self._lengths = lists.value_lengths().to_numpy().astype(np.int64)
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._names, self._scores = lists.flatten(), scores.flatten().to_numpy()
        self._same = np.zeros(len(self._names), dtype=bool)
        self._shorter = np.zeros(len(self._ids), dtype=bool)  # than in the release before

    def gone(self, batch: pa.RecordBatch, ids: IdRange) -> pa.Array:
        """Compare rows of the release before that are in the range; return the items that have no list any more."""
        encoded = batch["item_id"].dictionary_encode()
        known, of = as_ids(encoded.dictionary), encoded.indices.to_numpy()
        ranks = batch["rank"].to_numpy() - 1
        here, lists = ids.holds(known), self._lists_of(known)
        lengths = np.where(lists < 0, 0, self._lengths[lists]) if len(self._ids) else np.zeros(len(known), np.int64)
        longer = ranks >= lengths[of]
        rows = np.flatnonzero(here[of] & ~longer)
        self._compare(self._starts[lists[of[rows]]] + ranks[rows], batch.take(pa.array(rows)))
        self._shorter[lists[of[here[of] & longer & (lists[of] >= 0)]]] = True
        return batch["item_id"].filter(pa.array(here[of] & (lengths[of] == 0) & (ranks == 0)))

    def changed(self) -> pa.Array:
        """Return the items with a list of which any row is not the same, or which had a longer one."""
        other = self._shorter.copy()
        other[np.repeat(np.arange(len(self._ids)), self._lengths)[~self._same]] = True
        return self._items.filter(pa.array(other & (self._lengths > 0)))

    def _lists_of(self, known: Ids) -> NDArray[np.int64]:
        """Return where the list of each of these items is, -1 for one that is not here."""
        if not len(self._ids):
            return np.full(len(known), -1)
        at = np.minimum(np.searchsorted(self._ids, known), len(self._ids) - 1)
        return np.where(self._ids[at] == known, at, -1)

    def _compare(self, at: NDArray[np.int64], before: pa.RecordBatch) -> None:
        names = pc.equal(self._names.take(pa.array(at)), before["similar_item_id"]).to_numpy(zero_copy_only=False)
        self._same[at] = names & (self._scores[at] == before["score"].to_numpy())
