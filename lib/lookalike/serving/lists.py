"""Read the published lists of items, and the items themselves, by their ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from lookalike.errors import QueryError, UnknownItemError, WarehouseError
from lookalike.serving import tables
from lookalike.serving.gallery import Gallery
from lookalike.serving.lazy import lazy
from lookalike.serving.results import Changes, Items, NeighbourLists, Neighbours, joined_ranges
from lookalike.serving.shard import Neighbour
from lookalike.serving.tables import Table
from lookalike.topk.items import Vectors
from lookalike.warehouse.release import ReleaseFolder

_CHANGES = ("kind", "change", "item_id")
_SIMILAR = ("item_id", "rank", "similar_item_id", "score")

# Ids that an error names; its `item_ids` has all.
_NAMED = 3


class ReleaseItems:
    """The items of one release, in the tables that are read by id: similar_items, embeddings, failures."""

    def __init__(self, release: ReleaseFolder, gallery: Gallery) -> None:
        self._release = release
        self._gallery = gallery

    @lazy
    def similar_items(self) -> Table:
        """The published lists."""
        return tables.open_table(self._release, self._release.similar_items)

    @lazy
    def embeddings(self) -> Table:
        """The items that have an embedding."""
        return tables.open_table(self._release, self._release.embeddings)

    @lazy
    def failures(self) -> Table:
        """The items that have none."""
        return tables.open_table(self._release, self._release.failures)

    @lazy
    def duplicates(self) -> Table:
        """The items that others represent; only with similar.duplicate_cosine."""
        return tables.open_table(self._release, self._release.duplicates)

    def neighbours(self, item_id: str, k: int) -> Neighbours:
        """Return the first k neighbours of an item; raise UnknownItemError."""
        wanted = ds.field("item_id") == item_id
        found = self.similar_items.rows(wanted & (ds.field("rank") <= k), _SIMILAR[1:])
        if not found:
            self.need([item_id])
        found.sort(key=lambda row: row["rank"])
        pairs = (Neighbour(row["similar_item_id"], row["score"]) for row in found)
        return Neighbours(pairs, item_id, self._gallery)

    def lists(self, item_ids: pa.Array, k: int) -> NeighbourLists:
        """Return the first k neighbours of each item, in the order given; raise UnknownItemError."""
        distinct, where = _distinct(item_ids)
        rows = _similar_of(self.similar_items, distinct, k)
        places = pc.index_in(rows["item_id"], distinct).to_numpy()
        rows = rows.take(pa.array(np.lexsort((rows["rank"].to_numpy(), places))))
        counts = np.bincount(places, minlength=len(distinct))
        self.need(distinct.filter(pa.array(counts == 0)))
        starts = np.cumsum(counts) - counts
        order, ends = joined_ranges(starts[where], counts[where])
        return NeighbourLists(rows.take(pa.array(order)).combine_chunks(), ends, item_ids, self._gallery)

    def items(self, item_ids: pa.Array | None, columns: Sequence[str] | None) -> Items:
        """Return the columns of items in the order given, or of all by their ids; raise UnknownItemError."""
        names = self._columns(columns)
        if self.embeddings.files is None:
            self.need(item_ids if item_ids is not None else ())
            return Items(pa.table({name: pa.array([], pa.string()) for name in names}), self._gallery)
        if item_ids is None:
            return Items(self.embeddings.read(names).sort_by("item_id"), self._gallery)
        distinct, where = _distinct(item_ids)
        rows = self.embeddings.read(names, ds.field("item_id").isin(distinct))
        places = _places(distinct, rows["item_id"])
        self._need_all(distinct, places)
        return Items(rows.take(pa.array(places[where])), self._gallery)

    def changes(self) -> Changes:
        """Return the table of changes, by kind, change and item; raise WarehouseError where the release has none."""
        record = self._release.record()
        if record.changes_table is None:
            raise WarehouseError(
                f"release {record.release_id} has no table of changes, since lookalike {record.lookalike} wrote it; "
                "ask `lookalike changes --since` with the release that you have a copy of"
            )
        table = tables.open_table(self._release, self._release.changes)
        if table.files is None:
            raise tables.damaged(self._release.changes, "it has no file")
        order = [(name, "ascending") for name in _CHANGES]
        return Changes(table.read(_CHANGES).sort_by(order), record.changes_table.since)

    def vectors(self, item_ids: pa.Array) -> Vectors:
        """Return the embeddings of items, float32 [n, dimensions]; raise UnknownItemError."""
        distinct, where = _distinct(item_ids)
        if self.embeddings.files is None:
            self.need(distinct)
            return np.empty((0, 0), np.float32)
        places = _places(distinct, self.embeddings.read(["item_id"])["item_id"])
        self._need_all(distinct, places)
        return self.embeddings.vectors(places)[where]

    def need(self, item_ids: pa.Array | Sequence[str]) -> None:
        """Raise UnknownItemError unless all of these have an embedding."""
        if len(item_ids):
            ids = pa.array(item_ids, pa.string())
            known = self.embeddings.rows(ds.field("item_id").isin(ids), ("item_id",))
            self._need_all(ids, _places(ids, pa.array([row["item_id"] for row in known], pa.string())))

    def _need_all(self, item_ids: pa.Array, places: NDArray[np.int64]) -> None:
        lost = item_ids.filter(pa.array(places < 0)).to_pylist()
        if not lost:
            return
        reasons = self.failed(lost[:_NAMED])
        if len(lost) == 1:
            said = self._said(lost[0], reasons)
        else:
            named = "; ".join(self._said(one, reasons) for one in lost[:_NAMED])
            more = "; …" if len(lost) > _NAMED else ""
            said = f"{len(lost):,} of the items have no embedding, all in the error's item_ids: {named}{more}"
        raise UnknownItemError(said, tuple(lost))

    def _said(self, item_id: str, reasons: dict[str, str]) -> str:
        if item_id in reasons:
            return f"item {item_id!r} has no embedding: its picture failed with {reasons[item_id]}"
        return f"item {item_id!r} is not in release {self._release.release_id}"

    def failed(self, item_ids: Sequence[str]) -> dict[str, str]:
        """Return why items have no embedding, as reason codes, of those that failed."""
        rows = self.failures.rows(ds.field("item_id").isin(list(item_ids)), ("item_id", "reason"))
        return {row["item_id"]: row["reason"] for row in rows}

    def _columns(self, columns: Sequence[str] | None) -> list[str]:
        own = tables.item_columns(self.embeddings)
        if columns is None:
            return list(own)
        there = own if self.embeddings.files is None else self.embeddings.files.schema.names
        known = [name for name in there if name != "embedding"]
        one = isinstance(columns, str | bytes) or not isinstance(columns, Iterable)
        named = [columns] if one else list(columns)
        unknown = [name for name in named if one or name not in known]
        if unknown:
            raise QueryError(f"columns: {unknown[0]!r}; give a list of some of {', '.join(known)}")
        return list(dict.fromkeys(("item_id", *named)))


def _similar_of(table: Table, item_ids: pa.Array, k: int) -> pa.Table:
    """Return the rows of these items up to rank k, unordered."""
    if table.files is None:
        types = (pa.string(), pa.int32(), pa.string(), pa.float32())
        return pa.table([pa.array([], kind) for kind in types], names=_SIMILAR)
    return table.read(_SIMILAR, ds.field("item_id").isin(item_ids) & (ds.field("rank") <= k))


def _distinct(item_ids: pa.Array) -> tuple[pa.Array, NDArray[np.int64]]:
    """Return each id once, and where each of `item_ids` is among them."""
    encoded = item_ids.dictionary_encode()
    return encoded.dictionary, encoded.indices.to_numpy().astype(np.int64)


def _places(item_ids: pa.Array, column: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    """Return the row of each id in a column of ids; -1 where it is not there."""
    value_set = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    found: NDArray[np.int64] = pc.fill_null(pc.index_in(item_ids, value_set), -1).to_numpy().astype(np.int64)
    return found
