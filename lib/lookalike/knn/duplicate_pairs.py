"""Pairs of items whose pictures are the same, as far as the cosine tells. No Spark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lookalike.index.layout import IndexLayout
from lookalike.knn.blocks import QueryBlock
from lookalike.knn.candidates import ShardItems, open_shard
from lookalike.topk import exact
from lookalike.topk.items import Ids, as_text, is_in

# Between a float32 cosine and the true one: ten times what 2,048 products were seen to add up to.
ROUNDING = 1e-6


@dataclass(frozen=True)
class PairSearch:
    """What is close: cosine `at_least`, in the widest group; and which items are compared with all, None for all."""

    folders: IndexLayout
    names: Mapping[int, str]
    at_least: float
    chunk_rows: int
    looked_at: Ids | None


def pairs(block: QueryBlock, look: PairSearch) -> Iterator[pa.RecordBatch]:
    """Pairs (a, b) of ids that join up all that is close between the block's items and the candidates of its pool."""
    mine = open_shard(look.folders, look.names[block.queries])
    rows = np.arange(block.start, block.stop)
    if look.looked_at is not None:
        rows = rows[is_in(mine.rows.ids[rows], look.looked_at)]
    for number in block.candidates if len(rows) else ():
        # All against all, each pair is met from one side only.
        if look.looked_at is None and number < block.queries:
            continue
        theirs = open_shard(look.folders, look.names[number])
        for start in range(0, len(rows), exact.QUERY_ROWS):
            for first in range(0, len(theirs.rows), look.chunk_rows):
                columns = np.arange(first, min(first + look.chunk_rows, len(theirs.rows)))
                a, b = _close(mine, rows[start : start + exact.QUERY_ROWS], theirs, columns, look.at_least)
                yield pa.record_batch({"a": as_text(a), "b": as_text(b)})


def _close(
    mine: ShardItems, rows: NDArray[np.int64], theirs: ShardItems, columns: NDArray[np.int64], at_least: float
) -> tuple[Ids, Ids]:
    low, high = int(columns[0]), int(columns[-1]) + 1
    queries, candidates = mine.rows.vectors[rows], theirs.rows.vectors[low:high]
    rough = queries @ candidates.T
    near = rough >= at_least - exact.SCORE_NOISE
    near &= mine.levels[rows, -1][:, None] == theirs.levels[low:high, -1]
    near &= mine.rows.ids[rows][:, None] != theirs.rows.ids[low:high]
    row, column = np.nonzero(near)
    unsure = np.flatnonzero(rough[row, column] < at_least + exact.SCORE_NOISE)
    sure = np.ones(len(row), dtype=bool)
    scores = exact.score_pairs(queries, row[unsure], candidates, column[unsure])
    # A unit vector's product with itself may be 0.9999999.
    sure[unsure] = scores >= at_least - ROUNDING
    ids = np.concatenate([mine.rows.ids[rows], theirs.rows.ids[low:high]])
    a, b = forest(row[sure], len(rows) + column[sure], len(ids))
    return ids[a], ids[b]


def forest(a: NDArray[np.int64], b: NDArray[np.int64], nodes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of `nodes` numbers that join up what the pairs (a, b) do, fewer than there are nodes.

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
