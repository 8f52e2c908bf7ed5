"""The neighbours that the rules allow an item, and how many of them a table names: plain arrays, no Spark.

Told anew for the recall: nothing here is shared with the search that it judges. Values are compared as 64-bit hashes;
among 10 million items two of the same hash have a chance of 3 in a million.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.int64]
Floats = NDArray[np.float32]

# Found pairs that wait until they are sorted: 25 bytes each.
WAITING = 1 << 20


@dataclass(frozen=True)
class ListRules:
    """What the settings say of a list. Scores nearer than `tie` are equal."""

    k: int
    wanted: int  # k and the spare ones
    min_score: float
    tie: float


@dataclass(frozen=True)
class ItemArrays:
    """ItemArrays as the rules see them; the columns of groups go from the narrowest to the widest."""

    vectors: Floats  # [n, d]
    groups: Hashes  # [n, columns]
    variants: Hashes  # [n], an item without one has a value of its own
    pictures: Hashes  # [n], the same for every duplicate
    shown: NDArray[np.bool_]  # whether others may have it for a neighbour, of those that share each column [n, columns]

    def part(self, rows: slice) -> ItemArrays:
        """Some of them."""
        return ItemArrays(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True)
class CandidatePairs:
    """Candidates of several items, one a row."""

    item: NDArray[np.int32]  # the row of the item that asks
    ring: NDArray[np.int8]
    score: Floats
    variant: Hashes
    picture: Hashes

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> CandidatePairs:
        """Some of them."""
        return CandidatePairs(*(getattr(self, field.name)[rows] for field in fields(self)))

    @staticmethod
    def concat(parts: Sequence[CandidatePairs]) -> CandidatePairs:
        """All of them."""
        return CandidatePairs(
            *(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(CandidatePairs))
        )


@dataclass(frozen=True)
class Candidate:
    """A candidate of one item, or a neighbour that the table names."""

    ring: int
    score: float
    variant: int
    picture: int


def rings(asking: ItemArrays, others: ItemArrays) -> NDArray[np.int8]:
    """The first column whose value each pair shares [n, m]; -1 where the rules forbid the other."""
    ring = np.full((len(asking.groups), len(others.groups)), -1, dtype=np.int8)
    for column in reversed(range(asking.groups.shape[1])):
        same = asking.groups[:, column, None] == others.groups[None, :, column]
        ring = np.where(same, np.where(others.shown[:, column], column, -1).astype(np.int8), ring)
    ring[asking.variants[:, None] == others.variants] = -1
    ring[asking.pictures[:, None] == others.pictures] = -1  # the item itself is one of these
    return ring


class BestCandidates:
    """The best candidates of `items` items, ring by ring, as far as a list of `wanted` slots can need them.

    A later ring's list leaves out what an earlier one holds: fewer than `wanted` variants, and with `duplicates`,
    fewer than `wanted` pictures, each of which another candidate of its variant may take the place of.
    """

    def __init__(self, items: int, columns: int, wanted: int, *, duplicates: bool) -> None:
        several = duplicates and columns > 1
        self._depth, self._of_variant = (2 * wanted, wanted) if several else (wanted, 1)
        # A score has to pass it to be looked at; the last column is for ring -1.
        self._bar = np.full((items, columns + 1), -np.inf, dtype=np.float32)
        self._bar[:, -1] = np.inf
        nothing = np.empty(0, dtype=np.int64)
        self._parts = [
            CandidatePairs(
                nothing.astype(np.int32), nothing.astype(np.int8), nothing.astype(np.float32), nothing, nothing
            )
        ]

    def add(self, scores: Floats, ring: NDArray[np.int8], others: ItemArrays) -> None:
        """More candidates: `scores` and `ring` are [items, m]."""
        rows, columns = np.nonzero(scores > np.take_along_axis(self._bar, ring, axis=1))
        found = (ring[rows, columns], scores[rows, columns], others.variants[columns], others.pictures[columns])
        self._parts.append(CandidatePairs(rows.astype(np.int32), *found))
        if sum(len(part.item) for part in self._parts[1:]) > WAITING:
            self.pairs()

    def pairs(self) -> CandidatePairs:
        """Those found so far."""
        found = CandidatePairs.concat(self._parts)
        found = found.take(np.lexsort((-found.score, found.ring, found.item)))
        start = _run_starts(found.item, found.ring)
        by_variant = np.lexsort((found.variant, start))  # stable: best first within a variant
        place = np.empty(len(start), dtype=np.int64)
        place[by_variant] = np.arange(len(start)) - _run_starts(start[by_variant], found.variant[by_variant])
        first = place == 0
        variants = np.concatenate([[0], np.cumsum(first)])
        ahead = variants[:-1] - variants[start]  # other variants that are better
        edge = first & (ahead == self._depth - 1)
        self._bar[found.item[edge], found.ring[edge]] = found.score[edge]
        self._parts = [found.take((ahead < self._depth) & (place < self._of_variant))]
        return self._parts[0]


def _run_starts(*columns: NDArray[np.generic]) -> NDArray[np.int64]:
    """Of each row, the first row of the run of equal rows that it is in."""
    rows = np.arange(len(columns[0]))
    new = np.zeros(len(rows), dtype=bool)
    for column in columns:
        new[1:] |= column[1:] != column[:-1]
    starts: NDArray[np.int64] = np.maximum.accumulate(np.where(new, rows, 0))
    return starts


def right_list(candidates: Iterable[Candidate], wanted: int) -> list[Candidate]:
    """The slots of an item's list: narrow rings first, then by score; a variant and a picture take one slot each."""
    slots: list[Candidate] = []
    variants: set[int] = set()
    pictures: set[int] = set()
    for one in sorted(candidates, key=lambda one: (one.ring, -one.score)):
        if len(slots) < wanted and one.variant not in variants and one.picture not in pictures:
            slots.append(one)
            variants.add(one.variant)
            pictures.add(one.picture)
    return slots


def hits(named: Iterable[Candidate], candidates: Iterable[Candidate], rules: ListRules) -> tuple[int, int]:
    """How many of the k best of an item's list are among the `named` ones, and how many there are.

    Whom the table names may differ from the list where scores tie, and nowhere else.
    """
    right = right_list(candidates, rules.wanted)
    # A score at min_score itself may fall on either side of it.
    best = sorted((one.score for one in right if one.score >= rules.min_score + rules.tie), reverse=True)[: rules.k]
    if not best:
        return 0, 0
    belongs = [one for one in named if one.score >= best[-1] - rules.tie and _belongs(one, right, rules)]
    found = Counter(one.ring for one in right_list(belongs, rules.wanted))
    # More ties than a ring has slots for do not make up for others.
    in_place = sum(min(found[ring], slots) for ring, slots in Counter(one.ring for one in right).items())
    return min(in_place, len(best)), len(best)


def _belongs(one: Candidate, right: Sequence[Candidate], rules: ListRules) -> bool:
    """Whether it is the best of its slot, or ties with the last of a full list."""
    for slot in right:
        if slot.variant == one.variant:
            return one.ring == slot.ring and one.score >= slot.score - rules.tie
    last = right[-1]
    free = all(slot.picture != one.picture for slot in right)
    return len(right) == rules.wanted and free and one.ring == last.ring and one.score >= last.score - rules.tie
