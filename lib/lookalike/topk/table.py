"""Tables of the k best candidates of each query: take, merge, fill up, and put in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookalike.topk.items import Codes, Keys


@dataclass(frozen=True)
class TopK:
    """The best candidates of each query, best first, all [n, k].

    Ids, scores (float32, -inf where there is no candidate), and the codes of the candidates' groups.
    """

    ids: Keys
    scores: NDArray[np.float32]
    variant_groups: Codes
    duplicate_groups: Codes

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many candidates each query has [n]."""
        counts: NDArray[np.int64] = np.isfinite(self.scores).sum(axis=1)
        return counts

    def take(self, rows: slice | NDArray[np.int64] | NDArray[np.bool_]) -> TopK:
        """Return the rows of some queries."""
        return TopK(*(array[rows] for array in _arrays(self)))

    def without(self, which: NDArray[np.bool_]) -> TopK:
        """Return all candidates except `which` [n, k]."""
        scores = np.where(which, np.float32(-np.inf), self.scores)
        return TopK(self.ids, scores, self.variant_groups, self.duplicate_groups).in_order()

    def at_least(self, score: float | None) -> TopK:
        """Return the candidates of this score or more, of a table in order; all for None."""
        if score is None:
            return self
        scores = np.where(self.scores < np.float32(score), np.float32(-np.inf), self.scores)
        return TopK(self.ids, scores, self.variant_groups, self.duplicate_groups)

    def ranks_behind(self, other: TopK) -> NDArray[np.bool_]:
        """Which candidates [n, k] rank behind the last of the same query in `other`; all where it has none there."""
        last = np.maximum(other.counts - 1, 0)[:, None]
        score, item = np.take_along_axis(other.scores, last, axis=1), np.take_along_axis(other.ids, last, axis=1)
        behind: NDArray[np.bool_] = (self.scores < score) | ((self.scores == score) & (self.ids > item))
        behind |= (other.counts == 0)[:, None]
        return behind

    def assign(self, rows: NDArray[np.int64], other: TopK) -> None:
        """Overwrite the rows of some queries."""
        for mine, theirs in zip(_arrays(self), _arrays(other), strict=True):
            mine[rows] = theirs

    def cut(self, k: int) -> TopK:
        """Return the first k of each query."""
        return TopK(*(array[:, :k] for array in _arrays(self)))

    def in_order(self) -> TopK:
        """Return the candidates sorted by score, then id; places without a candidate come last."""
        order = np.argsort(-self.scores, axis=1)
        tied = _has_ties(np.take_along_axis(self.scores, order, axis=1))
        # Sorting all rows by both keys takes four times as long: comparing bytes is slow, and few rows have a tie.
        order[tied] = np.lexsort((self.ids[tied], -self.scores[tied]), axis=1)
        return _reorder(self, order)

    def first_of_each_group(self, k: int) -> TopK:
        """Return the first k of each query, leaving out all but the first of a variant or duplicate group."""
        kept = np.isfinite(self.scores) & _is_first(self.variant_groups) & _is_first(self.duplicate_groups)
        scores = np.where(kept, self.scores, np.float32(-np.inf))
        chosen = TopK(self.ids, scores, self.variant_groups, self.duplicate_groups)
        return _reorder(chosen, np.argsort(~kept, axis=1, kind="stable")).cut(k).padded(k)

    def padded(self, k: int) -> TopK:
        """Return the table with empty places up to a width of k."""
        rows, width = self.scores.shape
        return self if width == k else _side_by_side(self, empty_top_k(rows, k - width, self.ids))


@dataclass(frozen=True)
class FoundTopK:
    """What an approximate search found, and the score [n] that no candidate passes which it saw and left out.

    That score is -inf where it left out none, and approximate like all scores of a matrix product.
    """

    top: TopK
    left_out: NDArray[np.float32]


def empty_top_k(rows: int, k: int, ids: Keys) -> TopK:
    """Return a table without candidates [rows, k], its ids as wide as those of `ids`."""
    shape = (rows, k)
    codes = np.zeros(shape, dtype=np.int64)
    return TopK(np.zeros(shape, ids.dtype), np.full(shape, -np.inf, np.float32), codes, codes.copy())


def scatter_top_k(count: int, parts: Sequence[tuple[NDArray[np.int64], TopK]]) -> TopK:
    """Return a table of `count` queries from the tables of some of them and the rows where these belong."""
    widest = np.result_type(*(top.ids.dtype for _, top in parts))
    table = empty_top_k(count, max(top.scores.shape[1] for _, top in parts), np.empty(0, widest))
    for rows, top in parts:
        for mine, theirs in zip(_arrays(table), _arrays(top), strict=True):
            mine[rows, : theirs.shape[1]] = theirs
    return table


def stack_top_k(parts: Sequence[TopK]) -> TopK:
    """Return the queries of all parts, one part after the other."""
    return TopK(*(np.concatenate(arrays) for arrays in zip(*map(_arrays, parts), strict=True)))


def merge_top_k(left: TopK, right: TopK, *, distinct: bool = True) -> TopK:
    """Return the best of two tables over the same queries and different candidates; as wide as `left`.

    `distinct` says that both may hold candidates of one group; only the better one stays.
    """
    both, k = _side_by_side(left, right).in_order(), left.scores.shape[1]
    return both.first_of_each_group(k) if distinct else both.cut(k)


def append_top_k(narrow: TopK, wide: TopK) -> TopK:
    """Return `narrow` in its order, filled up from `wide`, which holds none of its groups; as wide as `narrow`."""
    filled = _side_by_side(narrow, wide)
    # A stable sort: the candidates that are there keep their order.
    order = np.argsort(~np.isfinite(filled.scores), axis=1, kind="stable")
    return _reorder(filled, order).cut(narrow.scores.shape[1])


def _arrays(top: TopK) -> tuple[np.ndarray, ...]:
    return top.ids, top.scores, top.variant_groups, top.duplicate_groups


def _reorder(top: TopK, order: NDArray[np.int64]) -> TopK:
    return TopK(*(np.take_along_axis(array, order, axis=1) for array in _arrays(top)))


def _side_by_side(left: TopK, right: TopK) -> TopK:
    return TopK(*(np.concatenate(pair, axis=1) for pair in zip(_arrays(left), _arrays(right), strict=True)))


def _has_ties(in_order: NDArray[np.float32]) -> NDArray[np.int64]:
    """The rows in which two candidates have the same score; each row is in the order of its scores."""
    same = (in_order[:, 1:] == in_order[:, :-1]) & np.isfinite(in_order[:, 1:])
    return np.flatnonzero(same.any(axis=1))


def _is_first(codes: Codes) -> NDArray[np.bool_]:
    """Whether a code is the first of its value in its row, from the left."""
    order = np.argsort(codes, axis=1, kind="stable")
    in_order = np.take_along_axis(codes, order, axis=1)
    first = np.ones(codes.shape, dtype=bool)
    first[:, 1:] = in_order[:, 1:] != in_order[:, :-1]
    back = np.empty_like(first)
    np.put_along_axis(back, order, first, axis=1)
    return back
