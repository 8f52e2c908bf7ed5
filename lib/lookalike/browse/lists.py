"""The lists of a release's items, held in memory as rows and scores; what is worst among them, by matrices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lookalike.browse.items import Items, Rows
from lookalike.knn.duplicate_pairs import connect
from lookalike.serving.tables import Table

# Cosines of one picture with itself, as float32 has them, are not below 1 by more; see topk/exact.py.
_SAME_PICTURE = 5e-6

_COLUMNS = ("item_id", "rank", "similar_item_id", "score")


@dataclass(frozen=True)
class Lists:
    """The list of each item, in the order of the ids: neighbours `others[starts[row]:starts[row + 1]]`."""

    starts: Rows
    others: NDArray[np.int32]
    scores: NDArray[np.float32]

    @classmethod
    def read(cls, table: Table, items: Items) -> Lists:
        """Read the lists of `similar_items`, a part at a time; raise WarehouseError."""
        parts = [part for part in _parts(table, items) if len(part[0])]
        if not parts:
            return cls(np.zeros(len(items) + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))
        of, ranks, others, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
        known = (of >= 0) & (others >= 0)
        order = np.lexsort((ranks, of))
        order = order[known[order]]
        counts = np.bincount(of[order], minlength=len(items))
        return cls(np.concatenate([[0], np.cumsum(counts)]), others[order], scores[order])

    def of(self, row: int, most: int | None = None) -> list[tuple[int, float]]:
        """Return the neighbours of an item with their scores, best first."""
        start, end = int(self.starts[row]), int(self.starts[row + 1])
        end = end if most is None else min(end, start + most)
        return list(zip(self.others[start:end].tolist(), self.scores[start:end].tolist(), strict=True))

    @property
    def lengths(self) -> Rows:
        """How many neighbours each item has."""
        return np.diff(self.starts)

    def lowest(self) -> tuple[Rows, NDArray[np.float32]]:
        """Return the items that have a neighbour, and the best score of each: the lowest first."""
        rows = np.flatnonzero(self.lengths)
        best = self.scores[self.starts[rows]]
        order = np.argsort(best, kind="stable")
        return rows[order], best[order]

    def shorter(self, k: int) -> tuple[Rows, Rows]:
        """Return the items with fewer than k neighbours, and how many each has: the fewest first."""
        rows = np.flatnonzero(self.lengths < k)
        order = np.argsort(self.lengths[rows], kind="stable")
        return rows[order], self.lengths[rows[order]]

    def hubs(self) -> tuple[Rows, Rows]:
        """Return the items that are in more lists than most, and in how many: the most first.

        Lists of items that show the same picture do not count, as in the gate.
        """
        other = self.scores < 1 - _SAME_PICTURE
        counts = np.bincount(self.others[other], minlength=len(self.starts) - 1)
        typical = counts.mean() if len(counts) else 0
        rows = np.flatnonzero(counts > 2 * typical)
        order = np.argsort(-counts[rows], kind="stable")
        return rows[order], counts[rows[order]]

    def clusters(self, least: float) -> list[Rows]:
        """Return the items tied by neighbours of this cosine or more, directly or through others."""
        close = self.scores >= np.float32(least)
        of = np.repeat(np.arange(len(self.starts) - 1), self.lengths)[close]
        first = connect(len(self.starts) - 1, of, self.others[close].astype(np.int64))
        tied = np.flatnonzero(np.bincount(first, minlength=len(first))[first] > 1)
        order = tied[np.argsort(first[tied], kind="stable")]
        return np.split(order, np.flatnonzero(np.diff(first[order])) + 1) if len(order) else []

    def of_another(self, codes: NDArray[np.int32], most: int) -> tuple[Rows, Rows]:
        """Return the items whose first neighbours have another code, and how many of the first `most` do."""
        of = np.repeat(np.arange(len(self.starts) - 1), self.lengths)
        first = np.arange(len(of)) - self.starts[of] < most
        differ = first & (codes[of] != codes[self.others]) & (codes[of] >= 0) & (codes[self.others] >= 0)
        counts = np.bincount(of[differ], minlength=len(self.starts) - 1)
        rows = np.flatnonzero(counts)
        order = np.argsort(-counts[rows], kind="stable")
        return rows[order], counts[rows[order]]


def _parts(table: Table, items: Items) -> Iterator[tuple[NDArray[Any], ...]]:
    """Yield the rows of the table as numbers, a part at a time."""
    for part in table.batches(_COLUMNS):
        yield (
            items.rows(part["item_id"]),
            part["rank"].to_numpy(),
            items.rows(part["similar_item_id"]).astype(np.int32),
            part["score"].cast(pa.float32()).to_numpy(),
        )
