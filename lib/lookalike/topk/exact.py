"""The exact k best candidates by cosine similarity.

Candidates are found with float32 matrix products; their last bits depend on the shape of the block. The best ones are
then scored again, one pair at a time, so that the published score of a pair, and the order, do not depend on how the
work was cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookalike.topk.items import ItemVectors, Vectors, items_without_groups
from lookalike.topk.table import TopK, empty_top_k, stack_top_k

# Float32 matrix products of the embeddings of pictures differ from exact ones by up to 2.1e-6 (2,048 dimensions).
# Candidates within five times that of the k-th one are scored again.
SCORE_NOISE = 1e-5

# Two scores nearer than this are a tie: float32 products of 2,048 values err by up to 2.7e-6, and differently on each
# CPU.
TIE = 5e-6

# Values that are summed in float32; the sums are added in float64. One sum of 2,048 products errs by up to 2.7e-6,
# sixteen by 1.3e-7, for a tenth more time.
SEGMENT = 128

# Query rows of one matrix product: scores of 512 x 16,384 candidates take 32 MiB.
QUERY_ROWS = 512

# Candidates kept beyond k by the matrix product, so that noise at the edge rarely costs a second pass.
EXTRA_CANDIDATES = 8

# Bytes of candidate rows gathered at a time for the second scoring: they stay in a core's cache of 2 MiB until they are
# used (115,000 pairs in 0.16 s, 0.19 s with 1 MiB).
PAIR_BYTES = 1 << 19


def exact_top_k(
    queries: ItemVectors,
    candidates: ItemVectors,
    k: int,
    allowed: NDArray[np.bool_] | None = None,
    at_least: NDArray[np.float32] | None = None,
) -> TopK:
    """Return the k best candidates of each query by cosine, only the best of each group, as TopK [n, k].

    Candidates of the query's own groups, itself included, are left out, and so are those that `allowed` bool [n, m]
    forbids, and those that certainly score less than `at_least` [n].
    """
    parts = [empty_top_k(0, k, candidates.ids)]
    for start in range(0, len(queries), QUERY_ROWS):
        rows = slice(start, start + QUERY_ROWS)
        some = queries.take(rows)
        block = _ScoreBlock(some, candidates, rough_scores(some, candidates))
        if allowed is not None:
            block.rough[~allowed[rows]] = -np.inf
        if at_least is not None:
            block.rough[block.rough < at_least[rows, None] - SCORE_NOISE] = -np.inf
        parts.append(_top_k_of_block(block, k))
    return stack_top_k(parts)


def rough_scores(queries: ItemVectors, candidates: ItemVectors) -> Vectors:
    """Return the matrix product [n, m], -inf for candidates of the query's own variant or duplicate group."""
    rough: Vectors = queries.vectors @ candidates.vectors.T
    own = queries.variant_groups[:, None] == candidates.variant_groups
    if not (queries.same_groups and candidates.same_groups):
        own |= queries.duplicate_groups[:, None] == candidates.duplicate_groups
    rough[own] = -np.inf
    return rough


def rescore(queries: ItemVectors, candidates: ItemVectors, columns: NDArray[np.int64], rough: Vectors, k: int) -> TopK:
    """Return the k best of each query's own candidates `columns` [n, w], scored one pair at a time.

    A candidate of a `rough` score of -inf is left out.
    """
    scores, there = np.full(rough.shape, -np.inf, dtype=np.float32), np.nonzero(np.isfinite(rough))
    scores[there] = score_pairs(queries.vectors, there[0], candidates.vectors, columns[there])
    found = _table_of(candidates, columns, scores).in_order()
    return found.first_of_each_group(k) if candidates.by_variant_group else found.cut(k).padded(k)


def _table_of(candidates: ItemVectors, columns: NDArray[np.int64], scores: NDArray[np.float32]) -> TopK:
    """The candidates `columns` [n, w] of each query with their scores [n, w], in the order given."""
    groups = (codes[columns] for codes in (candidates.variant_groups, candidates.duplicate_groups))
    return TopK(candidates.ids[columns], scores, *groups)


def candidates_to_keep(k: int, *, distinct: bool) -> int:
    """How many candidates the matrix product keeps for each query; more where several may share a group (`distinct`).

    Several colours of one product crowd the front. The number decides how often candidates are ranked again, not what
    is right.
    """
    return (3 * k if distinct else k) + EXTRA_CANDIDATES


def largest_columns(rough: Vectors, count: int) -> NDArray[np.int64]:
    """The columns of the `count` largest of each row, in any order."""
    if count >= rough.shape[1]:
        return np.broadcast_to(np.arange(rough.shape[1]), rough.shape)
    return np.argpartition(rough, rough.shape[1] - count, axis=1)[:, -count:]


def score_query(query: Vectors, candidates: Vectors, columns: NDArray[np.int64]) -> NDArray[np.float32]:
    """Cosine of one query [d] with some candidates, float32 [m], see `score_pairs`."""
    return score_pairs(query[None], np.zeros_like(columns), candidates, columns)


