"""The neighbour lists of some items, while a task works on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lookalike.topk.items import Codes, ItemVectors, as_text, concatenate_items
from lookalike.topk.table import TopK, scatter_top_k


@dataclass(frozen=True)
class NeighbourLists:
    """Items with the neighbours found so far, and their group codes [n, levels]."""

    queries: ItemVectors
    group_codes: Codes
    top: TopK
    complete: NDArray[np.bool_]  # every candidate of the group is in the list
    from_fallback: NDArray[np.bool_]  # some neighbours may be from a fallback level
    searched: NDArray[np.bool_]  # among all candidates, not updated in place

    def take(self, rows: NDArray[np.bool_]) -> NeighbourLists:
        """Return the lists of some items."""
        return NeighbourLists(
            self.queries.take(np.flatnonzero(rows)),
            self.group_codes[rows],
            self.top.take(rows),
            self.complete[rows],
            self.from_fallback[rows],
            self.searched[rows],
        )

    def as_batch(self) -> pa.RecordBatch:
        """Return the rows of schemas.NEIGHBOURS."""
        found = np.isfinite(self.top.scores)
        ends = np.concatenate([[0], np.cumsum(found.sum(axis=1))]).astype(np.int32)
        return pa.record_batch(
            {
                "item_id": as_text(self.queries.ids),
                "neighbour_ids": pa.ListArray.from_arrays(ends, as_text(self.top.ids[found])),
                "scores": pa.ListArray.from_arrays(ends, pa.array(self.top.scores[found])),
                "complete": pa.array(self.complete),
                "from_fallback": pa.array(self.from_fallback),
                "searched": pa.array(self.searched),
            }
        )


def concatenate_lists(parts: Sequence[NeighbourLists]) -> NeighbourLists:
    """Return the lists of all parts, one part after the other; there is at least one, and all are of one width."""
    ends = np.cumsum([len(part.queries) for part in parts])
    places = [(np.arange(end - len(part.queries), end), part.top) for end, part in zip(ends, parts, strict=True)]
    assert len({part.top.scores.shape[1] for part in parts}) == 1
    flags = (np.concatenate([getattr(part, name) for part in parts]) for name in _FLAGS)
    return NeighbourLists(
        concatenate_items([part.queries for part in parts]),
        np.concatenate([part.group_codes for part in parts]),
        scatter_top_k(int(ends[-1]), places),
        *flags,
    )


_FLAGS = ("complete", "from_fallback", "searched")
