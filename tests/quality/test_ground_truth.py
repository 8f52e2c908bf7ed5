"""The true lists by hand, and against a naive loop over every candidate."""

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
    count_hits,
    meeting_levels,
    true_list,
)

RULES = ListRules(k=3, wanted=3, min_score=-math.inf, tie=2e-6)


def candidate(score: float, level: int = 0, variant: int | None = None, duplicate: int | None = None) -> Candidate:
    """A candidate with groups of its own, made from its score, unless they are given."""
    own = round(score * 1e9) + level
    return Candidate(level, score, own if variant is None else variant, own if duplicate is None else duplicate)


def items(groups: list[list[int]], eligible: list[list[bool]] | None = None, **columns: list[int]) -> ItemArrays:
    n = len(groups)
    return ItemArrays(
        np.eye(n, 8, dtype=np.float32),
        np.array(groups),
        np.array(columns.get("variants", range(100, 100 + n))),
        np.array(columns.get("duplicates", range(200, 200 + n))),
        np.array(eligible or [[True] * len(groups[0])] * n),
    )


# --- the level at which two items meet


def test_level_is_the_first_column_that_is_shared() -> None:
    """Category, department, shop."""
    some = items([[1, 10, 5], [1, 10, 5], [2, 10, 5], [3, 20, 5], [3, 20, 6], [1, 30, 7]])
    assert meeting_levels(some, some)[0].tolist() == [-1, 0, 1, 2, -1, 0]


def test_item_itself_its_variants_and_its_duplicates_are_left_out() -> None:
    some = items([[1]] * 4, variants=[7, 7, 8, 9], duplicates=[1, 2, 3, 1])
    assert meeting_levels(some, some).tolist() == [[-1, -1, 0, -1], [-1, -1, 0, 0], [0, 0, -1, 0], [-1, 0, 0, -1]]


def test_item_may_be_eligible_at_some_levels_only() -> None:
    """Eligible in its department and not in its category: items of its category do not meet it at the wider level."""
    some = items([[1, 10], [1, 10], [2, 10]], eligible=[[True, True], [False, True], [True, False]])
    assert meeting_levels(some, some).tolist() == [[-1, -1, -1], [0, -1, -1], [1, 1, -1]]


# --- the cosines