def score_pairs(
    queries: Vectors, rows: NDArray[np.int64], candidates: Vectors, columns: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Cosine of queries[rows[i]] with candidates[columns[i]], float32 [p]: -1 to 1, and 1 for equal unit vectors.

    Each pair is a few dot products over contiguous values, so its bits do not depend on the other pairs. Rounding
    alone would give a vector and its copy 0.9999971 to 1.0000014.
    """
    sums = np.empty((len(rows), _segments(candidates)), dtype=np.float32)
    step = max(1, PAIR_BYTES // (4 * candidates.shape[1]))
    for start in range(0, len(rows), step):
        few = slice(start, start + step)
        _sum_segments("psd,psd->ps", queries[rows[few]], candidates[columns[few]], sums[few])
    scores = _as_cosines(sums)
    near = np.flatnonzero(scores > 1 - SCORE_NOISE)
    scores[near[_are_equal(queries, rows[near], candidates, columns[near])]] = 1
    return scores


def _segments(vectors: Vectors) -> int:
    """How many sums each product of two vectors is added from; one where the dimensions are no multiple of SEGMENT."""
    dimensions = vectors.shape[1]
    return 1 if dimensions % SEGMENT else dimensions // SEGMENT


def _sum_segments(subscripts: str, left: Vectors, right: Vectors, sums: NDArray[np.float32]) -> None:
    """Write the sums of the products of each segment into `sums` [..., segments]."""
    shape = sums.shape[-1], right.shape[-1] // sums.shape[-1]
    parts = (vectors.reshape(*vectors.shape[:-1], *shape) for vectors in (left, right))
    np.einsum(subscripts, *parts, out=sums)


def _as_cosines(sums: NDArray[np.float32]) -> NDArray[np.float32]:
    scores: NDArray[np.float32] = np.clip(sums.sum(axis=-1, dtype=np.float64), -1, 1).astype(np.float32)
    return scores


def _are_equal(left: Vectors, rows: NDArray[np.int64], right: Vectors, columns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether left[rows[i]] and right[columns[i]] are equal."""
    equal = np.empty(len(rows), dtype=bool)
    step = max(1, PAIR_BYTES // (4 * right.shape[1]))
    for start in range(0, len(rows), step):
        few = slice(start, start + step)
        equal[few] = (left[rows[few]] == right[columns[few]]).all(axis=1)
    return equal


def top_k_overlap(left: Vectors, right: Vectors, k: int) -> float:
    """Mean share of each row's exact k nearest other rows by `left` that are also its k nearest by `right`."""
    ids = np.char.mod("%08d", np.arange(len(left))).astype(np.bytes_)
    a, b = (
        exact_top_k(rows, rows, k).ids for rows in (items_without_groups(left, ids), items_without_groups(right, ids))
    )
    return float((a[:, :, None] == b[:, None, :]).any(axis=2).mean())


@dataclass(frozen=True)
class _ScoreBlock:
    """Queries [n, d], candidates [m, d], and their matrix product `rough` [n, m]."""

    queries: ItemVectors
    candidates: ItemVectors
    rough: Vectors


def _top_k_of_block(block: _ScoreBlock, k: int) -> TopK:
    candidates, rough = block.candidates, block.rough
    count = min(len(candidates), candidates_to_keep(k, distinct=candidates.by_variant_group is not None))
    columns = largest_columns(rough, count)
    coarse = np.take_along_axis(rough, columns, axis=1)
    found = rescore(block.queries, candidates, columns, coarse, k)
    if count < len(candidates):
        bound = _score_of_kth_group(block, k) if candidates.by_variant_group else found.scores[:, -1]
        unsettled = np.flatnonzero((coarse.min(axis=1) > bound - SCORE_NOISE) & np.isfinite(coarse.min(axis=1)))
        _rank_again(block, unsettled, bound, found)
    return found


def _score_of_kth_group(block: _ScoreBlock, k: int) -> NDArray[np.float32]:
    """The rough score of each query's k-th best variant group [n], -inf where there are fewer groups."""
    assert block.candidates.by_variant_group
    order, first = block.candidates.by_variant_group
    if len(first) < k:
        return np.full(len(block.queries), -np.inf, dtype=np.float32)
    best = np.maximum.reduceat(block.rough[:, order], first, axis=1)
    kth: NDArray[np.float32] = np.partition(best, best.shape[1] - k, axis=1)[:, -k]
    return kth


def _rank_again(block: _ScoreBlock, rows: NDArray[np.int64], bound: NDArray[np.float32], found: TopK) -> None:
    """Write into `found` the ranking of the queries `rows` among all candidates that noise or a tie may have left out.

    Hundreds of items that share one placeholder picture tie exactly: equal vectors are scored once.
    """
    if not len(rows):
        return
    near = np.isfinite(block.rough[rows]) & (block.rough[rows] >= bound[rows, None] - SCORE_NOISE)
    first = _first_of_equals(block.candidates.vectors, np.flatnonzero(near.any(axis=0)))
    for row, its_near in zip(rows.tolist(), near, strict=True):
        columns = np.flatnonzero(its_near)
        different, member = np.unique(first[columns], return_inverse=True)
        scores = score_query(block.queries.vectors[row], block.candidates.vectors, different)[member]
        ranked = _table_of(block.candidates, columns[None], scores[None]).in_order()
        found.assign(np.array([row]), ranked.first_of_each_group(found.scores.shape[1]))


def _first_of_equals(vectors: Vectors, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row of `rows`, a row of equal vector, and mostly one for all that are equal; [n], 0 for other rows.

    By a hash of the vectors, which is compared: sorting them would copy them all.
    """
    _, first, group = np.unique(_hashes(vectors, rows), return_index=True, return_inverse=True)
    likely = rows[first][group]
    found = np.zeros(len(vectors), dtype=np.int64)
    found[rows] = np.where(_are_equal(vectors, rows, vectors, likely), likely, rows)
    return found


def _hashes(vectors: Vectors, rows: NDArray[np.int64]) -> NDArray[np.uint32]:
    """A number for each of these vectors, the same for equal bytes."""
    odd = np.random.default_rng(0).integers(0, 1 << 31, vectors.shape[1], dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    found = np.empty(len(rows), dtype=np.uint32)
    step = max(1, PAIR_BYTES // (4 * vectors.shape[1]))
    for start in range(0, len(rows), step):
        few = vectors[rows[start : start + step]].view(np.uint32)
        found[start : start + step] = (few * odd).sum(axis=1, dtype=np.uint32)
    return found
