"""The judge of lists by hand, and against a naive loop over every candidate."""

from __future__ import annotations

import math
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.quality import ground_truth
from lookalike.quality.ground_truth import (
    BestCandidates,
    Candidate,
    CandidatePairs,
    ItemArrays,
    ListRules,
    hits,
    right_list,
    rings,
)

RULES = ListRules(k=3, wanted=3, min_score=-math.inf, tie=2e-6)


def slot(score: float, ring: int = 0, variant: int | None = None, picture: int | None = None) -> Candidate:
    """Its own variant and picture, told by its score, unless given."""
    own = round(score * 1e9) + ring
    return Candidate(ring, score, own if variant is None else variant, own if picture is None else picture)


def items(groups: list[list[int]], shown: list[list[bool]] | None = None, **columns: list[int]) -> ItemArrays:
    n = len(groups)
    return ItemArrays(
        np.eye(n, 8, dtype=np.float32),
        np.array(groups),
        np.array(columns.get("variants", range(100, 100 + n))),
        np.array(columns.get("pictures", range(200, 200 + n))),
        np.array(shown or [[True] * len(groups[0])] * n),
    )


# --- who is allowed


def test_ring_is_the_first_column_that_is_shared() -> None:
    """Category, department, shop."""
    some = items([[1, 10, 5], [1, 10, 5], [2, 10, 5], [3, 20, 5], [3, 20, 6], [1, 30, 7]])
    assert rings(some, some)[0].tolist() == [-1, 0, 1, 2, -1, 0]


def test_item_itself_its_variants_and_its_pictures_are_left_out() -> None:
    some = items([[1]] * 4, variants=[7, 7, 8, 9], pictures=[1, 2, 3, 1])
    assert rings(some, some).tolist() == [[-1, -1, 0, -1], [-1, -1, 0, 0], [0, 0, -1, 0], [-1, 0, 0, -1]]


def test_item_is_shown_to_some_columns_only() -> None:
    """Shown to its department and not to its category: it does not slip in by the wider ring."""
    some = items([[1, 10], [1, 10], [2, 10]], shown=[[True, True], [False, True], [True, False]])
    assert rings(some, some).tolist() == [[-1, -1, -1], [0, -1, -1], [1, 1, -1]]


# --- the right list


def test_narrow_rings_come_first_whatever_the_scores() -> None:
    candidates = [slot(0.9, ring=1), slot(0.1), slot(0.8, ring=1), slot(0.99, ring=2)]
    assert right_list(candidates, 3) == [slot(0.1), slot(0.9, ring=1), slot(0.8, ring=1)]


def test_variant_and_picture_take_one_slot_each() -> None:
    first, second = slot(0.9, variant=1), slot(0.8, variant=1, picture=2)
    third = slot(0.95, ring=1, variant=3, picture=2)
    # The second lost its slot to the first, so the third is the first of its picture.
    assert right_list([third, second, first], 3) == [first, third]
    assert right_list([third, replace(second, variant=2), first], 3) == [first, replace(second, variant=2)]


# --- hits by hand

