"""Unit vectors, exact top-k of cosine similarity, and the merge of partial top-k. numpy only.

The order is total: score descending, then item id ascending. Candidates are found with float32 matrix products,
whose last bits depend on the shape of the block; they are then scored again one pair at a time, so that the
published score of a pair, and with it the order, does not depend on how the work was cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Ids = NDArray[np.bytes_]

# Float32 dot products of unit vectors differed between block shapes, and from the second scoring, by 9.5e-7
# at most (8 to 2048 dimensions); whatever comes within ten times that of the k-th candidate is scored again.
SCORE_NOISE = 1e-5

# Query rows a matrix product: scores of 512 x 16,384 candidates take 32 MiB.
QUERY_ROWS = 512


# Candidates kept beyond k by the matrix product, so that noise at the edge seldom costs a second look.
SPARE = 8

# Candidate rows gathered at a time for the second scoring, which adds a tenth to the matrix products' time.
PAIR_BYTES = 4 << 20


@dataclass(frozen=True)
class TopK:
    """The best candidates of each query, best first: ids bytes [n, k], scores float32 [n, k], -inf where none."""

    ids: Ids
    scores: NDArray[np.float32]


def no_candidates(rows: int, k: int, ids: Ids) -> TopK:
    """A top-k to merge into: nothing found yet, ids as wide as those of `ids`."""
    return TopK(np.zeros((rows, k), dtype=ids.dtype), np.full((rows, k), -np.inf, dtype=np.float32))


def exact_top_k(queries: Vectors, candidates: Vectors, ids: Ids, k: int, own: NDArray[np.int64]) -> TopK:
    """The k best of `candidates` [m, d] for each of `queries` [n, d], by cosine, as TopK [n, k].

    Rows have unit length or are zero. `ids` are the candidates' [m], ascending. `own` [n] is the candidate row
    that is the query itself and is left out, -1 where there is none.
    """
    parts = [no_candidates(0, k, ids)]
    for start in range(0, len(queries), QUERY_ROWS):
        rows = slice(start, start + QUERY_ROWS)
        parts.append(_block_top_k(queries[rows], candidates, ids, k, own[rows]))
    return TopK(np.concatenate([p.ids for p in parts]), np.concatenate([p.scores for p in parts]))


def merge_top_k(left: TopK, right: TopK) -> TopK:
    """The best of two top-k tables over the same queries and disjoint candidates; as wide as `left`."""
    ids = np.concatenate([left.ids, right.ids], axis=1)
    scores = np.concatenate([left.scores, right.scores], axis=1)
    order = np.lexsort((ids, -scores), axis=1)[:, : left.scores.shape[1]]
    return TopK(np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1))


def top_k_overlap(left: Vectors, right: Vectors, k: int) -> float:
    """Mean share of each row's exact k nearest other rows by `left` that are also its k nearest by `right`."""
    ids = np.char.mod("%08d", np.arange(len(left))).astype(np.bytes_)
    own = np.arange(len(left))
    a, b = (exact_top_k(vectors, vectors, ids, k, own).ids for vectors in (left, right))
    return float((a[:, :, None] == b[:, None, :]).any(axis=2).mean())


@dataclass(frozen=True)
class _Block:
    """Queries [n, d] against candidates [m, d] with their ids [m], and the matrix product `rough` [n, m]."""

    queries: Vectors
    candidates: Vectors
    ids: Ids
    rough: Vectors


def _block_top_k(queries: Vectors, candidates: Vectors, ids: Ids, k: int, own: NDArray[np.int64]) -> TopK:
    block = _Block(queries, candidates, ids, queries @ candidates.T)
    mine = np.flatnonzero(own >= 0)
    block.rough[mine, own[mine]] = -np.inf
    wide = min(len(candidates), k + SPARE)
    if wide < len(candidates):
        columns = np.argpartition(block.rough, len(candidates) - wide, axis=1)[:, -wide:]
        columns.sort(axis=1)  # ascending ids: a stable sort by score then breaks ties by id
    else:
        columns = np.broadcast_to(np.arange(wide), block.rough.shape)
    coarse = np.take_along_axis(block.rough, columns, axis=1)
    scores = np.where(np.isneginf(coarse), -np.inf, pair_scores(queries, candidates, columns))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    found = no_candidates(len(queries), k, ids)
    found.scores[:, : order.shape[1]] = np.take_along_axis(scores, order, axis=1)
    found.ids[:, : order.shape[1]] = ids[np.take_along_axis(columns, order, axis=1)]
    if wide < len(candidates):
        unsettled = np.flatnonzero(coarse.min(axis=1) > found.scores[:, -1] - SCORE_NOISE)
        _settle(block, unsettled, found)
    return found


def _settle(block: _Block, rows: NDArray[np.int64], found: TopK) -> None:
    """Rank the queries `rows` anew, among all candidates that noise or a tie may have kept out of `found`.

    Hundreds of items that share one placeholder picture tie exactly: equal vectors are scored once.
    """
    if not len(rows):
        return
    width = block.candidates.itemsize * block.candidates.shape[1]
    same_bytes = np.ascontiguousarray(block.candidates).view(f"V{width}")[:, 0]
    _, first, group = np.unique(same_bytes, return_index=True, return_inverse=True)
    k = found.scores.shape[1]
    for row in rows:
        near = np.flatnonzero(block.rough[row] >= found.scores[row, -1] - SCORE_NOISE)
        groups, member = np.unique(group[near], return_inverse=True)
        scores = pair_scores(block.queries[row : row + 1], block.candidates, first[groups][None])[0][member]
        order = np.argsort(-scores, kind="stable")[:k]  # `near` ascends, so ties are in id order
        found.scores[row], found.ids[row] = scores[order], block.ids[near[order]]


def pair_scores(queries: Vectors, candidates: Vectors, columns: NDArray[np.int64]) -> NDArray[np.float32]:
    """Cosine of each query [n, d] with its own candidates `columns` [n, m], float32 [n, m].

    Each pair is one dot product over contiguous rows, so its bits do not depend on n, m or the neighbours.
    """
    scores = np.empty(columns.shape, dtype=np.float32)
    step = max(1, PAIR_BYTES // max(1, columns.shape[1] * candidates.shape[1] * 4))
    for start in range(0, len(queries), step):
        rows = slice(start, start + step)
        scores[rows] = np.einsum("nd,nmd->nm", queries[rows], candidates[columns[rows]])
    return scores
