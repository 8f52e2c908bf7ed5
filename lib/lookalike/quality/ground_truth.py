"""The list that the rules give an item, and how many of its neighbours a published list has: plain arrays.

The rules are written here a second time, on purpose: the recall shares no code with the search that it checks. Values
are compared as 64-bit hashes; among 10 million items two have the same hash with a chance of 3 in a million.

A level is the place of a column in the order of similar.group_by and similar.group_fallback: two items meet at the
first level at which they have the same value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.int64]
Floats = NDArray[np.float32]
Levels = NDArray[np.int8]

# Scores above 1 less this may be those of equal vectors, which float32 sums give 0.9999971 to 1.0000014.
NEAR_ONE = 1e-5

# Pairs of vectors that are compared at a time: 2 x 4 MiB at 2,048 dimensions.
COMPARED = 512

# Candidates that are collected before they are sorted and cut, which raises the bar for the others: 25 bytes each.
# 40,000 others and 256 items take 2.1 s, and 2.8 s with 16 times as many.
WAITING = 1 << 16


@dataclass(frozen=True)
class ListRules:
    """The settings of a list. Two scores that differ by less than `tie` are equal."""

    k: int
    wanted: int  # k and the spare neighbours
    min_score: float
    tie: float
    duplicate_cosine: float | None = None


@dataclass(frozen=True)
class ItemArrays:
    """Items as the rules need them; the columns of `groups` go from the narrowest level to the widest."""

    vectors: Floats  # [n, d]
    groups: Hashes  # [n, levels]
    variant_groups: Hashes  # [n]; an item without variants has a value of its own
    duplicate_groups: Hashes  # [n]; an item without duplicates has a value of its own
    eligible: NDArray[np.bool_]  # [n, levels]: whether items that it meets at that level may have it as a neighbour

    def part(self, rows: slice) -> ItemArrays:
        """Return some of the items."""
        return ItemArrays(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True)
class CandidatePairs:
    """Pairs of an item and a candidate, one a row."""

    item: NDArray[np.int32]  # the row of the item
    level: Levels
    score: Floats
    variant_group: Hashes
    duplicate_group: Hashes

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> CandidatePairs:
        """Return some of the pairs."""
        return CandidatePairs(*(getattr(self, field.name)[rows] for field in fields(self)))

    @staticmethod
    def concat(parts: Sequence[CandidatePairs]) -> CandidatePairs:
        """Return the pairs of all parts."""
        columns = ([getattr(part, field.name) for part in parts] for field in fields(CandidatePairs))
        return CandidatePairs(*map(np.concatenate, columns))


@dataclass(frozen=True)
class Candidate:
    """A candidate of one item, or a neighbour in its published list."""

    level: int
    score: float
    variant_group: int
    duplicate_group: int


def cosines(items: ItemArrays, others: ItemArrays) -> Floats:
    """Return the cosines of all pairs [n, m], -1 to 1: 1 for two equal vectors, 0 where one is zero."""
    scores: Floats = np.clip(items.vectors @ others.vectors.T, -1, 1)
    rows, columns = np.nonzero(scores > 1 - NEAR_ONE)
    for start in range(0, len(rows), COMPARED):
        some = rows[start : start + COMPARED], columns[start : start + COMPARED]
        equal = (items.vectors[some[0]] == others.vectors[some[1]]).all(axis=1)
        scores[some[0][equal], some[1][equal]] = 1
    return scores


def meeting_levels(items: ItemArrays, others: ItemArrays) -> Levels:
    """Return the level at which each pair meets [n, m]; -1 where the rules forbid the other as a neighbour."""
    levels = np.full((len(items.groups), len(others.groups)), -1, dtype=np.int8)
    for level in reversed(range(items.groups.shape[1])):
        same = items.groups[:, level, None] == others.groups[None, :, level]
        levels = np.where(same, np.where(others.eligible[:, level], level, -1).astype(np.int8), levels)
    levels[items.variant_groups[:, None] == others.variant_groups] = -1
    levels[items.duplicate_groups[:, None] == others.duplicate_groups] = -1  # also the item itself
    return levels


def unnamed_duplicates(items: ItemArrays, others: ItemArrays, scores: Floats, least: float) -> NDArray[np.bool_]:
    """Return whether each item has a score of `least` with one of its last level that is not of its duplicate group."""
    rows, columns = np.nonzero(scores >= least)
    wrong = items.groups[rows, -1] == others.groups[columns, -1]
    wrong &= items.duplicate_groups[rows] != others.duplicate_groups[columns]
    found = np.zeros(len(scores), dtype=bool)
    found[rows[wrong]] = True
    return found


class BestCandidates:
    """The best candidates of `items` items at each level: all that a list of `wanted` neighbours can need.

    The list of a later level leaves out what the earlier ones hold: fewer than `wanted` variant groups and, with
    `duplicates`, fewer than `wanted` duplicate groups. When the duplicate group of a candidate is left out, another
    candidate of its variant group takes its place. So twice as many variant groups are kept, and `wanted` candidates
    of each.
    """

    def __init__(self, items: int, levels: int, wanted: int, *, duplicates: bool) -> None:
        several = duplicates and levels > 1
        self._depth, self._of_variant = (2 * wanted, wanted) if several else (wanted, 1)
        # The score that a candidate must pass at each level; the last column is for level -1, which nothing passes.
        self._bar = np.full((items, levels + 1), -np.inf, dtype=np.float32)
        self._bar[:, -1] = np.inf
        nothing = np.empty(0, dtype=np.int64)
        self._parts = [
            CandidatePairs(
                nothing.astype(np.int32), nothing.astype(np.int8), nothing.astype(np.float32), nothing, nothing
            )
        ]

    def add(self, scores: Floats, levels: Levels, others: ItemArrays) -> None:
        """Add candidates: `scores` and `levels` are [items, m]."""
        rows, columns = np.nonzero(scores > np.take_along_axis(self._bar, levels, axis=1))
        groups = others.variant_groups[columns], others.duplicate_groups[columns]
        found = CandidatePairs(rows.astype(np.int32), levels[rows, columns], scores[rows, columns], *groups)
        self._parts.append(found)
        if sum(len(part.item) for part in self._parts[1:]) > WAITING:
            self.pairs()

    def pairs(self) -> CandidatePairs:
        """Return the best candidates so far, and raise the bars to them."""
        found = CandidatePairs.concat(self._parts)
        found = found.take(np.lexsort((-found.score, found.level, found.item)))
        start = _run_starts(found.item, found.level)
        by_variant = np.lexsort((found.variant_group, start))  # stable: best first within a variant group
        place = np.empty(len(start), dtype=np.int64)
        runs = _run_starts(start[by_variant], found.variant_group[by_variant])
        place[by_variant] = np.arange(len(start)) - runs
        first = place == 0
        variants = np.concatenate([[0], np.cumsum(first)])
        better = variants[:-1] - variants[start]  # other variant groups that are better
        edge = first & (better == self._depth - 1)
        self._bar[found.item[edge], found.level[edge]] = found.score[edge]
        self._parts = [found.take((better < self._depth) & (place < self._of_variant))]
        return self._parts[0]


def _run_starts(*columns: NDArray[np.generic]) -> NDArray[np.int64]:
    """Return, for each row, the first row of the run of equal rows that it is in."""
    rows = np.arange(len(columns[0]))
    new = np.zeros(len(rows), dtype=bool)
    for column in columns:
        new[1:] |= column[1:] != column[:-1]
    starts: NDArray[np.int64] = np.maximum.accumulate(np.where(new, rows, 0))
    return starts


def true_list(candidates: Iterable[Candidate], wanted: int) -> list[Candidate]:
    """Return an item's list by the rules: narrow levels first, then by score.

    It has one candidate of a variant group, one of a duplicate group, and `wanted` at most.
    """
    chosen: list[Candidate] = []
    variants: set[int] = set()
    duplicates: set[int] = set()
    for one in sorted(candidates, key=lambda one: (one.level, -one.score)):
        if len(chosen) < wanted and one.variant_group not in variants and one.duplicate_group not in duplicates:
            chosen.append(one)
            variants.add(one.variant_group)
            duplicates.add(one.duplicate_group)
    return chosen


def count_hits(listed: Sequence[Candidate], candidates: Iterable[Candidate], rules: ListRules) -> tuple[int, int]:
    """Return how many of the k best of an item's true list are among the `listed` ones, and how many there are.

    A listed neighbour that is not in the true list counts only where it ties with one that is. The number is that of
    the neighbours that the rules allow, up to k.
    """
    truth = true_list(_near_enough(candidates, listed, rules), rules.wanted)
    best = sorted((one.score for one in truth), reverse=True)[: rules.k]
    if not best:
        return 0, 0
    right = [one for one in listed if one.score >= best[-1] - rules.tie and _is_right(one, truth, rules)]
    found = Counter(one.level for one in true_list(right, rules.wanted))
    # More ties at a level than the true list has there do not make up for others.
    in_place = sum(min(found[level], places) for level, places in Counter(one.level for one in truth).items())
    return min(in_place, len(best)), len(best)


def _near_enough(candidates: Iterable[Candidate], listed: Sequence[Candidate], rules: ListRules) -> Iterator[Candidate]:
    """Yield the candidates that min_score allows; of those that rounding puts on either side of it, the listed ones."""
    is_listed = set(listed)
    for one in candidates:
        if one.score >= rules.min_score + rules.tie or (one.score >= rules.min_score - rules.tie and one in is_listed):
            yield one


def _is_right(one: Candidate, truth: Sequence[Candidate], rules: ListRules) -> bool:
    """Return whether it is the best of its variant group, or ties with the last of a full list."""
    for other in truth:
        if other.variant_group == one.variant_group:
            return one.level == other.level and one.score >= other.score - rules.tie
    last = truth[-1]
    is_new = all(other.duplicate_group != one.duplicate_group for other in truth)
    return len(truth) == rules.wanted and is_new and one.level == last.level and one.score >= last.score - rules.tie
