"""Vectors and naive rankings that the tests of the exact search and of the inverted file share."""

from __future__ import annotations

import zlib

import numpy as np

from lookalike.topk.items import ItemVectors
from lookalike.topk.table import TopK

Ranked = list[list[tuple[bytes, float]]]


def names(count: int, prefix: str = "item-") -> np.ndarray:
    """Ascending ids as bytes."""
    return np.array([f"{prefix}{n:05d}".encode() for n in range(count)])


def random_units(rows: int, dimensions: int, seed: int = 1) -> np.ndarray:
    """Random unit vectors: scores without ties."""
    vectors = np.random.default_rng(seed).normal(size=(rows, dimensions))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def quarters(rows: int, dimensions: int, seed: int = 1) -> np.ndarray:
    """Unit vectors of four entries +-1/2: every cosine is a multiple of 1/4, exact in float32, and ties abound."""
    rng = np.random.default_rng(seed)
    vectors = np.zeros((rows, dimensions), dtype=np.float32)
    for row in vectors:
        row[rng.choice(dimensions, 4, replace=False)] = rng.choice([-0.5, 0.5], 4)
    return vectors


def codes_of(ids: np.ndarray) -> np.ndarray:
    """A code of its own for each id, in the same shape."""
    return np.vectorize(zlib.crc32, otypes=[np.int64])(ids) if ids.size else np.zeros(ids.shape, dtype=np.int64)


def top_k(ids: np.ndarray, scores: np.ndarray) -> TopK:
    """A table of candidates without variants and duplicates."""
    codes = codes_of(ids)
    return TopK(ids, scores, codes, codes.copy())


def naive(queries: np.ndarray, candidates: np.ndarray, ids: np.ndarray, k: int, own: np.ndarray) -> Ranked:
    """One pair at a time in float64; score descending, then id ascending as bytes."""
    answer = []
    for query, mine in zip(queries.astype(np.float64), own, strict=True):
        scored = [
            (bytes(ids[at]), float(np.dot(query, candidate)))
            for at, candidate in enumerate(candidates.astype(np.float64))
            if at != mine
        ]
        answer.append(sorted(scored, key=lambda pair: (-pair[1], pair[0]))[:k])
    return answer


def ranked(found: TopK) -> Ranked:
    """The table in the form of the naive loop; checks that scores descend, so that empty places come last."""
    assert (found.scores[:, :-1] >= found.scores[:, 1:]).all()
    return [
        [(bytes(i), float(s)) for i, s in zip(ids, scores, strict=True) if s > -np.inf]
        for ids, scores in zip(found.ids, found.scores, strict=True)
    ]


def assert_same_bits(left: TopK, right: TopK) -> None:
    np.testing.assert_array_equal(left.scores, right.scores)
    assert ranked(left) == ranked(right)


def with_variants(rows: int, products: int, seed: int) -> ItemVectors:
    """Items of a few products, with ties: variants share a variant group, and there are no duplicates."""
    codes = np.random.default_rng(seed).integers(0, products, rows)
    return ItemVectors(quarters(rows, 8, seed), names(rows), codes, np.arange(rows))


def naive_variants(items: ItemVectors, k: int) -> Ranked:
    """The best of each other product, by the naive loop."""
    answer = []
    for own, product in enumerate(items.variant_groups):
        best: dict[int, tuple[float, bytes]] = {}
        for at, other in enumerate(items.variant_groups):
            key = (-float(np.dot(items.vectors[own].astype(float), items.vectors[at])), bytes(items.ids[at]))
            if other != product and (other not in best or key < best[other]):
                best[other] = key
        answer.append([(item, -score) for score, item in sorted(best.values())[:k]])
    return answer
