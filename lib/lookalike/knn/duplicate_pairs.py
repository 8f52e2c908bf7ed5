"""Pairs of items that show the same picture, as far as the cosine tells, in lists of sketches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from lookalike.index.built import divided
from lookalike.knn.duplicate_groups import ShardFiles
from lookalike.knn.duplicate_lists import Flags, Rows, of_binary
from lookalike.knn.sketches import SKETCH_NOISE
from lookalike.topk.exact import score_pairs
from lookalike.topk.items import Codes, Vectors

# Products of sketches at a time, 16 MiB, and about the number of pairs that are scored at a time, in 1.4 s.
PRODUCTS = 1 << 22
SCORED_PAIRS = 1 << 20

# Pairs of vectors that are compared at a time: 2 x 8 MB.
EQUAL_ROWS = 1024

Pairs = tuple[Rows, Rows]


@dataclass(frozen=True)
class PairSearch:
    """Which pairs to find: of cosine `min_cosine` or more; all, or those of items that are compared.

    Items of one vector may be connected where none of them is compared. `most_vectors` are held at a time.
    """

    files: ShardFiles
    min_cosine: float
    all_pairs: bool
    most_vectors: int


@dataclass(frozen=True)
class _Listed:
    """Items of some lists, one list after the other from `starts` on [lists + 1], in each its own items first."""

    starts: Rows
    home: Flags
    compared: Flags
    places: Codes
    sketches: Vectors

    def take(self, rows: Rows) -> _Listed:
        """Return some of the rows, which ascend."""
        return _Listed(
            np.searchsorted(rows, self.starts),
            self.home[rows],
            self.compared[rows],
            self.places[rows],
            self.sketches[rows],
        )

    def to_compare(self) -> Rows:
        """Return the rows of the lists that have an item to compare."""
        counts = np.concatenate([[0], np.cumsum(self.compared)])[self.starts]
        return np.flatnonzero(np.repeat(np.diff(counts) > 0, np.diff(self.starts)))


def find_pairs(rows: pa.Table, search: PairSearch) -> pa.RecordBatch:
    """Return pairs (a, b) of ids that connect the items of whole lists, rows of LISTED, with their duplicates there."""
    if not len(rows):
        return pa.record_batch({"a": pa.array([], pa.string()), "b": pa.array([], pa.string())})
    listed, order = _in_order(rows)
    chosen = listed.to_compare()
    listed, ids = listed.take(chosen), rows["item_id"].take(pa.array(order[chosen]))
    forest = _Forest.of(listed, search)
    kept = forest.connect_equals()
    for a, b in _candidates(listed.take(kept), search):
        forest.connect(kept[a], kept[b])
    tied = np.flatnonzero(forest.least != np.arange(len(ids)))
    a, b = (ids.take(pa.array(ends)).combine_chunks() for ends in (tied, forest.least[tied]))
    return pa.record_batch({"a": a, "b": b})


def _in_order(rows: pa.Table) -> tuple[_Listed, Rows]:
    """Return rows of LISTED list by list, and the order that makes them so."""
    columns = ("value", "list", "home", "compared", "place")
    value, number, home, compared, place = (rows[name].to_numpy() for name in columns)
    order = np.lexsort((place, ~home, number, value))
    ends = (np.diff(value[order]) != 0) | (np.diff(number[order]) != 0)
    starts = np.concatenate([[0], 1 + np.flatnonzero(ends), [len(order)]])
    sketches = of_binary(rows["sketch"].combine_chunks())[order]
    return _Listed(starts, home[order], compared[order].copy(), place[order], sketches), order


def _candidates(listed: _Listed, search: PairSearch) -> Iterator[Pairs]:
    """Yield the pairs of rows of one list whose sketches do not tell them apart, about SCORED_PAIRS at a time."""
    least, waiting, count = np.float32(search.min_cosine - SKETCH_NOISE), list[Pairs](), 0
    for block, others in _products(listed, search):
        i, j = np.nonzero(listed.sketches[block] @ listed.sketches[others].T >= least)
        a, b = block[i], others.start + j
        wanted = b > a if search.all_pairs else b != a
        if wanted.any():
            waiting.append((a[wanted], b[wanted]))
            count += len(waiting[-1][0])
        if count >= SCORED_PAIRS:
            yield _joined(waiting)
            waiting, count = [], 0
    yield _joined(waiting)


def _products(listed: _Listed, search: PairSearch) -> Iterator[tuple[Rows, slice]]:
    """Yield some rows, and those of the same list to compare them with: an item is compared in its own list.

    With all pairs, a list's own items are compared with each other and with those that come in from other lists;
    else those to compare, of whichever list, with its own.
    """
    for start, stop in pairwise(listed.starts.tolist()):
        own = start + int(np.count_nonzero(listed.home[start:stop]))
        rows = np.arange(start, own) if search.all_pairs else start + np.flatnonzero(listed.compared[start:stop])
        others = slice(start, stop if search.all_pairs else own)
        step = max(1, PRODUCTS // max(1, others.stop - others.start))
        for first in range(0, len(rows) if others.stop - start > 1 else 0, step):
            yield rows[first : first + step], others


def _joined(pairs: list[Pairs]) -> Pairs:
    none = np.empty(0, dtype=np.int64)
    a, b = zip((none, none), *pairs, strict=True)
    return np.concatenate(a), np.concatenate(b)


@dataclass(frozen=True)
class _Forest:
    """The rows that are connected so far: `least` [n] is the smallest that each is connected with."""

    listed: _Listed
    search: PairSearch
    least: Rows

    @classmethod
    def of(cls, listed: _Listed, search: PairSearch) -> _Forest:
        """Return one of rows without connections."""
        return cls(listed, search, np.arange(len(listed.places)))

    def connect_equals(self) -> Rows:
        """Connect the rows of a list that have the same vector; return all rows but these, and the first of these.

        Thousands of items may show one placeholder picture.
        """
        first = _first_of_equals(self.listed)
        rows = np.flatnonzero(first != np.arange(len(first)))
        rows = rows[self._pairs(rows, first[rows], _are_equal)]
        self.least[rows] = first[rows]
        self.listed.compared[first[rows[self.listed.compared[rows]]]] = True  # the first stands for all
        return np.flatnonzero(self.least == np.arange(len(first)))

    def connect(self, a: Rows, b: Rows) -> None:
        """Connect the pairs of the cosine or more; those that are connected already are not scored."""
        for start in range(0, len(a), SCORED_PAIRS):
            some = slice(start, start + SCORED_PAIRS)
            apart = self.least[a[some]] != self.least[b[some]]
            left, right = a[some][apart], b[some][apart]
            close = self._pairs(left, right, self._are_close)
            tied = np.flatnonzero(self.least != np.arange(len(self.least)))
            ends = (np.concatenate(pair) for pair in ((tied, left[close]), (self.least[tied], right[close])))
            self.least[:] = connect(len(self.least), *ends)

    def _are_close(self, vectors: Vectors, left: Rows, right: Rows) -> Flags:
        close: Flags = score_pairs(vectors, left, vectors, right) >= np.float32(self.search.min_cosine)
        return close

    def _pairs(self, a: Rows, b: Rows, test: Callable[[Vectors, Rows, Rows], Flags]) -> Flags:
        """Return what a test says of each pair of rows, whose vectors are read: of halves where these are too many."""
        places, at = np.unique(self.listed.places[np.concatenate([a, b])], return_inverse=True)
        if len(places) > self.search.most_vectors:
            half = len(a) // 2
            return np.concatenate([self._pairs(a[:half], b[:half], test), self._pairs(a[half:], b[half:], test)])
        vectors = self.search.files.vectors(*divided(places))
        return test(vectors, *np.split(at, 2)) if len(a) else np.zeros(0, dtype=bool)


def _are_equal(vectors: Vectors, left: Rows, right: Rows) -> Flags:
    found = np.zeros(len(left), dtype=bool)
    for start in range(0, len(left), EQUAL_ROWS):
        some = slice(start, start + EQUAL_ROWS)
        found[some] = (vectors[left[some]] == vectors[right[some]]).all(axis=1)
    return found


def _first_of_equals(listed: _Listed) -> Rows:
    """Return the first row of each row's list with the same sketch, by a hash: mostly they have the same vector."""
    odd = np.random.default_rng(0).integers(0, 1 << 62, listed.sketches.shape[1] + 1, dtype=np.uint64) * np.uint64(2)
    hashes = (listed.sketches.view(np.uint32) * (odd[1:] + np.uint64(1))).sum(axis=1, dtype=np.uint64)
    hashes += np.repeat(np.arange(len(listed.starts) - 1).astype(np.uint64), np.diff(listed.starts)) * (
        odd[0] + np.uint64(1)
    )
    _, first, group = np.unique(hashes, return_index=True, return_inverse=True)
    return first[group]


def connect(count: int, a: Rows, b: Rows) -> Rows:
    """Return the smallest number that each number below `count` is connected with, by the pairs (a, b).

    Each round ties the ends of a pair, and what they are tied to, to the smaller end; and then each number to what that
    one is tied to, so that a chain of a thousand takes some ten rounds.
    """
    least = np.arange(count)
    while True:
        before = least.copy()
        smaller = np.minimum(before[a], before[b])
        for ends in (a, b, before[a], before[b]):
            np.minimum.at(least, ends, smaller)
        least = least[least]
        if (least == before).all():
            return least
