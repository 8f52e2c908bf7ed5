"""The list of an item: the same in whatever block of items it is asked for."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike.index.centroids import list_of_each, nearest_list


@pytest.mark.parametrize("rows", [1, 3, 7, 64])
def test_list_is_the_first_of_the_nearest_centroids_whatever_the_block(rows: int) -> None:
    """Equal centroids, which the noise of a matrix product tells apart; and a vector of zeros, which is near to all."""
    vectors = np.random.default_rng(5).normal(size=(64, 2048)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[-1] = 0
    centroids = np.concatenate([vectors[:13], vectors[:13], vectors[:3]])
    expected = nearest_list(vectors, vectors[:13])
    found = [list_of_each(vectors[start : start + rows], centroids) for start in range(0, 64, rows)]
    np.testing.assert_array_equal(np.concatenate(found), expected)
