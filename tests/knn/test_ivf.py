"""The inverted file: k-means centroids, the lists within a radius, and the search in them."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from lookalike.index.built import POSITION_BITS
from lookalike.index.centroids import nearest_list, train_centroids
from lookalike.knn import ivf
from lookalike.knn.group_items import GroupItems
from lookalike.knn.shard_items import ShardItems
from lookalike.topk.items import ItemVectors, items_without_groups
from support.ranking import naive_variants, names, ranked, with_variants
from support.shards import crowd

many = settings(max_examples=100, deadline=None, derandomize=True, database=None)


def inverted_file(items: ItemVectors, centroids: np.ndarray, cut: int, chunk_rows: int) -> ivf.InvertedFile:
    """The items in two shards, the first `cut` and the others, each in the order of their lists; ids are ranks."""
    rows, shards, places = np.arange(len(items)), [], np.empty(len(items), dtype=np.int64)
    for number, some in enumerate((rows[:cut], rows[cut:])):
        nearest = nearest_list(items.vectors[some], centroids)
        order = some[np.argsort(nearest, kind="stable")]
        places[order] = (number << POSITION_BITS) + np.arange(len(order))
        everything = np.ones(len(order), dtype=bool)
        mine = replace(items.take(order), ids=order)
        shards.append(ShardItems(mine, np.sort(nearest), everything, everything, order[:, None], everything[:, None]))
    group = GroupItems((0, 1), tuple(shards), items.ids, places)
    return ivf.InvertedFile(centroids, group, chunk_rows, distinct=True)


@many
@given(rows=st.integers(1, 50), k=st.integers(1, 12), seed=st.integers(0, 1000), data=st.data())
def test_search_in_all_lists_is_exact(rows: int, k: int, seed: int, data: st.DataObject) -> None:
    items = with_variants(rows, data.draw(st.integers(1, rows), label="products"), seed)
    lists = data.draw(st.integers(1, rows), label="lists")
    centroids = train_centroids(items.vectors, lists, seed)
    cut = data.draw(st.integers(0, rows), label="cut")
    chunk = data.draw(st.integers(1, rows), label="chunk")
    everywhere = np.ones((rows, lists), dtype=bool)
    found = ivf.search(replace(items, ids=np.arange(rows)), everywhere, inverted_file(items, centroids, cut, chunk), k)
    found = ranked(replace(found.top, ids=items.ids[found.top.ids]))
    for mine, right in zip(found, naive_variants(items, k), strict=True):
        assert [score for _, score in mine] == [score for _, score in right][: len(mine)]
        # Many variants of one product may take the places of others: never a wrong neighbour, perhaps too few.
        assert len(mine) == len(right) or len(mine) < k


def test_chunks_of_a_list_hold_its_candidates_once_in_chunks_of_the_size_asked_for() -> None:
    items = items_without_groups(crowd(200), names(200))
    centroids = train_centroids(items.vectors, 5, 1)
    seen: list[int] = []
    for number in range(5):
        for chunk in inverted_file(items, centroids, 90, 16).list_chunks(number):
            assert 0 < len(chunk.items) <= 16
            assert chunk.allowed.all()
            assert (chunk.items.vectors == items.vectors[chunk.items.ids]).all()
            assert (nearest_list(chunk.items.vectors, centroids) == number).all()
            seen += chunk.items.ids.tolist()
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
    chosen = ivf.lists_within(ivf.angles(queries, centroids), 2.9)
    assert chosen.tolist() == [[True] * ivf.MIN_NPROBE + [False] * 3, [True] * 6]


def test_a_list_of_near_copies_does_not_make_the_radius_small() -> None:
    """The mean angle to the three nearest lists is 0.4, the smallest 0.05."""
    to_each = np.array([[0.05, 0.5, 0.65, 0.7, 0.9, 1.4], [1.4, 0.7, 0.65, 0.9, 0.5, 0.05]], dtype=np.float32)
    assert ivf.lists_within(to_each, 1.0).sum(axis=1).tolist() == [3, 3]
    assert ivf.lists_within(to_each, 1.8).tolist() == [[True] * 4 + [False] * 2, [False, True, True, False, True, True]]
    assert ivf.lists_within(to_each, 2.3).sum(axis=1).tolist() == [5, 5]


def test_radius_that_a_list_needs_is_the_smallest_that_looks_into_it() -> None:
    """Also in the last bit."""
    centroids, queries = train_centroids(crowd(300), 40, 1), crowd(200)
    to_each = ivf.angles(queries, centroids)
    for number in range(0, 40, 7):
        lists = np.full((200, 1), number)
        needed = ivf.radius_needed(queries, lists, centroids)
        for at, radius in enumerate(needed[:, 0].tolist()):
            assert ivf.lists_within(to_each[at : at + 1], radius)[0, number]
            smaller = float(np.nextafter(np.float32(radius), np.float32(0)))
            assert radius == 1 or not ivf.lists_within(to_each[at : at + 1], smaller)[0, number]


def test_larger_radius_looks_into_more_lists() -> None:
    to_each = ivf.angles(crowd(50), train_centroids(crowd(300), 12, 1))
    counts = [ivf.lists_within(to_each, radius).sum() for radius in (1, 1.1, 1.3, np.inf)]
    assert counts[0] == 50 * ivf.MIN_NPROBE
    assert counts == sorted(set(counts))
    assert counts[-1] == 50 * 12
