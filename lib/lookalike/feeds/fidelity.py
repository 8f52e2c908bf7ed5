"""How many of the nearest items are still found with the vectors that are exported: recall, measured on a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from lookalike.topk.items import Vectors

QUERIES = 256
K = 10

# Cosines that differ by less are those of equal pictures, of which either may be in a list.
_TIE = 1e-5


class Fidelity:
    """The nearest items of some queries, by the vectors of the release and by those that are exported."""

    def __init__(self, places: NDArray[np.int64], queries: Vectors, changed: Callable[[Vectors], Vectors]) -> None:
        self._places, self._queries, self._changed = places, queries, changed
        self._of_queries = _units(changed(queries))
        self._best = np.empty((len(queries), 0), np.float32)  # cosines of the nearest, by the release's vectors
        self._found = np.empty((len(queries), 0, 2), np.float32)  # both cosines of the nearest, by the exported ones
        self._seen = 0

    def measure(self, vectors: Iterable[Vectors]) -> float | None:
        """Return the share of the K nearest of each query that are found; None without another item."""
        for batch in vectors:
            self._add(batch)
        k = min(K, self._seen - 1)
        if k < 1 or not len(self._queries):
            return None
        bound = np.sort(self._best, axis=1)[:, -k] - _TIE
        return float((self._found[:, :, 1] >= bound[:, None]).sum(axis=1).mean() / k)

    def _add(self, batch: Vectors) -> None:
        true = self._queries @ batch.T
        exported = self._of_queries @ _units(self._changed(batch)).T
        own = self._places - self._seen
        rows = np.flatnonzero((own >= 0) & (own < len(batch)))
        true[rows, own[rows]] = exported[rows, own[rows]] = -np.inf
        self._seen += len(batch)
        self._best = -_least(-np.concatenate([self._best, true], axis=1), K)
        both = np.concatenate([self._found, np.stack([exported, true], axis=2)], axis=1)
        nearest = np.argsort(-both[:, :, 0], axis=1, kind="stable")[:, :K]
        self._found = np.take_along_axis(both, nearest[:, :, None], axis=1)


def _least(values: Vectors, count: int) -> Vectors:
    found: Vectors = np.partition(values, count - 1, axis=1)[:, :count] if values.shape[1] > count else values
    return found


def _units(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: Vectors = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return found
