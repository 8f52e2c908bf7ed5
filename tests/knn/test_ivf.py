"""The inverted file: k-means centroids, the lists within a radius, and the search in them."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from lookalike.index.centroids import nearest_list, train_centroids
from lookalike.knn import ivf
from lookalike.topk.items import ItemVectors, concatenate_items, items_without_groups
from support.ranking import naive_variants, names, ranked, with_variants
from support.shards import crowd

many = settings(max_examples=100, deadline=None, derandomize=True, database=None)


def in_lists(items: ItemVectors, centroids: np.ndarray) -> ivf.InvertedLists:
    """The items of a shard in the order of their lists."""
    nearest = nearest_list(items.vectors, centroids)
    starts = np.concatenate([[0], np.cumsum(np.bincount(nearest, minlength=len(centroids)))])
    return ivf.InvertedLists(items.take(np.argsort(nearest, kind="stable")), starts)


@many
@given(rows=st.integers(1, 50), k=st.integers(1, 12), seed=st.integers(0, 1000), data=st.data())
def test_search_in_all_lists_is_exact(rows: int, k: int, seed: int, data: st.DataObject) -> None:
    items = with_variants(rows, data.draw(st.integers(1, rows), label="products"), seed)
    lists = data.draw(st.integers(1, rows), label="lists")
    centroids = train_centroids(items.vectors, lists, seed)
    cut = data.draw(st.integers(0, rows), label="cut")
    shards = [in_lists(some, centroids) for some in (items.take(slice(0, cut)), items.take(slice(cut, rows)))]
    chunk = data.draw(st.integers(1, rows), label="chunk")
    inverted_file = ivf.InvertedFile(centroids, shards, chunk, distinct=True)
    found = ranked(ivf.search(items, inverted_file, np.inf, k).top)
    for mine, right in zip(found, naive_variants(items, k), strict=True):
        assert [score for _, score in mine] == [score for _, score in right][: len(mine)]
        # Many variants of one product may take the places of others: never a wrong neighbour, perhaps too few.
        assert len(mine) == len(right) or len(mine) < k


def test_chunks_of_a_list_hold_its_candidates_once_in_chunks_of_the_size_asked_for() -> None:
    items = items_without_groups(crowd(200), names(200))
    centroids = train_centroids(items.vectors, 5, 1)
    shards = [in_lists(some, centroids) for some in (items.take(slice(0, 90)), items.take(slice(90, 200)))]
    inverted_file = ivf.InvertedFile(centroids, shards, 16, distinct=False)
    placed = concatenate_items([shard.items for shard in shards])
    seen = []
    for number in range(5):
        for chunk, places in inverted_file.list_chunks(number):
            assert 0 < len(chunk) <= 16
            assert (chunk.ids == placed.ids[places]).all()
            assert (nearest_list(chunk.vectors, centroids) == number).all()
            seen += places.tolist()
    assert sorted(seen) == list(range(200))


def test_centroids_have_unit_length_and_every_list_is_somewhere() -> None:
    vectors = crowd(300)
    centroids = train_centroids(vectors, 20, 1)
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(centroids, train_centroids(vectors, 20, 1))
    own = np.einsum("nd,nd->n", vectors, centroids[nearest_list(vectors, centroids)])
    assert own.mean() > 0.8  # random vectors of 24 dimensions would have 0.4


def test_query_on_a_centroid_looks_into_the_fewest_lists_and_a_zero_vector_into_all() -> None:
    centroids = np.eye(6, dtype=np.float32)
    centroids[3:, 0] = -1
    queries = np.concatenate([centroids[:1], np.zeros((1, 6), dtype=np.float32)])
    chosen = ivf.lists_within(ivf.angles(queries, centroids), 3.0)
    assert chosen.tolist() == [[True] * ivf.MIN_NPROBE + [False] * 3, [True] * 6]


def test_larger_radius_looks_into_more_lists() -> None:
    to_each = ivf.angles(crowd(50), train_centroids(crowd(300), 12, 1))
    counts = [ivf.lists_within(to_each, radius).sum() for radius in (1, 1.2, 2, np.inf)]
    assert counts[0] == 50 * ivf.MIN_NPROBE
    assert counts == sorted(set(counts))
    assert counts[-1] == 50 * 12