HITS = {
    "all of them": ([slot(0.9), slot(0.8), slot(0.7)], [slot(0.9), slot(0.8), slot(0.7), slot(0.6)], {}, (3, 3)),
    "one is worse": ([slot(0.9), slot(0.8), slot(0.6)], [slot(0.9), slot(0.8), slot(0.7), slot(0.6)], {}, (2, 3)),
    "a tie with the last": ([slot(0.9), slot(0.8), slot(0.699999)], [slot(0.9), slot(0.8), slot(0.7)] * 2, {}, (3, 3)),
    "no tie": ([slot(0.9), slot(0.8), slot(0.69999)], [slot(0.9), slot(0.8), slot(0.7)], {}, (2, 3)),
    "fewer than k": ([slot(0.9)], [slot(0.9), slot(0.8)], {}, (1, 2)),
    "nothing to find": ([], [], {}, (0, 0)),
    "nothing named": ([], [slot(0.9)], {}, (0, 1)),
    "below min_score": ([slot(0.9)], [slot(0.9), slot(0.3)], {"min_score": 0.5}, (1, 1)),
    "all below min_score": ([slot(0.3)], [slot(0.3)], {"min_score": 0.5}, (0, 0)),
    "at min_score, named": ([slot(0.9), slot(0.5)], [slot(0.9), slot(0.5)], {"min_score": 0.5}, (1, 1)),
    "at min_score, not named": ([slot(0.9)], [slot(0.9), slot(0.5)], {"min_score": 0.5}, (1, 1)),
    "a wide ring though the narrow one is full": (
        [slot(0.9), slot(0.8), slot(0.99, ring=1)],
        [slot(0.9), slot(0.8), slot(0.7), slot(0.99, ring=1)],
        {},
        (2, 3),
    ),
    "second of its variant": (
        [slot(0.9, variant=1), slot(0.8, variant=1), slot(0.7)],
        [slot(0.9, variant=1), slot(0.8, variant=1), slot(0.7), slot(0.6)],
        {},
        (2, 3),
    ),
    "second of its variant in place of the first": (
        [slot(0.8, variant=1), slot(0.7), slot(0.6)],
        [slot(0.9, variant=1), slot(0.8, variant=1), slot(0.7), slot(0.6)],
        {},
        (2, 3),
    ),
    "variant of the narrow ring, from the wide one": (
        [slot(0.95, ring=1, variant=1), slot(0.8)],
        [slot(0.9, variant=1), slot(0.95, ring=1, variant=1), slot(0.8)],
        {},
        (1, 2),
    ),
    "second of its picture": (
        [slot(0.9, picture=1), slot(0.8, ring=1, picture=1)],
        [slot(0.9, picture=1), slot(0.8, ring=1, picture=1), slot(0.7, ring=1)],
        {},
        (1, 2),
    ),
    "ties of the wide ring do not make up for the narrow one": (
        [slot(0.5, ring=1, variant=n, picture=n) for n in range(3)],
        [slot(0.6), slot(0.7), *(slot(0.5, ring=1, variant=n, picture=n) for n in range(5))],
        {},
        (1, 3),
    ),
    # k is 3, and two more are in the table: 0.2 is of the list and not of its k best
    "of a list with spare ones the best k": (
        [slot(0.9), slot(0.8, ring=1), slot(0.7, ring=1)],
        [slot(0.9), slot(0.2), slot(0.1), slot(0.8, ring=1), slot(0.7, ring=1), slot(0.65, ring=1)],
        {"wanted": 5},
        (3, 3),
    ),
    "zero vectors tie with everybody": (
        [slot(0.0, variant=n, picture=n) for n in (7, 8, 9)],
        [slot(0.0, variant=n, picture=n) for n in range(10)],
        {},
        (3, 3),
    ),
}


@pytest.mark.parametrize("case", HITS)
def test_hits_by_hand(case: str) -> None:
    named, candidates, rules, expected = HITS[case]
    assert hits(named, candidates, replace(RULES, **rules)) == expected


# --- the best candidates, against a loop over all of them


def naive_list(candidates: list[Candidate], wanted: int) -> list[Candidate]:
    """One after the other, best first."""
    chosen: list[Candidate] = []
    for one in sorted(candidates, key=lambda one: (one.ring, -one.score)):
        if len(chosen) < wanted and not any(one.variant == c.variant or one.picture == c.picture for c in chosen):
            chosen.append(one)
    return chosen


