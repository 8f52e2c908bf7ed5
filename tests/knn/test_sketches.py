"""Sketches of vectors: no pair of a cosine or more is lost, and most others are."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from lookalike.knn import sketches
from lookalike.knn.sketches import SKETCH_NOISE, CentroidPlanes, Sketcher
from support.shards import crowd

many = settings(max_examples=30, deadline=None, derandomize=True, database=None)


def aside(vectors: np.ndarray, towards: np.ndarray, cosine: float) -> np.ndarray:
    """Vectors of this cosine with those given, float32, on the side of others."""
    towards = towards - (towards * vectors).sum(axis=1, keepdims=True) * vectors
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    return (cosine * vectors + np.sqrt(1 - cosine**2) * towards).astype(np.float32)


@many
@given(seed=st.integers(0, 10_000), numbers=st.integers(2, 40))
def test_product_of_sketches_is_at_least_the_cosine(seed: int, numbers: int) -> None:
    vectors = crowd(200, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sketches, "NUMBERS", numbers)
        found = Sketcher.of(vectors[::3], 1, 0.99, 1).sketches(vectors)
    assert found.shape[1] <= numbers
    assert (found @ found.T >= vectors @ vectors.T - SKETCH_NOISE).all()


@many
@given(seed=st.integers(0, 10_000), lists=st.integers(2, 30), min_cosine=st.sampled_from([0.5, 0.8, 0.95, 0.999, 1.0]))
def test_list_that_holds_a_duplicate_is_near(seed: int, lists: int, min_cosine: float) -> None:
    """Pairs at the very edge of the cosine, on both sides of the planes between centroids."""
    rng = np.random.default_rng(seed)
    vectors, centroids = crowd(200, seed), crowd(lists, seed + 1)
    if seed % 2:  # centroids that are nearly, or wholly, the same
        centroids[1:] = centroids[:1] + 1e-4 * rng.normal(size=centroids[1:].shape) * rng.integers(0, 2)
    planes = CentroidPlanes.of(centroids)
    own, near = planes.near_lists(vectors, min_cosine)
    others = aside(vectors, centroids[rng.integers(0, lists, 200)] - centroids[own] + 1e-9 * vectors[::-1], min_cosine)
    assert near[np.arange(200), planes.near_lists(others, min_cosine)[0]].all()


def test_lists_that_are_far_and_pairs_that_are_apart_are_left_out() -> None:
    vectors = crowd(2000)
    sketcher = Sketcher.of(vectors, 100_000, 0.99, 1)
    found = sketcher.sketches(vectors)
    assert sketcher.near_lists(found, 0.99)[1].mean() < 0.2
    assert (found @ found.T >= 0.99).mean() < 0.01


def test_far_duplicates_have_fewer_lists_and_more_items_more() -> None:
    vectors = crowd(2000)
    lists = [
        [len(Sketcher.of(vectors, items, cosine, 1).planes.centroids) for items in (100, 10_000, 10**6)]
        for cosine in (0.5, 0.9, 0.999)
    ]
    assert lists == sorted(lists)
    assert all(few == sorted(few) for few in lists)
    assert lists[0][0] == lists[2][0] == 1
    assert lists[0][2] < lists[2][2]


def test_sample_without_a_usable_vector_gives_sketches() -> None:
    """Then the rest decides, which is the same for all."""
    sketcher = Sketcher.of(np.full((3, 8), np.nan, dtype=np.float32), 100_000, 0.99, 1)
    found = sketcher.sketches(np.eye(8, dtype=np.float32))
    assert (found @ found.T >= np.eye(8)).all()


@pytest.mark.parametrize(("items", "lists", "rows"), [(1, 1, 1), (4095, 1, 512), (4096, 64, 512), (10**9, 1024, 4096)])
def test_sample_is_bounded(items: int, lists: int, rows: int) -> None:
    assert (sketches.list_count(items), sketches.sample_rows(items)) == (lists, rows)
