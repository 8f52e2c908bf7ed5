"""What a release answers with: lists of neighbours and tables of items, as lists, as Arrow, as pandas, as pictures."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self, SupportsIndex, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lookalike.serving import notebook
from lookalike.serving.gallery import Gallery
from lookalike.serving.shard import Neighbour
from lookalike.serving.tables import in_python

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = pa.schema({"rank": pa.int32(), "similar_item_id": pa.string(), "score": pa.float32()})


class Tabular(ABC):
    """An answer that is a table, too."""

    @abstractmethod
    def to_arrow(self) -> pa.Table:
        """Return the answer as an Arrow table."""

    def to_pandas(self) -> pd.DataFrame:
        """Return the table of `to_arrow` as a data frame of pandas."""
        frame: pd.DataFrame = self.to_arrow().to_pandas()
        return frame


class Neighbours(list[Neighbour], Tabular):
    """The neighbours of one item, vector or picture, best first: a list of pairs of `item_id` and `score`.

    In a notebook it shows their pictures. `item_id` is the item that was asked for, None for a vector or a picture.

        neighbours = release.similar("item-1")
        neighbours[0].score, [one.item_id for one in neighbours]
        neighbours.to_pandas()  # item_id, rank, similar_item_id, score, as in the table
    """

    def __init__(
        self,
        neighbours: Iterable[Neighbour] = (),
        item_id: str | None = None,
        gallery: Gallery | None = None,
        ranks: range | None = None,
    ) -> None:
        super().__init__(neighbours)
        self.item_id = item_id
        self._gallery = gallery or Gallery()
        self._ranks = range(1, len(self) + 1) if ranks is None else ranks

    @property
    def ranks(self) -> range:
        """The ranks of the neighbours, 1 for the best; a part of a list keeps those of the whole."""
        return self._ranks if len(self._ranks) == len(self) else range(1, len(self) + 1)

    @overload
    def __getitem__(self, at: SupportsIndex) -> Neighbour: ...
    @overload
    def __getitem__(self, at: slice) -> Neighbours: ...
    def __getitem__(self, at: SupportsIndex | slice) -> Neighbour | Neighbours:
        if isinstance(at, slice):
            return Neighbours(super().__getitem__(at), self.item_id, self._gallery, self.ranks[at])
        return super().__getitem__(at)

    def to_arrow(self) -> pa.Table:
        """Return rank, similar_item_id and score as an Arrow table, with the item_id that was asked for, if one was."""
        ids, scores = zip(*self, strict=True) if self else ((), ())
        table = _COLUMNS.empty_table() if not self else pa.table([self.ranks, ids, scores], _COLUMNS)
        if self.item_id is None:
            return table
        return table.add_column(0, "item_id", pa.array([self.item_id] * len(table), pa.string()))

    def _repr_html_(self) -> str:
        return notebook.of_lists([self], self._gallery)


class NeighbourLists(Sequence[Neighbours], Tabular):
    """The neighbours of many items, vectors or pictures, in the order in which they were asked for.

    It is a sequence of `Neighbours`, made when they are looked at, over one Arrow table.

        lists = release.similar_many(["item-1", "item-2"])
        lists[1] == release.similar("item-2")
        lists.to_pandas()  # item_id, rank, similar_item_id, score, as in the table
    """

    def __init__(self, table: pa.Table, ends: NDArray[np.int64], item_ids: pa.Array | None, gallery: Gallery) -> None:
        self._table = table
        self._ends = ends  # of each list, the row after its last
        self._item_ids = item_ids
        self._gallery = gallery

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, at: int) -> Neighbours: ...
    @overload
    def __getitem__(self, at: slice) -> NeighbourLists: ...
    def __getitem__(self, at: int | slice) -> Neighbours | NeighbourLists:
        if isinstance(at, slice):
            return self._take(np.arange(len(self))[at])
        place = range(len(self))[at]
        start = int(self._ends[place - 1]) if place else 0
        rows = self._table.slice(start, int(self._ends[place]) - start)
        pairs = zip(rows["similar_item_id"].to_pylist(), rows["score"].to_pylist(), strict=True)
        item_id = None if self._item_ids is None else self._item_ids[place].as_py()
        return Neighbours((Neighbour(*pair) for pair in pairs), item_id, self._gallery)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment] # as a list

    def __repr__(self) -> str:
        return f"<lookalike.NeighbourLists: {len(self):,} lists of {len(self._table):,} neighbours>"

    def to_arrow(self) -> pa.Table:
        """Return one Arrow table of all lists.

        Its columns are item_id, rank, similar_item_id and score, as those of the table similar_items; of vectors and
        pictures the first is `query`, their places from 0 on.
        """
        return self._table

    def _take(self, places: NDArray[np.int64]) -> NeighbourLists:
        starts = np.concatenate([[0], self._ends[:-1]])[places]
        rows, ends = joined_ranges(starts, self._ends[places] - starts)
        table = self._table.take(pa.array(rows))
        if "query" in table.column_names:
            again = np.repeat(np.arange(len(places), dtype=np.int32), np.diff(ends, prepend=0))
            table = table.set_column(0, "query", pa.array(again))
        ids = None if self._item_ids is None else self._item_ids.take(pa.array(places))
        return NeighbourLists(table, ends, ids, self._gallery)

    def _repr_html_(self) -> str:
        return notebook.of_lists(self, self._gallery)


class Rows(Sequence[dict[str, Any]], Tabular):
    """A sequence of rows, each a dictionary, over one Arrow table."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __len__(self) -> int:
        return len(self._table)

    @overload
    def __getitem__(self, at: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, at: slice) -> Self: ...
    def __getitem__(self, at: int | slice) -> dict[str, Any] | Self:
        if isinstance(at, slice):
            some = copy.copy(self)
            some._table = self._table.take(pa.array(np.arange(len(self))[at]))
            return some
        row: dict[str, Any] = in_python(self._table.slice(range(len(self))[at], 1))[0]
        return row

    def __repr__(self) -> str:
        return f"<lookalike.{type(self).__name__}: {len(self):,} of {', '.join(self._table.column_names)}>"

    def to_arrow(self) -> pa.Table:
        """Return the rows as an Arrow table."""
        return self._table


class Changes(Rows):
    """What differs from the release `since`: a sequence of rows, each a dictionary, over one Arrow table.

    `kind` is `item` or `list`, `change` is `upsert` or `delete`, then comes the `item_id`. `since` is None where the
    table has all of its release.

        changes = release.changes()
        changes.since, len(changes)
        changes.to_pandas().value_counts(["kind", "change"])
    """

    def __init__(self, table: pa.Table, since: str | None) -> None:
        super().__init__(table)
        self.since = since


class Items(Rows):
    """Items of a release with their columns: a sequence of rows, each a dictionary, over one Arrow table.

    In a notebook it shows their pictures.

        release.items(["item-1"])[0]["image_path"]
        release.items().to_pandas()
    """

    def __init__(self, table: pa.Table, gallery: Gallery) -> None:
        super().__init__(table)
        self._gallery = gallery

    def _repr_html_(self) -> str:
        return notebook.of_items(self._table["item_id"], self._gallery)


def joined_ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of ranges one after the other, and where each range ends among them."""
    ends = np.cumsum(lengths)
    rows = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)
    return rows, ends
