"""Exact neighbours against a naive float64 loop, however the work is cut and however the scores tie."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from lookalike.topk import exact
from lookalike.topk.exact import EXTRA_CANDIDATES, QUERY_ROWS, score_query
from lookalike.topk.items import ItemVectors, items_without_groups
from lookalike.topk.table import TopK, empty_top_k, merge_top_k
from support.ranking import (
    assert_same_bits,
    codes_of,
    naive,
    naive_variants,
    names,
    quarters,
    random_units,
    ranked,
    top_k,
    with_variants,
)

many = settings(max_examples=100, deadline=None, derandomize=True, database=None)


def none_own(queries: Sequence[object]) -> np.ndarray:
    """No query is among the candidates."""
    return np.full(len(queries), -1)


def exact_top_k(queries: np.ndarray, candidates: np.ndarray, ids: np.ndarray, k: int, own: np.ndarray) -> TopK:
    """The exact search without variants and duplicates; `own` is the row of the query itself, -1 where it has none."""
    codes = codes_of(ids)
    mine = np.where(np.array(own) >= 0, codes[own] if len(codes) else 0, -1 - np.arange(len(queries)))
    return exact.exact_top_k(
        ItemVectors(queries, np.resize(ids, len(queries)) if len(ids) else names(len(queries)), mine, mine),
        ItemVectors(candidates, ids, codes, codes),
        k,
    )


@pytest.mark.parametrize("rows", [1, 2, 5, 9, 60, 130])
@pytest.mark.parametrize("k", [1, 3, 20, 200])
def test_ties_are_ordered_by_id_as_in_the_naive_loop(rows: int, k: int) -> None:
    vectors, ids, own = quarters(rows, 8), names(rows), np.arange(rows)
    found = exact_top_k(vectors, vectors, ids, k, own)
    assert found.ids.shape == found.scores.shape == (rows, k)
    assert ranked(found) == naive(vectors, vectors, ids, k, own)


@pytest.mark.parametrize("dimensions", [3, 17, 256, 2048])
def test_scores_are_the_cosines_of_the_naive_loop(dimensions: int) -> None:
    vectors, ids, own = random_units(90, dimensions), names(90), np.arange(90)
    found = exact_top_k(vectors, vectors, ids, 10, own)
    expected = naive(vectors, vectors, ids, 10, own)
    assert [[i for i, _ in row] for row in ranked(found)] == [[i for i, _ in row] for row in expected]
    scores = np.array([[score for _, score in row] for row in expected])
    np.testing.assert_allclose(found.scores, scores, atol=1e-6)
    assert found.scores.dtype == np.float32


def test_only_candidate_that_is_the_query_itself_leaves_nothing() -> None:
    vector = random_units(1, 8)
    found = exact_top_k(vector, vector, names(1), 3, np.array([0]))
    assert ranked(found) == [[]]
    assert ranked(exact_top_k(vector, vector, names(1), 3, np.array([-1])))[0][0][0] == b"item-00000"


def test_no_candidates_leave_nothing() -> None:
    queries = random_units(4, 8)
    assert ranked(exact_top_k(queries, queries[:0], names(0), 3, none_own(queries))) == [[]] * 4


def test_query_that_is_no_candidate_loses_no_neighbour() -> None:
    vectors, ids = quarters(40, 8), names(40)
    own = np.where(np.arange(40) % 2, np.arange(40), -1)
    assert ranked(exact_top_k(vectors, vectors, ids, 40, own)) == naive(vectors, vectors, ids, 40, own)


def test_item_is_not_its_own_neighbour_and_its_copy_is() -> None:
    vectors = np.repeat(random_units(3, 8), 2, axis=0)
    found = exact_top_k(vectors, vectors, names(6), 1, np.arange(6))
    assert [row[0][0] for row in ranked(found)] == [bytes(names(6)[n ^ 1]) for n in range(6)]


def test_zero_vector_scores_zero_with_all() -> None:
    vectors, ids, own = quarters(30, 8), names(30), np.arange(30)
    vectors[[0, 7, 29]] = 0
    found = exact_top_k(vectors, vectors, ids, 30, own)
    assert ranked(found) == naive(vectors, vectors, ids, 30, own)
    assert set(found.scores[7][:-1]) == {0.0}


@pytest.mark.parametrize("copies", [EXTRA_CANDIDATES - 1, EXTRA_CANDIDATES, EXTRA_CANDIDATES + 1, 300])
@pytest.mark.parametrize("k", [1, 5, 50])
def test_identical_rows_across_the_edge_of_k_are_taken_in_id_order(copies: int, k: int) -> None:
    # Random rows, so that the product's noise differs from row to row, and one vector many times among them.
    vectors = random_units(400, 64)
    alike = np.random.default_rng(3).permutation(400)[:copies]
    vectors[alike] = vectors[alike[0]]
    ids, query = names(400), vectors[alike[:1]]
    found = exact_top_k(query, vectors, ids, k, np.array([-1]))
    expected = sorted(bytes(ids[n]) for n in alike)[:k]
    assert [i for i, _ in ranked(found)[0]][: len(expected)] == expected
    assert len(set(found.scores[0][: len(expected)])) == 1


def test_two_placeholder_pictures_after_a_nearer_item_keep_their_order() -> None:
    vectors = np.zeros((700, 16), dtype=np.float32)
    vectors[:350, 0] = 1
    vectors[350:, 1] = 1
    vectors[17] = vectors[500] = np.eye(16, dtype=np.float32)[2]
    ids = names(700)
    query = np.zeros((1, 16), dtype=np.float32)
    query[0, :3] = 0.5, 0.5, np.sqrt(0.5)
    for k in (1, 3, 400, 699):
        found = exact_top_k(query, vectors, ids, k, np.array([-1]))
        assert [i for i, _ in ranked(found)[0]] == [i for i, _ in naive(query, vectors, ids, k, [-1])[0]]


@pytest.mark.parametrize("spread", [0, 1e-7, 1e-6, 1e-5])
def test_noise_of_the_matrix_product_decides_nothing(spread: float) -> None:
    # Hundreds of candidates closer together than the product's rounding, as ReLU features have them.
    rng = np.random.default_rng(8)
    crowd = np.abs(random_units(3, 2048))[rng.integers(0, 3, 500)]
    crowd = crowd + spread * rng.normal(size=crowd.shape)
    vectors = (crowd / np.linalg.norm(crowd, axis=1, keepdims=True)).astype(np.float32)
    ids, queries = names(500), vectors[:20]
    every = np.stack([score_query(query, vectors, np.arange(500)) for query in queries])
    for k in (1, 10, 40):
        order = np.argsort(-every, axis=1, kind="stable")[:, :k]
        expected = top_k(ids[order], np.take_along_axis(every, order, axis=1))
        assert_same_bits(exact_top_k(queries, vectors, ids, k, none_own(queries)), expected)


@many
@given(
    rows=st.integers(1, 70),
    dimensions=st.sampled_from([4, 5, 33, 130]),
    k=st.integers(1, 40),
    seed=st.integers(0, 1000),
    exact=st.booleans(),
    data=st.data(),
)
def test_cutting_the_work_changes_no_bit(
    rows: int, dimensions: int, k: int, seed: int, exact: bool, data: st.DataObject
) -> None:
    vectors = (quarters if exact else random_units)(rows, dimensions, seed)
    vectors[:: data.draw(st.integers(2, 9), label="copies")] = vectors[0]
    ids, own = names(rows), np.arange(rows)
    whole = exact_top_k(vectors, vectors, ids, k, own)
    cuts = st.lists(st.integers(0, rows), max_size=4).map(lambda c: sorted({0, rows, *c}))
    query_cuts, candidate_cuts = data.draw(cuts, label="queries"), data.draw(cuts, label="candidates")
    for start, stop in pairwise(query_cuts):
        best = empty_top_k(stop - start, k, ids)
        for low, high in pairwise(candidate_cuts):
            mine = np.arange(start, stop) - low
            mine = np.where((mine >= 0) & (mine < high - low), mine, -1)
            part = exact_top_k(vectors[start:stop], vectors[low:high], ids[low:high], k, mine)
            best = merge_top_k(best, part)
        assert_same_bits(best, whole.take(slice(start, stop)))


def test_more_queries_than_a_block_get_the_same_answers_as_alone() -> None:
    vectors = random_units(QUERY_ROWS + 3, 32)
    ids, own = names(len(vectors)), np.arange(len(vectors))
    whole = exact_top_k(vectors, vectors, ids, 5, own)
    for n in (0, QUERY_ROWS - 1, QUERY_ROWS, QUERY_ROWS + 2):
        alone = exact_top_k(vectors[n : n + 1], vectors, ids, 5, own[n : n + 1])
        assert_same_bits(alone, whole.take(slice(n, n + 1)))


def test_ids_of_different_widths_are_kept_whole() -> None:
    query, short, long = random_units(1, 8), np.array([b"a"]), np.array([b"a-very-long-item-id"])
    parts = [
        exact_top_k(query, random_units(1, 8, seed), ids, 2, np.array([-1])) for seed, ids in ((2, short), (3, long))
    ]
    for merged in (merge_top_k(*parts), merge_top_k(*parts[::-1])):
        assert {i for i, _ in ranked(merged)[0]} == {b"a", b"a-very-long-item-id"}
    padded = merge_top_k(empty_top_k(1, 2, short), parts[1])
    assert ranked(padded)[0][0][0] == b"a-very-long-item-id"


def test_ids_tie_as_utf8_bytes_and_not_as_characters_of_a_language() -> None:
    texts = ["Z", "a", "ab", "aé", "z", "É", "é", "ω", "中", "\ufffd", "😀", "a\tb", "10", "9"]
    ids = np.array(sorted(text.encode() for text in texts))
    vectors = np.tile(np.eye(1, 8, dtype=np.float32), (len(ids), 1))
    whole = exact_top_k(vectors[:1], vectors, ids, len(ids), np.array([-1]))
    assert [i.decode() for i, _ in ranked(whole)[0]] == sorted(texts, key=str.encode)
    best = empty_top_k(1, len(ids), ids)
    for n in (5, 0, 13, *range(1, 5), *range(6, 13)):
        best = merge_top_k(best, exact_top_k(vectors[:1], vectors[n : n + 1], ids[n : n + 1], 1, np.array([-1])))
    assert_same_bits(best, whole)


@many
@given(
    rows=st.integers(1, 60),
    products=st.integers(1, 60),
    k=st.integers(1, 15),
    seed=st.integers(0, 1000),
    cut=st.integers(1, 59),
)
def test_a_product_is_listed_once_by_its_best_variant_however_the_work_is_cut(
    rows: int, products: int, k: int, seed: int, cut: int
) -> None:
    items = with_variants(rows, products, seed)
    expected = naive_variants(items, k)
    assert ranked(exact.exact_top_k(items, items, k)) == expected
    best = empty_top_k(rows, k, items.ids)
    for part in items.chunks(cut):
        best = merge_top_k(best, exact.exact_top_k(items, part, k))
    assert ranked(best) == expected


def test_hundred_variants_of_one_product_in_front_leave_room_for_others() -> None:
    vectors = np.concatenate([np.tile(np.eye(1, 8), (100, 1)), quarters(60, 8)]).astype(np.float32)
    products = np.concatenate([np.zeros(100, dtype=np.int64), np.arange(1, 61)])
    items = ItemVectors(vectors, names(160), products, np.arange(160))
    query = ItemVectors(items.vectors[:1], items.ids[:1], np.array([-1]), np.array([-1]))
    found = ranked(exact.exact_top_k(query, items, 20))[0]
    assert len(found) == 20
    assert found[0] == (b"item-00000", 1.0)
    assert all(item >= b"item-00100" for item, _ in found[1:])


@pytest.mark.parametrize("products", [15, 200])
@pytest.mark.parametrize("copies", [1, 120])
def test_order_of_the_candidates_changes_no_bit(products: int, copies: int) -> None:
    # Copies of one vector fill the edge of k and more, so that the queries are ranked again; quarters tie everywhere.
    items = with_variants(200, products, seed=4)
    items.vectors[:copies] = items.vectors[0]
    shuffled = items.take(np.random.default_rng(2).permutation(200))
    for k in (1, 10, 40):
        assert_same_bits(exact.exact_top_k(items, shuffled, k), exact.exact_top_k(items, items, k))


def apart(vectors: np.ndarray) -> np.ndarray:
    """The same vectors in rows that lie apart, as an Annoy file has them: three values before each."""
    wide = np.full((len(vectors), vectors.shape[1] + 3), np.nan, dtype=np.float32)
    wide[:, 3:] = vectors
    return wide[:, 3:]


@pytest.mark.parametrize("copies", [1, 900])
def test_vectors_that_lie_apart_give_the_same_bits_and_are_not_copied(copies: int) -> None:
    vectors = random_units(8000, 256)
    vectors[:copies] = vectors[0]
    items, queries = items_without_groups(vectors, names(8000)), items_without_groups(vectors[:3], names(3))
    strided = items_without_groups(apart(vectors), names(8000))
    tracemalloc.start()
    found = exact.exact_top_k(queries, strided, 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < vectors.nbytes / 4
    assert_same_bits(found, exact.exact_top_k(queries, items, 10))


def test_forbidden_pair_is_not_found() -> None:
    vectors, ids = quarters(40, 8), names(40)
    items = items_without_groups(vectors, ids)
    allowed = np.random.default_rng(5).random((40, 40)) < 0.3
    found = ranked(exact.exact_top_k(items, items, 40, allowed))
    for row, mine in enumerate(found):
        expected = naive(vectors, vectors, ids, 40, np.arange(40))[row]
        assert mine == [pair for pair in expected if allowed[row, int(pair[0][5:])]]


def test_candidate_below_the_score_of_its_query_is_left_out() -> None:
    vectors, ids = quarters(40, 8), names(40)
    items = items_without_groups(vectors, ids)
    at_least = np.linspace(-1, 1.5, 40, dtype=np.float32)
    found = ranked(exact.exact_top_k(items, items, 40, at_least=at_least))
    for mine, every, least in zip(found, ranked(exact.exact_top_k(items, items, 40)), at_least, strict=True):
        assert mine == [pair for pair in every if pair[1] >= least - exact.SCORE_NOISE]