def test_equal_vectors_have_a_cosine_of_1_and_none_has_more() -> None:
    vectors = np.abs(np.random.default_rng(1).normal(size=(1200, 2048))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[-1] = 0
    some = replace(items([[1]] * len(vectors)), vectors=vectors)
    assert (np.einsum("nd,nd->n", vectors, vectors) > 1).any()
    scores = ground_truth.cosines(some, some)
    assert scores.max() == 1
    assert np.diag(scores).tolist() == [1.0] * 1199 + [0.0]
    assert np.count_nonzero(scores == 1) == 1199


def test_duplicate_that_is_not_named_is_found_within_the_last_level() -> None:
    """The first two show one picture; the third does too, in another department, and the fourth is named."""
    some = items([[1, 10], [2, 10], [1, 20], [1, 10], [1, 10]], duplicates=[1, 2, 3, 1, 5])
    scores = np.eye(5, dtype=np.float32)
    scores[0, :] = scores[:, 0] = [1, 0.995, 1, 1, 0.98]
    found = ground_truth.unnamed_duplicates(some, some, scores, 0.99)
    assert found.tolist() == [True, True, False, False, False]


# --- the true list


def test_narrow_levels_come_first_whatever_the_scores() -> None:
    candidates = [candidate(0.9, level=1), candidate(0.1), candidate(0.8, level=1), candidate(0.99, level=2)]
    assert true_list(candidates, 3) == [candidate(0.1), candidate(0.9, level=1), candidate(0.8, level=1)]


def test_list_has_one_item_of_a_variant_group_and_one_of_a_duplicate_group() -> None:
    first, second = candidate(0.9, variant=1), candidate(0.8, variant=1, duplicate=2)
    third = candidate(0.95, level=1, variant=3, duplicate=2)
    # The second gives way to the first, so the third is the first of its duplicate group.
    assert true_list([third, second, first], 3) == [first, third]
    assert true_list([third, replace(second, variant_group=2), first], 3) == [first, replace(second, variant_group=2)]


# --- hits by hand

HITS = {
    "all of them": (
        [candidate(0.9), candidate(0.8), candidate(0.7)],
        [candidate(0.9), candidate(0.8), candidate(0.7), candidate(0.6)],
        {},
        (3, 3),
    ),
    "one is worse": (
        [candidate(0.9), candidate(0.8), candidate(0.6)],
        [candidate(0.9), candidate(0.8), candidate(0.7), candidate(0.6)],
        {},
        (2, 3),
    ),
    "a tie with the last": (
        [candidate(0.9), candidate(0.8), candidate(0.699999)],
        [candidate(0.9), candidate(0.8), candidate(0.7)] * 2,
        {},
        (3, 3),
    ),
    "no tie": (
        [candidate(0.9), candidate(0.8), candidate(0.69999)],
        [candidate(0.9), candidate(0.8), candidate(0.7)],
        {},
        (2, 3),
    ),
    "fewer than k": ([candidate(0.9)], [candidate(0.9), candidate(0.8)], {}, (1, 2)),
    "nothing to find": ([], [], {}, (0, 0)),
    "nothing listed": ([], [candidate(0.9)], {}, (0, 1)),
    "below min_score": ([candidate(0.9)], [candidate(0.9), candidate(0.3)], {"min_score": 0.5}, (1, 1)),
    "all below min_score": ([candidate(0.3)], [candidate(0.3)], {"min_score": 0.5}, (0, 0)),
    "at min_score, listed": (
        [candidate(0.9), candidate(0.5)],
        [candidate(0.9), candidate(0.5)],
        {"min_score": 0.5},
        (2, 2),
    ),
    "a wide level fills the places of what is below min_score": (
        [candidate(0.9), candidate(0.8, level=1)],
        [candidate(0.9), candidate(0.3), candidate(0.8, level=1), candidate(0.7, level=1)],
        {"min_score": 0.5},
        (2, 3),
    ),
    "below min_score in place of a wide level": (
        [candidate(0.9), candidate(0.3), candidate(0.2)],
        [candidate(0.9), candidate(0.3), candidate(0.2), candidate(0.8, level=1), candidate(0.7, level=1)],
        {"min_score": 0.5},
        (1, 3),
    ),
    "at min_score and listed, it has a place that a wide level does not fill": (
        [candidate(0.9), candidate(0.5), candidate(0.8, level=1)],
        [candidate(0.9), candidate(0.5), candidate(0.8, level=1), candidate(0.7, level=1)],
        {"min_score": 0.5},
        (3, 3),
    ),
    "at min_score and not listed, a wide level fills its place": (
        [candidate(0.9), candidate(0.8, level=1), candidate(0.7, level=1)],
        [candidate(0.9), candidate(0.5), candidate(0.8, level=1), candidate(0.7, level=1)],
        {"min_score": 0.5},
        (3, 3),
    ),
    "at min_score, not listed": ([candidate(0.9)], [candidate(0.9), candidate(0.5)], {"min_score": 0.5}, (1, 1)),
    "a wide level though the narrow one is full": (
        [candidate(0.9), candidate(0.8), candidate(0.99, level=1)],
        [candidate(0.9), candidate(0.8), candidate(0.7), candidate(0.99, level=1)],
        {},
        (2, 3),
    ),
    "second of its variant": (
        [candidate(0.9, variant=1), candidate(0.8, variant=1), candidate(0.7)],
        [candidate(0.9, variant=1), candidate(0.8, variant=1), candidate(0.7), candidate(0.6)],
        {},
        (2, 3),
    ),
    "second of its variant in place of the first": (
        [candidate(0.8, variant=1), candidate(0.7), candidate(0.6)],
        [candidate(0.9, variant=1), candidate(0.8, variant=1), candidate(0.7), candidate(0.6)],
        {},
        (2, 3),
    ),
    "variant of the narrow level, from the wide one": (
        [candidate(0.95, level=1, variant=1), candidate(0.8)],
        [candidate(0.9, variant=1), candidate(0.95, level=1, variant=1), candidate(0.8)],
        {},
        (1, 2),
    ),
    "second of its duplicate group": (
        [candidate(0.9, duplicate=1), candidate(0.8, level=1, duplicate=1)],
        [candidate(0.9, duplicate=1), candidate(0.8, level=1, duplicate=1), candidate(0.7, level=1)],
        {},
        (1, 2),
    ),
    "ties of the wide level do not make up for the narrow one": (
        [candidate(0.5, level=1, variant=n, duplicate=n) for n in range(3)],
        [candidate(0.6), candidate(0.7), *(candidate(0.5, level=1, variant=n, duplicate=n) for n in range(5))],
        {},
        (1, 3),
    ),
    # k is 3, and the list has two spare ones: 0.2 is in the list, and not among its k best
    "of a list with spare ones the best k": (
        [candidate(0.9), candidate(0.8, level=1), candidate(0.7, level=1)],
        [
            candidate(0.9),
            candidate(0.2),
            candidate(0.1),
            candidate(0.8, level=1),
            candidate(0.7, level=1),
            candidate(0.65, level=1),
        ],
        {"wanted": 5},
        (3, 3),
    ),
    "zero vectors tie with all others": (
        [candidate(0.0, variant=n, duplicate=n) for n in (7, 8, 9)],
        [candidate(0.0, variant=n, duplicate=n) for n in range(10)],
        {},
        (3, 3),
    ),
}


@pytest.mark.parametrize("case", HITS)
def test_hits_by_hand(case: str) -> None:
    listed, candidates, rules, expected = HITS[case]
    assert count_hits(listed, candidates, replace(RULES, **rules)) == expected


# --- the best candidates, against a loop over all of them


def naive_list(candidates: list[Candidate], wanted: int) -> list[Candidate]:
    """Take one after the other, best first."""
    chosen: list[Candidate] = []
    for one in sorted(candidates, key=lambda one: (one.level, -one.score)):
        if len(chosen) < wanted and not any(_alike(one, other) for other in chosen):
            chosen.append(one)
    return chosen


def _alike(one: Candidate, other: Candidate) -> bool:
    return one.variant_group == other.variant_group or one.duplicate_group == other.duplicate_group


def candidates_of(found: CandidatePairs, item: int) -> list[Candidate]:
    mine = found.take(found.item == item)
    columns = (getattr(mine, name).tolist() for name in ("level", "score", "variant_group", "duplicate_group"))
    return [Candidate(*row) for row in zip(*columns, strict=True)]


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    wanted=st.integers(1, 5),
    columns=st.integers(1, 3),
    variants=st.sampled_from([2, 6, 40, 10_000]),
    duplicates=st.sampled_from([0, 3, 12]),
    waiting=st.sampled_from([0, 40, 1 << 20]),
)
def test_list_of_the_best_candidates_is_the_list_of_all(
    seed: int, wanted: int, columns: int, variants: int, duplicates: int, waiting: int
) -> None:
    """60 candidates of 3 items in parts of 7; of a duplicate group one at most is eligible at each level."""
    random = np.random.default_rng(seed)
    n = 60
    scores = random.permutation(3 * n).reshape(3, n).astype(np.float32) / 200  # no ties
    levels = random.integers(-1, columns, (3, n)).astype(np.int8)
    others = ItemArrays(
        np.zeros((n, 1), np.float32),
        np.zeros((n, columns), np.int64),
        random.integers(0, variants, n),
        np.arange(n) + 1000,
        np.ones((n, columns), bool),
    )
    for group in range(duplicates):  # the same picture at several levels
        some = random.choice(n, 4, replace=False)
        others.duplicate_groups[some] = group
    for item in range(3):
        for one in range(n):
            same_group = others.duplicate_groups[:one] == others.duplicate_groups[one]
            if (same_group & (levels[item, :one] == levels[item, one])).any():
                levels[item, one] = -1
    best = BestCandidates(3, columns, wanted, duplicates=duplicates > 0)
    with patch.object(ground_truth, "WAITING", waiting):
        for start in range(0, n, 7):
            part = slice(start, start + 7)
            best.add(scores[:, part], levels[:, part], others.part(part))
    found = best.pairs()
    for item in range(3):
        all_of_them = [
            Candidate(
                int(levels[item, one]),
                float(scores[item, one]),
                int(others.variant_groups[one]),
                int(others.duplicate_groups[one]),
            )
            for one in range(n)
            if levels[item, one] >= 0
        ]
        assert naive_list(candidates_of(found, item), wanted) == naive_list(all_of_them, wanted)
        assert true_list(candidates_of(found, item), wanted) == naive_list(all_of_them, wanted)


