"""Sketches of unit vectors, 32 numbers each, and lists of them: which pairs may be of a cosine.

A sketch is a projection on the main directions of a sample, and the length of what that leaves. By the inequality of
Cauchy and Schwarz the product of two sketches is at least the cosine of their vectors. So sketches lose no pair of a
cosine or more; of pairs of photos they let 0.0016 pass at 0.99, where 0.0001 are of that cosine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookalike.index.centroids import train_centroids
from lookalike.topk.exact import SCORE_NOISE
from lookalike.topk.items import Vectors

# With 64, 0.0010 of the pairs pass, and a sketch is twice as large.
NUMBERS = 32

# What the roundings of a sketch can take from a product, many times over.
SKETCH_NOISE = 1e-4

# Vectors that the directions are found from: 2,048 give no better ones. It takes 0.05 s.
DIRECTION_ROWS = 512

# Of each list; with 20, lists hold 0.8 of the pairs.
SAMPLE_ROWS = 4
MAX_LISTS = 1024

# Of an item in a list, which Spark moves and sorts, and of a pair of sketches that are compared.
ROW_SECONDS = 2e-6
PAIR_SECONDS = 2e-9

# Items below which all are one list: 4,096 sketches are compared in 0.02 s.
LISTED_ITEMS = 4_096


def list_count(items: int) -> int:
    """How many lists so many items are put into."""
    return min(math.isqrt(items), MAX_LISTS) if items >= LISTED_ITEMS else 1


def sample_rows(items: int) -> int:
    """How many vectors to draw of so many items."""
    return min(items, max(DIRECTION_ROWS, SAMPLE_ROWS * list_count(items)))


@dataclass(frozen=True)
class CentroidPlanes:
    """The centroids of lists, and how far they are apart [lists, lists]: the planes between them bound the lists."""

    centroids: Vectors
    apart: Vectors

    @classmethod
    def of(cls, centroids: Vectors) -> CentroidPlanes:
        """Measure how far they are apart, in float64: many may be nearly the same."""
        exact = centroids.astype(np.float64)
        squares = (exact**2).sum(axis=1)
        apart = np.sqrt(np.maximum(squares[:, None] + squares - 2 * exact @ exact.T, 0))
        return cls(centroids, apart.astype(np.float32))

    def near_lists(self, sketches: Vectors, min_cosine: float) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the list of each sketch [n], and which lists may hold one of this cosine or more with it [n, lists].

        The items of a list are on its side of the plane between its centroid and any other. A vector that is farther
        from that plane than two vectors of this cosine are from each other has none there. So nothing is missed.
        """
        cosines = sketches @ self.centroids.T
        own = cosines.argmax(axis=1)
        chord = np.float32(np.sqrt(2 - 2 * (min_cosine - SKETCH_NOISE)))
        least = cosines.max(axis=1, keepdims=True) - chord * self.apart[own] - np.float32(SCORE_NOISE)
        return own, cosines >= least


@dataclass(frozen=True)
class Sketcher:
    """How sketches are made, and their lists: `directions` are orthonormal [m, d].

    An item is expected in `rows` lists when all pairs are wanted.
    """

    directions: Vectors
    planes: CentroidPlanes
    rows: float

    @classmethod
    def of(cls, sample: Vectors, items: int, min_cosine: float, seed: int) -> Sketcher:
        """Find the main directions of a sample [n, d], and lists for so many items of a value."""
        sample = sample[np.isfinite(sample).all(axis=1)]
        sample = sample if len(sample) else np.zeros((1, sample.shape[1]), dtype=np.float32)
        directions = _main_directions(sample[:: max(1, len(sample) // DIRECTION_ROWS)])
        sketches, lists = _sketches(sample, directions), min(list_count(items), len(sample))
        # The farther apart duplicates may be, the more lists an item is in: then fewer lists cost less.
        tried = [_Lists.of(sketches, lists >> halved, min_cosine, seed) for halved in range(lists.bit_length())]
        best = min(tried, key=lambda one: one.seconds(items))
        return cls(directions, best.planes, best.rows)

    def near_lists(self, sketches: Vectors, min_cosine: float) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the list of each sketch, and which lists may hold a duplicate of it, see CentroidPlanes."""
        return self.planes.near_lists(sketches, min_cosine)

    def sketches(self, vectors: Vectors) -> Vectors:
        """Return the sketches of unit vectors, float32 [n, m + 1]."""
        return _sketches(vectors, self.directions)


@dataclass(frozen=True)
class _Lists:
    """Some lists, how many an item is in, and the share of all items that it is compared with."""

    planes: CentroidPlanes
    rows: float
    share: float

    @classmethod
    def of(cls, sketches: Vectors, lists: int, min_cosine: float, seed: int) -> _Lists:
        planes = CentroidPlanes.of(train_centroids(sketches, lists, seed))
        own, near = planes.near_lists(sketches, min_cosine)
        sizes = np.bincount(own, minlength=lists) / len(sketches)
        return cls(planes, float(near.sum(axis=1).mean() + 1) / 2, float((near @ sizes).mean()) / 2)

    def seconds(self, items: int) -> float:
        """Seconds of an item."""
        return self.rows * ROW_SECONDS + self.share * items * PAIR_SECONDS


def _main_directions(sample: Vectors) -> Vectors:
    rows = sample.astype(np.float64)
    of_rows = np.linalg.eigh(rows @ rows.T)[1][:, ::-1][:, : NUMBERS - 1]
    directions: Vectors = np.linalg.qr(rows.T @ of_rows)[0].T.astype(np.float32)
    return directions


def _sketches(vectors: Vectors, directions: Vectors) -> Vectors:
    projected = vectors @ directions.T
    left = np.maximum(1 - np.einsum("nm,nm->n", projected, projected), 0)
    # A little more than is left: the root makes 1e-3 of a rounding of 1e-6.
    rest = np.sqrt(left + np.float32(SKETCH_NOISE / 10))
    found: Vectors = np.concatenate([projected, rest[:, None]], axis=1)
    return found