def slots_of(found: CandidatePairs, item: int) -> list[Candidate]:
    mine = found.take(found.item == item)
    columns = (getattr(mine, name).tolist() for name in ("ring", "score", "variant", "picture"))
    return [Candidate(*row) for row in zip(*columns, strict=True)]


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    wanted=st.integers(1, 5),
    columns=st.integers(1, 3),
    variants=st.sampled_from([2, 6, 40, 10_000]),
    pictures=st.sampled_from([0, 3, 12]),
    waiting=st.sampled_from([0, 40, 1 << 20]),
)
def test_list_of_the_best_candidates_is_the_list_of_all(
    seed: int, wanted: int, columns: int, variants: int, pictures: int, waiting: int
) -> None:
    """60 candidates of 3 items in parts of 7; a picture occurs once in a ring at most, as its representative does."""
    random = np.random.default_rng(seed)
    n = 60
    scores = random.permutation(3 * n).reshape(3, n).astype(np.float32) / 200  # no ties
    ring = random.integers(-1, columns, (3, n)).astype(np.int8)
    others = ItemArrays(
        np.zeros((n, 1), np.float32),
        np.zeros((n, columns), np.int64),
        random.integers(0, variants, n),
        np.arange(n) + 1000,
        np.ones((n, columns), bool),
    )
    for picture in range(pictures):  # the same picture in several rings
        some = random.choice(n, 4, replace=False)
        others.pictures[some] = picture
    for item in range(3):
        for one in range(n):
            earlier = (others.pictures[:one] == others.pictures[one]) & (ring[item, :one] == ring[item, one])
            if earlier.any():
                ring[item, one] = -1
    best = BestCandidates(3, columns, wanted, duplicates=pictures > 0)
    with patch.object(ground_truth, "WAITING", waiting):
        for start in range(0, n, 7):
            part = slice(start, start + 7)
            best.add(scores[:, part], ring[:, part], others.part(part))
    found = best.pairs()
    for item in range(3):
        everyone = [
            Candidate(
                int(ring[item, one]), float(scores[item, one]), int(others.variants[one]), int(others.pictures[one])
            )
            for one in range(n)
            if ring[item, one] >= 0
        ]
        assert naive_list(slots_of(found, item), wanted) == naive_list(everyone, wanted)
        assert right_list(slots_of(found, item), wanted) == naive_list(everyone, wanted)


# Ring 0 has two slots, whose variants 1 and 2 and pictures 11 and 12 are taken; the list has room for two more.
WIDE = {
    # BestCandidates first: the slots of ring 1 that are left are the ones that a deep look finds.
    "variants and pictures taken": ([(1, 21), (9, 11), (2, 22), (8, 12), (7, 23), (6, 24), (5, 25)], [7, 6]),
    "pictures of one variant taken": ([(9, 11), (9, 12), (9, 21), (9, 22), (8, 23), (7, 24)], [9, 8]),
}


@pytest.mark.parametrize("case", WIDE)
def test_wide_ring_is_looked_at_deep_enough(case: str) -> None:
    wide, expected = WIDE[case]
    variants, pictures = zip((1, 11), (2, 12), *wide, strict=True)
    others = items([[1, 1]] * len(variants), variants=list(variants), pictures=list(pictures))
    best = BestCandidates(1, 2, 4, duplicates=True)
    ring = np.array([[0, 0, *(1 for _ in wide)]], np.int8)
    best.add(np.linspace(0.9, 0.1, len(variants), dtype=np.float32)[None], ring, others)
    assert [one.variant for one in right_list(slots_of(best.pairs(), 0), 4)] == [1, 2, *expected]


def test_candidates_that_cannot_matter_are_dropped() -> None:
    """Of 10,000 candidates in one ring, each a product of its own, five an item are kept."""
    random = np.random.default_rng(1)
    others = items([[1]] * 10_000)
    best = BestCandidates(4, 1, 5, duplicates=True)
    for _ in range(3):
        best.add(random.random((4, 10_000), dtype=np.float32), np.zeros((4, 10_000), np.int8), others)
    assert len(best.pairs().item) <= 20


def test_nobody_and_nothing_have_no_candidates() -> None:
    assert len(BestCandidates(4, 2, 5, duplicates=False).pairs().item) == 0
    best = BestCandidates(2, 1, 5, duplicates=False)
    best.add(np.ones((2, 3), np.float32), np.full((2, 3), -1, np.int8), items([[1]] * 3))
    assert len(best.pairs().item) == 0
