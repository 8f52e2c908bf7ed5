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
class RuleItems:
    """The items that share a level with one of them, the query: arrays [n], in the order of their ids.

    `levels` is the place of the first column that an item shares with the query. Codes are equal for the variants of a
    product and for the items of a duplicate group; an item without either has one of its own.
    """

    ids: pa.Array
    groups: set[str | None]  # the values of similar.group_by that they have
    levels: NDArray[np.int8]
    shares: NDArray[np.bool_]  # [levels, n]: whether an item has the query's value of a column
    eligible: NDArray[np.bool_]
    products: Codes
    pictures: Codes
    query: int  # its row

    @classmethod
    def of(cls, table: pa.Table, duplicates: pa.Table, item_id: str, similar: StoredSimilar) -> RuleItems:
        """Read them from the items of a release, which has the query, and its duplicates."""
        table = table.sort_by("item_id")
        ids = table["item_id"].combine_chunks()
        query = pc.index(ids, item_id).as_py()
        shares = np.array([_same(_text(table, name), query) for name in (similar.group_by, *similar.group_fallback)])
        here = np.flatnonzero(shares.any(axis=0))
        rows, shares = table.take(pa.array(here)), shares[:, here]
        eligible = np.ones(len(here), bool) if similar.eligible is None else _booleans(rows[_ELIGIBLE])
        products = _codes(_text(rows, similar.variant_of))
        return cls(
            rows["item_id"].combine_chunks(),
            set(pc.unique(_text(rows, similar.group_by)).to_pylist()),
            np.argmax(shares, axis=0).astype(np.int8),
            shares,
            eligible,
            products,
            _pictures(rows["item_id"].combine_chunks(), duplicates),
            int(np.searchsorted(here, query)),
        )

    def row(self, item_id: str) -> int | None:
        """Return the row of an item, None where it shares no level with the query."""
        found: int = pc.index(self.ids, item_id).as_py()
        return None if found < 0 else found

    @cached_property
    def shown(self) -> NDArray[np.int64]:
        """Of each item the row of the one that represents its duplicate group at its level; -1 where none may."""
        found = np.full(len(self.ids), -1)
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
        found: NDArray[np.bool_] = self.eligible & (self.shown == np.arange(len(self.ids))) & (scores >= least)
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


def _same(column: pa.ChunkedArray, row: int) -> NDArray[np.bool_]:
    """Return which rows have the value of one of them; no value is a value."""
    value = column[row]
    return _booleans(pc.equal(column, value) if value.is_valid else column.is_null())


def _booleans(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = pc.fill_null(column, False).to_numpy().astype(bool)
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
