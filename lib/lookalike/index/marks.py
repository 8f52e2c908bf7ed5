"""Tombstones and changed constraints in the items of shards that stay: their `.ann` files keep their bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lookalike.index.built import divided
from lookalike.index.changes import IndexChanges
from lookalike.index.manifest import ManifestShard


@dataclass(frozen=True)
class Marks:
    """What changes in the items of a shard that stays: tombstones, and the constraints of some positions."""

    deleted: NDArray[np.int64]
    positions: NDArray[np.int64]
    columns: pa.Table  # eligible, variant_group, group_codes at these positions

    def apply(self, items: pa.Table, *, keep_duplicates: bool) -> pa.Table:
        """Return the items of the shard with its marks."""
        deleted = items["deleted"].to_numpy().copy()
        deleted[self.deleted] = True
        items = _with(items, "deleted", pa.array(deleted))
        at = np.full(len(items), -1)
        at[self.positions] = np.arange(len(self.positions))
        for name in self.columns.column_names:
            joined = pa.chunked_array([*items[name].chunks, *self.columns[name].cast(items[name].type).chunks])
            where = np.where(at < 0, np.arange(len(items)), len(items) + at)
            items = _with(items, name, joined.take(pa.array(where)))
        for name in () if keep_duplicates else ("duplicate_group", "represents"):
            items = _with(items, name, pa.nulls(len(items), items.schema.field(name).type))
        return items


def marks_of(changes: IndexChanges, shards: Sequence[ManifestShard], *, every: bool) -> dict[int, Marks]:
    """Return the marks of these shards by number: of those that have any, or with `every` of all."""
    order = np.argsort(changes.places)
    numbers, positions = divided(changes.places[order])
    stays = changes.stays[order]
    columns = changes.table.select(["eligible", "variant_group", "group_codes"]).take(order)
    found = {}
    for number in (shard.number for shard in shards):
        here = slice(*np.searchsorted(numbers, [number, number + 1]).tolist())
        stay, moved = stays[here], positions[here]
        if every or len(moved):
            found[number] = Marks(moved[~stay], moved[stay], columns[here].filter(pa.array(stay)))
    return found


def _with(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)
