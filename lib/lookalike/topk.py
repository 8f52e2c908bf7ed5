"""Unit vectors, exact top-k of cosine similarity, and the merge of partial top-k. No Spark.

The order is total: score descending, then item id ascending. Candidates are found with float32 matrix products,
whose last bits depend on the shape of the block; they are then scored again one pair at a time, so that the
published score of a pair, and with it the order, does not depend on how the work was cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Ids = NDArray[np.bytes_]
Codes = NDArray[np.int64]

# Float32 dot products of unit vectors differed between block shapes, and from the second scoring, by 9.5e-7
# at most (8 to 2048 dimensions); whatever comes within ten times that of the k-th candidate is scored again.
SCORE_NOISE = 1e-5

# Query rows a matrix product: scores of 512 x 16,384 candidates take 32 MiB.
QUERY_ROWS = 512

# Candidates kept beyond k by the matrix product, so that noise at the edge seldom costs a second look.
SPARE = 8

# Candidate rows gathered at a time for the second scoring: they stay in a core's cache of 2 MiB until they are used
# (115,000 pairs in 0.16 s, 0.19 s with 1 MiB).
PAIR_BYTES = 1 << 19


@dataclass(frozen=True)
class Rows:
    """Items as arrays: unit or zero vectors [n, d], ids [n] ascending, and two codes [n] that a list holds once each.

    Rows that share a slot (variants of one product) or a twin (duplicates of one picture) never are in one list, nor
    in each other's. A row's own codes are never another item's, where it has neither variant nor duplicate.
    """

    vectors: Vectors
    ids: Ids
    slots: Codes
    twins: Codes

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: slice | NDArray[np.int64]) -> Rows:
        """Some of them, in the order given."""
        slots = self.slots[rows]
        return Rows(self.vectors[rows], self.ids[rows], slots, slots if self.alike else self.twins[rows])

    @property
    def alike(self) -> bool:
        """Whether slots and twins are the same codes, and need looking at once only."""
        return self.twins is self.slots

    def chunks(self, rows: int) -> Iterator[Rows]:
        """All of them, `rows` at a time."""
        for start in range(0, len(self), rows):
            yield self.take(slice(start, start + rows))

    @cached_property
    def by_slot(self) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """The rows in order of their slots, and where each slot starts; None when no two share one."""
        order = np.argsort(self.slots, kind="stable")
        first = np.flatnonzero(np.diff(self.slots[order], prepend=self.slots[order[:1]] - 1))
        return None if len(first) == len(self) else (order, first)


@dataclass(frozen=True)
class TopK:
    """The best candidates of each query, best first, all [n, k]: ids, scores (float32, -inf where none) and codes."""

    ids: Ids
    scores: NDArray[np.float32]
    slots: Codes
    twins: Codes

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many were found for each query [n]."""
        counts: NDArray[np.int64] = np.isfinite(self.scores).sum(axis=1)
        return counts

    def take(self, rows: slice | NDArray[np.int64] | NDArray[np.bool_]) -> TopK:
        """Those of some queries."""
        return TopK(self.ids[rows], self.scores[rows], self.slots[rows], self.twins[rows])

    def without(self, which: NDArray[np.bool_]) -> TopK:
        """All but the neighbours `which` [n, k]."""
        scores = np.where(which, np.float32(-np.inf), self.scores)
        return TopK(self.ids, scores, self.slots, self.twins).in_order()

    def behind(self, other: TopK) -> NDArray[np.bool_]:
        """Which neighbours [n, k] rank behind the last of the same query's in `other`; all where that has none."""
        last = np.maximum(other.counts - 1, 0)[:, None]
        score, item = np.take_along_axis(other.scores, last, axis=1), np.take_along_axis(other.ids, last, axis=1)
        behind: NDArray[np.bool_] = (self.scores < score) | ((self.scores == score) & (self.ids > item))
        behind |= (other.counts == 0)[:, None]
        return behind

    def put(self, rows: NDArray[np.int64], other: TopK) -> None:
        """Replace those of some queries."""
        for mine, theirs in zip(_arrays(self), _arrays(other), strict=True):
            mine[rows] = theirs

    def cut(self, k: int) -> TopK:
        """The k best of each."""
        return TopK(*(array[:, :k] for array in _arrays(self)))

    def first(self, k: int) -> TopK:
        """The k best of each, of each slot and of each twin only the best, whatever the order was."""
        return _once_each(self.in_order(), k)

    def in_order(self) -> TopK:
        """By score, then id, whatever the order was."""
        return _take(self, np.lexsort((self.ids, -self.scores), axis=1))


