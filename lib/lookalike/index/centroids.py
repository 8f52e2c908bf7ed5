"""The inverted file of a group: its centroids by k-means, and the list of each vector."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lookalike import config
from lookalike.topk import exact
from lookalike.topk.items import Vectors

# Of each list. FAISS asks for 39 at least; with 20, a recall of 0.995 scans 1.07 of the candidates, and training takes
# half as long.
TRAINING_ROWS = 20
TRAINING_ROUNDS = 6  # of k-means: the recall at nprobe 8 is that of 20 rounds to within 0.001
MAX_LISTS = 2048

# A search by lists costs what an exact one costs at about 4,000 candidates, whatever the dimensions: to find the radius
# on a sample compares 512 queries with all candidates.
LISTED_CANDIDATES = 4_096


def lists_of(candidates: int, similar: config.SimilarSettings) -> int:
    """Return how many lists a group of so many candidates gets; 1 where no search by lists is worth its centroids."""
    automatic = similar.plan == "auto" and similar.recall_floor < 1 and candidates >= LISTED_CANDIDATES
    return list_count(candidates) if automatic or similar.plan == "ivf" else 1


def list_count(candidates: int) -> int:
    """How many lists: the square root, so that finding the nearest list costs as much as scanning one."""
    return max(1, min(math.isqrt(candidates), MAX_LISTS))


def training_rows(lists: int, dimensions: int, task_memory: int) -> int:
    """Candidates to train the centroids on: at most half of a task's memory."""
    return min(TRAINING_ROWS * lists, max(lists, task_memory // 2 // (4 * dimensions)))


def train_centroids(sample: Vectors, lists: int, seed: int) -> Vectors:
    """Return `lists` centroids of unit length [lists, d], by spherical k-means over `sample` [n, d], n >= lists.

    Dhillon and Modha, Concept decompositions for large sparse text data (2001): the centroid is the mean, scaled to
    unit length. A list that loses all its members starts again at a member of the sample.
    """
    rng = np.random.default_rng(seed)
    centroids = sample[np.sort(rng.choice(len(sample), lists, replace=False))].copy()
    for _ in range(TRAINING_ROUNDS):
        nearest = nearest_list(sample, centroids)
        members = np.bincount(nearest, minlength=lists)
        # Sums by a matrix product: a fifth of the time of np.add.reduceat over the rows in order.
        centroids = (nearest == np.arange(lists)[:, None]).astype(np.float32) @ sample
        empty = np.flatnonzero(members == 0)
        centroids[empty] = sample[rng.integers(0, len(sample), len(empty))]
        centroids /= np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return centroids


def nearest_list(vectors: Vectors, centroids: Vectors) -> NDArray[np.int64]:
    """Return the list of each vector [n], where two are equally near either."""
    found: NDArray[np.int64] = (vectors @ centroids.T).argmax(axis=1)
    return found


def list_of_each(vectors: Vectors, centroids: Vectors) -> NDArray[np.int64]:
    """Return the list of each vector [n], the same whatever other vectors it is asked for with.

    The last bits of a matrix product depend on its shape, which follows Spark's partitions: where two centroids are
    equally near but for that noise, the pairs are scored again, one by one, and the first of the best is taken.
    """
    cosines = vectors @ centroids.T
    best = cosines.max(axis=1, keepdims=True)
    found: NDArray[np.int64] = cosines.argmax(axis=1)
    near = (cosines >= best - exact.SCORE_NOISE) & (best > 0)  # a vector of zeros is as near to all
    unsure = np.flatnonzero(near.sum(axis=1) > 1)
    row, column = np.nonzero(near[unsure])
    scores = np.full((len(unsure), len(centroids)), -np.inf, dtype=np.float32)
    scores[row, column] = exact.score_pairs(vectors, unsure[row], centroids, column)
    found[unsure] = scores.argmax(axis=1)
    return found
