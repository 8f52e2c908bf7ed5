"""The rules of one item's list over all of its candidates, as docs/rules.md states them: arrays, one item at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.topk.items import Codes, Vectors
from lookalike.warehouse.stored_config import StoredSimilar

# The column of the tables that says whether an item may be recommended.
_ELIGIBLE = "eligible"


@dataclass(frozen=True)
class RuleTable:
    """What the rules read of all items of a release: arrays [n], in the order of their ids; of it, a list at a time.

    Codes are equal for items with the same value of a column; no value is a value. They are equal for the variants of a
    product and for the items of a duplicate group; an item without either has one of its own.
    """

    ids: pa.Array
    groups: pa.Array  # the values of similar.group_by, by their codes
    columns: NDArray[np.int32]  # [levels, n]: the codes of the columns of the levels
    eligible: NDArray[np.bool_]
    products: Codes
    pictures: Codes

    @classmethod
    def of(cls, table: pa.Table, duplicates: pa.Table, similar: StoredSimilar) -> RuleTable:
        """Read them from the items of a release, and its duplicates."""
        table = table.sort_by("item_id")
        ids, own = table["item_id"].combine_chunks(), np.ones(len(table), bool)
        encoded = [_text(table, name) for name in (similar.group_by, *similar.group_fallback)]
        columns = [column.combine_chunks().dictionary_encode(null_encoding="encode") for column in encoded]
        return cls(
            ids,
            columns[0].dictionary,
            np.array([column.indices.to_numpy() for column in columns]),
            own if similar.eligible is None else _booleans(table[_ELIGIBLE]),
            _codes(_text(table, similar.variant_of)),
            _pictures(ids, duplicates),
        )

    def row(self, item_id: str) -> int | None:
        """Return the row of an item, None where the release has no embedding of it."""
        found: int = pc.index(self.ids, item_id).as_py()
        return None if found < 0 else found

    def around(self, query: int) -> RuleItems:
        """Return the items that share a level with the one of this row."""
        shares = self.columns == self.columns[:, query, None]
        here = np.flatnonzero(shares.any(axis=0))
        shares = shares[:, here]
        return RuleItems(
            here,
            set(self.groups.take(pa.array(np.unique(self.columns[0, here]))).to_pylist()),
            np.argmax(shares, axis=0).astype(np.int8),
            shares,
            self.eligible[here],
            self.products[here],
            self.pictures[here],
            int(np.searchsorted(here, query)),
        )


@dataclass(frozen=True)
class RuleItems:
    """The items that share a level with one of them, the query: arrays [n], in the order of their ids.

    `rows` are theirs in the RuleTable, and `levels` the place of the first column that an item shares with the query.
    """

    rows: NDArray[np.int64]
    groups: set[str | None]  # the values of similar.group_by that they have
    levels: NDArray[np.int8]
    shares: NDArray[np.bool_]  # [levels, n]: whether an item has the query's value of a column
    eligible: NDArray[np.bool_]
    products: Codes
    pictures: Codes
    query: int  # its place among them

    def place(self, row: int) -> int | None:
        """Return the place of an item of the table, None where it shares no level with the query."""
        at = int(np.searchsorted(self.rows, row))
        return at if at < len(self.rows) and self.rows[at] == row else None

    @cached_property
    def shown(self) -> NDArray[np.int64]:
        """Of each item the row of the one that represents its duplicate group at its level; -1 where none may."""
        found = np.full(len(self.rows), -1)
        for level, shares in enumerate(self.shares):
            rows = np.flatnonzero(shares & self.eligible)
            pictures, first = np.unique(self.pictures[rows], return_index=True)  # rows are in the order of the ids
            here = np.flatnonzero(self.levels == level)
            if len(rows):
                at = np.minimum(np.searchsorted(pictures, self.pictures[here]), len(pictures) - 1)
                found[here] = np.where(pictures[at] == self.pictures[here], rows[first[at]], -1)
        return found

    def allowed(self, scores: Vectors, min_score: float | None) -> NDArray[np.bool_]:
        """Return which items are candidates of the list that are near enough."""
        least = np.float32(-np.inf if min_score is None else min_score)
        found: NDArray[np.bool_] = self.eligible & (self.shown == np.arange(len(self.rows))) & (scores >= least)
        found &= (self.products != self.products[self.query]) & (self.pictures != self.pictures[self.query])
        return found

    def taken(self, scores: Vectors, min_score: float | None) -> NDArray[np.int64]:
        """Return the rows in the order in which the list takes them, as though it had no end."""
        rows = np.flatnonzero(self.allowed(scores, min_score))  # in the order of the ids, which breaks ties
        rows = rows[np.lexsort((-scores[rows], self.levels[rows]))]
        taken = rows[:0]
        for level in range(len(self.shares)):
            here = rows[self.levels[rows] == level]
            here = here[~np.isin(self.products[here], self.products[taken])]
            here = here[~np.isin(self.pictures[here], self.pictures[taken])]
            _, first = np.unique(self.products[here], return_index=True)
            taken = np.concatenate([taken, here[np.sort(first)]])
        return taken


def columns(similar: StoredSimilar) -> list[str]:
    """Return the columns of `embeddings` that the rules read."""
    named = (similar.group_by, *similar.group_fallback, similar.variant_of, similar.eligible and _ELIGIBLE)
    return ["item_id", *dict.fromkeys(name for name in named if name)]


def _text(table: pa.Table, name: str | None) -> pa.ChunkedArray:
    """Return a column as text, as values are compared, or as bytes; without one, nothing for every item."""
    if name is None:
        return pa.chunked_array([pa.nulls(len(table), pa.string())])
    column = table[name]
    return column if pa.types.is_binary(column.type) else column.cast(pa.string())


def _booleans(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    # Without an item, no file says its type.
    found: NDArray[np.bool_] = pc.fill_null(column.cast(pa.bool_()), False).to_numpy().astype(bool)
    return found


def _codes(column: pa.ChunkedArray) -> Codes:
    """Return a number for each value, and one of its own for each row without a value."""
    codes = column.combine_chunks().dictionary_encode().indices
    own = -1 - np.arange(len(codes))
    found: Codes = np.where(codes.is_valid().to_numpy(zero_copy_only=False), pc.fill_null(codes, 0).to_numpy(), own)
    return found


def _pictures(item_ids: pa.Array, duplicates: pa.Table) -> Codes:
    """Return a number for each duplicate group, which its representative names, and for each item of none."""
    at = pc.index_in(item_ids, duplicates["item_id"].combine_chunks())
    named = duplicates["representative_item_id"].combine_chunks().take(at)
    return _codes(pa.chunked_array([pc.coalesce(named, item_ids)]))