# The list has two items of level 0, of the variant groups 1 and 2 and the duplicate groups 11 and 12, and room for two.
WIDE = {
    # Candidates of level 1, best first: the two that belong in the list are found only when enough of them are kept.
    "variants and duplicates taken": ([(1, 21), (9, 11), (2, 22), (8, 12), (7, 23), (6, 24), (5, 25)], [7, 6]),
    "duplicates of one variant taken": ([(9, 11), (9, 12), (9, 21), (9, 22), (8, 23), (7, 24)], [9, 8]),
}


@pytest.mark.parametrize("case", WIDE)
def test_enough_candidates_of_the_wide_level_are_kept(case: str) -> None:
    wide, expected = WIDE[case]
    variants, duplicates = zip((1, 11), (2, 12), *wide, strict=True)
    others = items([[1, 1]] * len(variants), variants=list(variants), duplicates=list(duplicates))
    best = BestCandidates(1, 2, 4, duplicates=True)
    levels = np.array([[0, 0, *(1 for _ in wide)]], np.int8)
    best.add(np.linspace(0.9, 0.1, len(variants), dtype=np.float32)[None], levels, others)
    assert [one.variant_group for one in true_list(candidates_of(best.pairs(), 0), 4)] == [1, 2, *expected]


def test_candidates_that_cannot_matter_are_dropped() -> None:
    """Of 10,000 candidates of one level, each a product of its own, five an item are kept."""
    random = np.random.default_rng(1)
    others = items([[1]] * 10_000)
    best = BestCandidates(4, 1, 5, duplicates=True)
    for _ in range(3):
        best.add(random.random((4, 10_000), dtype=np.float32), np.zeros((4, 10_000), np.int8), others)
    assert len(best.pairs().item) <= 20


def test_without_items_or_allowed_pairs_there_are_no_candidates() -> None:
    assert len(BestCandidates(4, 2, 5, duplicates=False).pairs().item) == 0
    best = BestCandidates(2, 1, 5, duplicates=False)
    best.add(np.ones((2, 3), np.float32), np.full((2, 3), -1, np.int8), items([[1]] * 3))
    assert len(best.pairs().item) == 0
