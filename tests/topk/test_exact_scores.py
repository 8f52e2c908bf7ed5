"""Scores of pairs, and the overlap of two rankings, against a naive loop."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from lookalike.topk.exact import exact_top_k, score_pairs, score_query, top_k_overlap
from lookalike.topk.items import items_without_groups
from support.ranking import (
    naive,
    names,
    quarters,
    random_units,
)

many = settings(max_examples=100, deadline=None, derandomize=True, database=None)


@many
@given(
    n=st.integers(1, 12),
    m=st.integers(1, 12),
    dimensions=st.sampled_from([1, 3, 8, 31, 257, 2048]),
    seed=st.integers(0, 1000),
)
def test_score_of_a_pair_does_not_depend_on_the_other_pairs(n: int, m: int, dimensions: int, seed: int) -> None:
    queries, candidates = random_units(n, dimensions, seed), random_units(20, dimensions, seed + 1)
    columns = np.random.default_rng(seed).integers(0, 20, (n, m))
    scores = score_pairs(queries, np.repeat(np.arange(n), m), candidates, columns.ravel()).reshape(n, m)
    for row in range(n):
        for column in range(m):
            at = columns[row, column]
            assert scores[row, column] == score_query(queries[row], candidates[at : at + 1], np.array([0]))[0]
            exact = np.dot(queries[row].astype(np.float64), candidates[at].astype(np.float64))
            assert scores[row, column] == pytest.approx(exact, abs=1e-6)


def test_scores_do_not_depend_on_the_rows_scored_at_a_time() -> None:
    # 300 x 40 pairs of 2048 values are 98 MB, gathered in 188 steps.
    queries, candidates = random_units(300, 2048), random_units(50, 2048, seed=2)
    columns = np.random.default_rng(4).integers(0, 50, (300, 40))
    whole = score_pairs(queries, np.repeat(np.arange(300), 40), candidates, columns.ravel()).reshape(300, 40)
    for row in (0, -1):
        np.testing.assert_array_equal(whole[row], score_query(queries[row], candidates, columns[row]))


def pictures(rows: int, dimensions: int) -> np.ndarray:
    """Unit vectors without negative values, as a network pools them: their sums grow, and so do the errors."""
    return np.abs(random_units(rows, dimensions))


@pytest.mark.parametrize("dimensions", [24, 500, 2048])
def test_equal_vectors_score_1_and_none_scores_more(dimensions: int) -> None:
    vectors = pictures(300, dimensions)
    almost = np.nextafter(vectors, np.float32(2))
    rows = np.arange(300)
    assert (np.einsum("nd,nd->n", vectors, vectors) != 1).any()
    assert (score_pairs(vectors, rows, vectors, rows) == 1).all()
    assert (score_pairs(vectors, rows, -almost, rows) >= -1).all()
    assert (score_pairs(vectors, rows, almost, rows) <= 1).all()
    zeros = np.zeros_like(vectors)
    assert (score_pairs(zeros, rows, zeros, rows) == 0).all()


def test_scores_of_pictures_are_those_of_float64() -> None:
    vectors = pictures(200, 2048)
    row, column = np.divmod(np.arange(200 * 200), 200)
    exact = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    np.testing.assert_allclose(score_pairs(vectors, row, vectors, column), exact[row, column], atol=3e-7, rtol=0)


def test_copies_rank_by_id_before_what_is_almost_the_same() -> None:
    vector = pictures(1, 2048)[0]
    almost = np.nextafter(vector, np.float32(0))
    items = items_without_groups(np.stack([almost, vector, almost, vector, vector]), names(5))
    found = exact_top_k(items.take(np.array([3])), items, 4)
    scores = found.scores[0].tolist()
    tied = [item for item, score in zip(found.ids[0].tolist(), scores, strict=True) if score == 1]
    assert {names(5)[1], names(5)[4]} <= set(tied)
    assert tied == sorted(tied)


def naive_overlap(left: np.ndarray, right: np.ndarray, k: int) -> float:
    """Mean share of common neighbours, by the naive loop."""
    ids, own = names(len(left)), np.arange(len(left))
    both = [[{i for i, _ in row} for row in naive(v, v, ids, k, own)] for v in (left, right)]
    return float(np.mean([len(a & b) / k for a, b in zip(*both, strict=True)]))


@pytest.mark.parametrize("k", [1, 4, 29])
def test_overlap_is_the_mean_share_of_common_neighbours(k: int) -> None:
    left, right = quarters(30, 8), quarters(30, 8, seed=2)
    assert top_k_overlap(left, right, k) == pytest.approx(naive_overlap(left, right, k))
    assert top_k_overlap(left, left, k) == 1
    assert top_k_overlap(left, right[:, ::-1].copy(), k) == top_k_overlap(left, right, k)


def test_overlap_without_a_common_neighbour_is_zero() -> None:
    pairs, shifted = np.repeat(np.eye(6), 2, axis=0), np.roll(np.repeat(np.eye(6), 2, axis=0), 1, axis=0)
    assert top_k_overlap(pairs.astype(np.float32), shifted.astype(np.float32), 1) == 0