def concatenated(parts: Sequence[Rows]) -> Rows:
    """One behind the other."""
    columns = zip(*((part.vectors, part.ids, part.slots) for part in parts), strict=True)
    together, ids, slots = map(np.concatenate, columns)
    twins = slots if all(part.alike for part in parts) else np.concatenate([part.twins for part in parts])
    return Rows(together, ids, slots, twins)


def as_ids(column: pa.Array | pa.ChunkedArray) -> Ids:
    """A column of text as bytes of fixed width, which compare as UTF-8 does."""
    return np.array(column.cast(pa.binary()).to_pylist(), dtype=np.bytes_)


def as_text(ids: Ids) -> pa.Array:
    """Ids as a column of text."""
    return pa.array(ids, pa.binary()).cast(pa.string())


def among(ids: Ids, chosen: Ids) -> NDArray[np.bool_]:
    """Whether each of `ids` is one of `chosen`, which ascend."""
    if not len(chosen):
        return np.zeros(ids.shape, dtype=bool)
    at = np.minimum(np.searchsorted(chosen, ids), len(chosen) - 1)
    found: NDArray[np.bool_] = chosen[at] == ids
    return found


def placed(count: int, parts: Sequence[tuple[NDArray[np.int64], TopK]]) -> TopK:
    """One top-k table of `count` queries from those of some of them, which say where they belong; -inf elsewhere."""
    widest = np.result_type(*(top.ids.dtype for _, top in parts))
    whole = no_candidates(count, max(top.scores.shape[1] for _, top in parts), np.empty(0, widest))
    for rows, top in parts:
        for mine, theirs in zip(_arrays(whole), _arrays(top), strict=True):
            mine[rows, : theirs.shape[1]] = theirs
    return whole


def rows_of(vectors: Vectors, ids: Ids) -> Rows:
    """Items without variants and duplicates."""
    codes = np.arange(len(ids))
    return Rows(vectors, ids, codes, codes)


def no_candidates(rows: int, k: int, ids: Ids) -> TopK:
    """A top-k to merge into: nothing found yet, ids as wide as those of `ids`."""
    shape = (rows, k)
    nothing = np.zeros(shape, dtype=np.int64)
    return TopK(np.zeros(shape, ids.dtype), np.full(shape, -np.inf, np.float32), nothing, nothing.copy())


def exact_top_k(queries: Rows, candidates: Rows, k: int, allowed: NDArray[np.bool_] | None = None) -> TopK:
    """The k best candidates of each query by cosine, of each slot only the best, as TopK [n, k].

    Candidates of the query's own slot or twin, itself among them, are left out, and so is what `allowed` bool [n, m]
    forbids.
    """
    parts = [no_candidates(0, k, candidates.ids)]
    for start in range(0, len(queries), QUERY_ROWS):
        rows = slice(start, start + QUERY_ROWS)
        some = queries.take(rows)
        block = _Block(some, candidates, rough_scores(some, candidates))
        if allowed is not None:
            block.rough[~allowed[rows]] = -np.inf
        parts.append(_block_top_k(block, k))
    return TopK(*(np.concatenate(arrays) for arrays in zip(*map(_arrays, parts), strict=True)))


def rough_scores(queries: Rows, candidates: Rows) -> Vectors:
    """The matrix product [n, m], -inf for candidates of the query's own slot or twin."""
    rough: Vectors = queries.vectors @ candidates.vectors.T
    own = queries.slots[:, None] == candidates.slots
    if not (queries.alike and candidates.alike):
        own |= queries.twins[:, None] == candidates.twins
    rough[own] = -np.inf
    return rough


