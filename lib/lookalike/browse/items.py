"""The items of a release, held in memory by their sorted ids: paths, labels, groups; found by id or words."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.pages import texts
from lookalike.serving import tables
from lookalike.serving.tables import Table

# Characters of a question that are looked at, in so many words.
_LONGEST_QUESTION = 200
_MOST_WORDS = 8

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Items:
    """Some items by their sorted ids. A row is a place among these."""

    ids: pa.Array
    paths: pa.Array
    hashes: pa.Array  # of the bytes of the picture
    labels: dict[str, pa.Array]  # kept column -> texts, '' for a null
    eligible: pa.Array | None = None  # "true" for an item that may be recommended, where similar.eligible says it

    @classmethod
    def read(cls, table: Table, eligible: str | None = None) -> Items:
        """Read the items of `embeddings`, without the vectors; raise WarehouseError.

        The column `eligible`, where the rules have made it, is none of the labels.
        """
        names = [name for name in tables.item_columns(table) if name not in ("item_id", "image_path")]
        if table.files is None:
            none = pa.array([], pa.string())
            return cls(none, none, none, {})
        there = [name for name in ("image_path", "image_hash") if name in table.files.schema.names]
        read = table.read(["item_id", *there, *names]).sort_by("item_id").combine_chunks()
        columns = {name: texts.texts(read[name]) for name in ("item_id", *there)}
        nothing = pa.nulls(len(read), pa.string())
        paths, hashes = (columns.get(name, nothing) for name in ("image_path", "image_hash"))
        labels = {name: texts.labels(read[name]) for name in names if name != eligible}
        may = texts.texts(read[eligible]) if eligible in names else None
        return cls(columns["item_id"], paths, hashes, labels, may)

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, item_id: str) -> int | None:
        """Return the row of an item; None where the release has no such item."""
        low, high = 0, len(self.ids)
        while low < high:
            middle = (low + high) // 2
            if self.ids[middle].as_py().encode() < item_id.encode():
                low = middle + 1
            else:
                high = middle
        return low if low < len(self.ids) and self.ids[low].as_py() == item_id else None

    def rows(self, item_ids: pa.Array | pa.ChunkedArray) -> Rows:
        """Return the rows of many ids; -1 for one that is not there."""
        found = pc.fill_null(pc.index_in(item_ids, self.ids), -1)
        numbers: Rows = found.to_numpy().astype(np.int64)
        return numbers

    def labels_of(self, row: int) -> dict[str, str]:
        """Return the labels of an item, by their columns."""
        return {name: column[row].as_py() for name, column in self.labels.items()}

    def find(self, question: str) -> Rows:
        """Return the items whose id and labels have all words of a question: those whose id begins so come first."""
        words = unicodedata.normalize("NFC", question[:_LONGEST_QUESTION].lower()).split()[:_MOST_WORDS]
        there = np.ones(len(self), np.bool_)
        for word in words:
            there &= pc.match_substring(self._searched, word).to_numpy(zero_copy_only=False)
        rows: Rows = np.flatnonzero(there)
        begins = pc.starts_with(self._searched.take(pa.array(rows)), " ".join(words)).to_numpy(zero_copy_only=False)
        return np.concatenate([rows[begins], rows[~begins]])

    @cached_property
    def _searched(self) -> pa.Array:
        joined = pc.binary_join_element_wise(self.ids, *self.labels.values(), " ")
        return pc.utf8_normalize(pc.utf8_lower(joined), "NFC")  # a letter with its accent, or the two
