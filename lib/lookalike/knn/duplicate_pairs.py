"""Pairs of items that show the same picture, as far as the cosine tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lookalike.index.layout import IndexLayout
from lookalike.knn.blocks import QueryBlock
from lookalike.knn.candidates import ShardItems, open_shard
from lookalike.topk.exact import QUERY_ROWS, SCORE_NOISE, score_pairs
from lookalike.topk.items import Ids, as_text, is_in


@dataclass(frozen=True)
class PairSearch:
    """Which pairs to find: cosine `min_cosine` or more, within a value of the last fallback level.

    `compared` are the items to compare with all others, None for all items.
    """

    layout: IndexLayout
    names: Mapping[int, str]  # of the shards, by their numbers
    min_cosine: float
    chunk_rows: int
    compared: Ids | None


@dataclass(frozen=True)
class _ShardRows:
    """Some items of a shard."""

    shard: ShardItems
    rows: NDArray[np.int64]

    @property
    def ids(self) -> Ids:
        """Their ids."""
        return self.shard.items.ids[self.rows]

    @property
    def last_codes(self) -> NDArray[np.int64]:
        """Their values at the last fallback level."""
        codes: NDArray[np.int64] = self.shard.group_codes[self.rows, -1]
        return codes


def find_pairs(block: QueryBlock, search: PairSearch) -> Iterator[pa.RecordBatch]:
    """Yield pairs (a, b) of ids that connect the items of the block with all candidates that show the same picture."""
    mine = open_shard(search.layout, search.names[block.queries])
    rows = np.arange(block.start, block.stop)
    if search.compared is not None:
        rows = rows[is_in(mine.items.ids[rows], search.compared)]
    for number in block.candidates if len(rows) else ():
        # Where all are compared with all, each pair is found from one side only.
        if search.compared is None and number < block.queries:
            continue
        theirs = open_shard(search.layout, search.names[number])
        for start in range(0, len(rows), QUERY_ROWS):
            for first in range(0, len(theirs.items), search.chunk_rows):
                columns = np.arange(first, min(first + search.chunk_rows, len(theirs.items)))
                queries = _ShardRows(mine, rows[start : start + QUERY_ROWS])
                a, b = _pairs_of(queries, _ShardRows(theirs, columns), search.min_cosine)
                yield pa.record_batch({"a": as_text(a), "b": as_text(b)})


def _pairs_of(queries: _ShardRows, candidates: _ShardRows, min_cosine: float) -> tuple[Ids, Ids]:
    low, high = int(candidates.rows[0]), int(candidates.rows[-1]) + 1
    mine, theirs = queries.shard.items.vectors[queries.rows], candidates.shard.items.vectors[low:high]
    rough = mine @ theirs.T
    near = rough >= min_cosine - SCORE_NOISE
    near &= queries.last_codes[:, None] == candidates.last_codes
    near &= queries.ids[:, None] != candidates.ids
    row, column = np.nonzero(near)
    unsure = np.flatnonzero(rough[row, column] < min_cosine + SCORE_NOISE)
    sure = np.ones(len(row), dtype=bool)
    sure[unsure] = score_pairs(mine, row[unsure], theirs, column[unsure]) >= np.float32(min_cosine)
    ids = np.concatenate([queries.ids, candidates.ids])
    a, b = spanning_forest(row[sure], len(queries.rows) + column[sure], len(ids))
    return ids[a], ids[b]


def spanning_forest(
    a: NDArray[np.int64], b: NDArray[np.int64], nodes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs of the numbers below `nodes` that connect what the pairs (a, b) connect; fewer than `nodes`.

    Ten thousand items of one placeholder picture make fifty million pairs.
    """
    least, before = np.arange(nodes), None
    while before is None or not np.array_equal(least, before):
        before = least.copy()
        both = np.minimum(least[a], least[b])
        np.minimum.at(least, a, both)
        np.minimum.at(least, b, both)
        least = least[least]
    tied = np.flatnonzero(least != np.arange(nodes))
    return tied, least[tied]