def merge_top_k(left: TopK, right: TopK, *, distinct: bool = True) -> TopK:
    """The best of two top-k tables over the same queries and other candidates; as wide as `left`.

    `distinct` says that both may hold candidates of one slot; only the better one stays.
    """
    both, k = _beside(left, right), left.scores.shape[1]
    return both.first(k) if distinct else both.in_order().cut(k)


def append_top_k(narrow: TopK, wide: TopK) -> TopK:
    """What `narrow` holds, in order, filled up from `wide`, which holds no slot or twin of it; as wide as `narrow`."""
    filled = _beside(narrow, wide)
    # Stable: those found in front, as they are.
    return _take(filled, np.argsort(~np.isfinite(filled.scores), axis=1, kind="stable")).cut(narrow.scores.shape[1])


def top_k_overlap(left: Vectors, right: Vectors, k: int) -> float:
    """Mean share of each row's exact k nearest other rows by `left` that are also its k nearest by `right`."""
    ids = np.char.mod("%08d", np.arange(len(left))).astype(np.bytes_)
    a, b = (exact_top_k(rows, rows, k).ids for rows in (rows_of(left, ids), rows_of(right, ids)))
    return float((a[:, :, None] == b[:, None, :]).any(axis=2).mean())


def best_of(queries: Rows, candidates: Rows, columns: NDArray[np.int64], rough: Vectors, k: int) -> TopK:
    """The k best of each query's own candidates `columns` [n, w], scored one pair at a time; `rough` -inf excludes.

    Columns of equal score must ascend.
    """
    scores = np.where(np.isneginf(rough), -np.inf, pair_scores(queries.vectors, candidates.vectors, columns))
    order = np.argsort(-scores, axis=1, kind="stable")
    columns = np.take_along_axis(columns, order, axis=1)
    found = TopK(
        candidates.ids[columns],
        np.take_along_axis(scores, order, axis=1),
        candidates.slots[columns],
        candidates.twins[columns],
    )
    return _once_each(found, k) if candidates.by_slot else _padded(found.cut(k), k)


@dataclass(frozen=True)
class _Block:
    """Queries [n, d] against candidates [m, d], and the matrix product `rough` [n, m]."""

    queries: Rows
    candidates: Rows
    rough: Vectors


def _block_top_k(block: _Block, k: int) -> TopK:
    candidates, rough = block.candidates, block.rough
    # Several colours of one product crowd the front; how many decides the settling below, not what is right.
    wide = min(len(candidates), (3 * k if candidates.by_slot else k) + SPARE)
    columns = best_columns(rough, wide)
    coarse = np.take_along_axis(rough, columns, axis=1)
    found = best_of(block.queries, candidates, columns, coarse, k)
    if wide < len(candidates):
        bound = _kth_slot(block, k) if candidates.by_slot else found.scores[:, -1]
        unsettled = np.flatnonzero((coarse.min(axis=1) > bound - SCORE_NOISE) & np.isfinite(coarse.min(axis=1)))
        _settle(block, unsettled, bound, found)
    return found


def best_columns(rough: Vectors, wide: int) -> NDArray[np.int64]:
    """The columns of the `wide` largest of each row, ascending, so that a stable sort by score breaks ties by id."""
    if wide >= rough.shape[1]:
        return np.broadcast_to(np.arange(rough.shape[1]), rough.shape)
    columns = np.argpartition(rough, rough.shape[1] - wide, axis=1)[:, -wide:]
    columns.sort(axis=1)
    return columns


def _kth_slot(block: _Block, k: int) -> NDArray[np.float32]:
    """The k-th best slot's rough score of each query [n], -inf where there are fewer slots."""
    assert block.candidates.by_slot
    order, first = block.candidates.by_slot
    if len(first) < k:
        return np.full(len(block.queries), -np.inf, dtype=np.float32)
    best = np.maximum.reduceat(block.rough[:, order], first, axis=1)
    kth: NDArray[np.float32] = np.partition(best, best.shape[1] - k, axis=1)[:, -k]
    return kth


