"""The lists of sketches in which duplicates are looked for: an item is in its own, and in those that may hold one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.index.annoy import map_vectors
from lookalike.index.built import places_of
from lookalike.index.items import read_items
from lookalike.knn.duplicate_groups import ShardFiles
from lookalike.knn.sketches import Sketcher
from lookalike.topk.items import Codes, Vectors, is_in

Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]

# An item in a list of a value of the last fallback level: its own (`home`), or another. `compared` tells whether its
# pairs are wanted.
LISTED: Final = pa.schema(
    [
        pa.field("value", pa.int64()),
        pa.field("list", pa.int32()),
        pa.field("home", pa.bool_()),
        pa.field("compared", pa.bool_()),
        pa.field("place", pa.int64()),
        pa.field("item_id", pa.string()),
        pa.field("sketch", pa.binary()),
    ]
)
LISTED_SPARK: Final = "value long, list int, home boolean, compared boolean, place long, item_id string, sketch binary"

# Vectors that are sketched at a time, 33 MB of 2,048 dimensions.
SKETCHED_ROWS = 4096


@dataclass(frozen=True)
class DuplicateLists:
    """How items are put into lists: those of the values `listed`, which ascend, by their sketches, others into one.

    Pairs of `min_cosine` or more are looked for: with `all_pairs` all, else those of an item that is compared.
    """

    files: ShardFiles
    sketcher: Sketcher
    listed: Codes
    min_cosine: float
    all_pairs: bool

    def list_shard(self, number: int, compared: Rows) -> Iterator[pa.RecordBatch]:
        """Yield rows of LISTED for the live items of a shard; `compared` are the positions of some."""
        name, items = self.files.shards[number]
        layout = self.files.layout
        rows = read_items(layout.fetch_items(name), "item_id", "deleted", "group_codes")
        vectors = map_vectors(layout.shared.fetch(layout.annoy(name)), items, layout.dimensions)
        values = pc.list_flatten(rows["group_codes"]).to_numpy().reshape(items, -1)[:, -1]
        live = ~rows["deleted"].to_numpy().astype(bool)
        wanted = np.full(items, self.all_pairs)
        wanted[compared] = True
        for start in range(0, items, SKETCHED_ROWS):
            some = slice(start, start + SKETCHED_ROWS)
            # A vector of zeros is a duplicate of none, and so is one that is not finite.
            positions = start + np.flatnonzero(live[some] & vectors[some].any(axis=1))
            sketches = self.sketcher.sketches(vectors[positions])
            finite = np.isfinite(sketches).all(axis=1)
            positions, sketches = positions[finite], sketches[finite]
            row, lists, home = self._lists_of(sketches, values[positions], wanted[positions])
            at = positions[row]
            ids = rows["item_id"].take(pa.array(at)).combine_chunks()
            numbers = [pa.array(values[at]), pa.array(lists.astype(np.int32)), pa.array(home), pa.array(wanted[at])]
            columns = [*numbers, pa.array(places_of(number, at)), ids, as_binary(sketches[row])]
            yield pa.record_batch(columns, schema=LISTED)

    def _lists_of(self, sketches: Vectors, values: Codes, compared: Flags) -> tuple[Rows, Rows, Flags]:
        """Return the rows of items and lists, an item and a list each, and whether it is the item's own.

        Of two items in different lists, it is enough that one is in that of the other: with all pairs that of the
        smaller number comes into the larger, else the one that is compared.
        """
        own, near = self.sketcher.near_lists(sketches, self.min_cosine)
        own[~is_in(values, self.listed)] = 0
        numbers = np.arange(near.shape[1])
        near &= numbers > own[:, None] if self.all_pairs else (numbers != own[:, None]) & compared[:, None]
        near &= is_in(values, self.listed)[:, None]
        row, lists = np.nonzero(near)
        home = np.arange(len(own) + len(row)) < len(own)
        return np.concatenate([np.arange(len(own)), row]), np.concatenate([own, lists]), home


def as_binary(matrix: Vectors) -> pa.Array:
    """Return each row as bytes."""
    rows, width = matrix.shape
    ends = pa.array(np.arange(rows + 1, dtype=np.int32) * 4 * width).buffers()[1]
    return pa.Array.from_buffers(pa.binary(), rows, [None, ends, pa.py_buffer(np.ascontiguousarray(matrix))])


def of_binary(column: pa.Array) -> Vectors:
    """Return the rows of `as_binary`, at least one, all of a width."""
    ends = np.frombuffer(column.buffers()[1], dtype=np.int32)[column.offset : column.offset + len(column) + 1]
    values = np.frombuffer(column.buffers()[2], dtype=np.uint8)[ends[0] : ends[-1]]
    return values.view(np.float32).reshape(len(column), -1)