def _settle(block: _Block, rows: NDArray[np.int64], bound: NDArray[np.float32], found: TopK) -> None:
    """Rank the queries `rows` anew, among all candidates that noise or a tie may have kept out of `found`.

    Hundreds of items that share one placeholder picture tie exactly: equal vectors are scored once.
    """
    if not len(rows):
        return
    candidates = block.candidates
    width = candidates.vectors.itemsize * candidates.vectors.shape[1]
    same_bytes = np.ascontiguousarray(candidates.vectors).view(f"V{width}")[:, 0]
    _, first, group = np.unique(same_bytes, return_index=True, return_inverse=True)
    k = found.scores.shape[1]
    for row in rows:
        rough = block.rough[row]
        near = np.flatnonzero((rough >= bound[row] - SCORE_NOISE) & np.isfinite(rough))
        groups, member = np.unique(group[near], return_inverse=True)
        query = block.queries.vectors[row : row + 1]
        scores = pair_scores(query, candidates.vectors, first[groups][None])[0][member]
        order = near[np.argsort(-scores, kind="stable")]  # `near` ascends, so ties are in id order
        ranked = TopK(
            candidates.ids[None, order],
            np.sort(scores)[None, ::-1],
            candidates.slots[None, order],
            candidates.twins[None, order],
        )
        found.put(np.array([row]), _once_each(ranked, k))


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


def paired_scores(
    queries: Vectors, rows: NDArray[np.int64], candidates: Vectors, columns: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Cosine of queries[rows[i]] with candidates[columns[i]], float32 [p], to the bit that of `pair_scores`."""
    scores = np.empty(len(rows), dtype=np.float32)
    step = max(1, PAIR_BYTES // (4 * candidates.shape[1]))
    for start in range(0, len(rows), step):
        few = slice(start, start + step)
        scores[few] = np.einsum("pd,pd->p", queries[rows[few]], candidates[columns[few]])
    return scores


def _arrays(top: TopK) -> tuple[np.ndarray, ...]:
    return top.ids, top.scores, top.slots, top.twins


def _take(top: TopK, order: NDArray[np.int64]) -> TopK:
    return TopK(*(np.take_along_axis(array, order, axis=1) for array in _arrays(top)))


def _beside(left: TopK, right: TopK) -> TopK:
    return TopK(*(np.concatenate(pair, axis=1) for pair in zip(_arrays(left), _arrays(right), strict=True)))


def _once_each(top: TopK, k: int) -> TopK:
    """The first k of each row, of each slot and of each twin only the first."""
    kept = np.isfinite(top.scores) & _first_of_each(top.slots) & _first_of_each(top.twins)
    top.scores[~kept] = -np.inf
    return _padded(_take(top, np.argsort(~kept, axis=1, kind="stable")).cut(k), k)


def _first_of_each(codes: Codes) -> NDArray[np.bool_]:
    """Whether a value stands in its row for the first time, from the left."""
    order = np.argsort(codes, axis=1, kind="stable")
    in_order = np.take_along_axis(codes, order, axis=1)
    first = np.ones(codes.shape, dtype=bool)
    first[:, 1:] = in_order[:, 1:] != in_order[:, :-1]
    back = np.empty_like(first)
    np.put_along_axis(back, order, first, axis=1)
    return back


def _padded(top: TopK, k: int) -> TopK:
    rows, wide = top.scores.shape
    return top if wide == k else _beside(top, no_candidates(rows, k - wide, top.ids))


def unit_length(features: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Rows scaled to unit length, and their lengths before; a row of zeros stays zeros."""
    norms = np.linalg.norm(features, axis=1).astype(np.float32)
    scale = np.divide(np.float32(1), norms, out=np.zeros_like(norms), where=norms > 0)
    return features * scale[:, None], norms
