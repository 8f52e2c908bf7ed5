"""What is told of the lists that the site holds, against loops over them."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike.browse.lists import Lists


def lists_of(pairs: list[tuple[int, int, float]], items: int) -> Lists:
    starts = np.searchsorted([of for of, _, _ in pairs], np.arange(items + 1))
    others, scores = (np.array([pair[at] for pair in pairs]) for at in (1, 2))
    return Lists(starts, others.astype(np.int32), scores.astype(np.float32))


def tied(pairs: list[tuple[int, int, float]], items: int, least: float) -> set[frozenset[int]]:
    groups = [{item} for item in range(items)]
    for of, other, score in pairs:
        if np.float32(score) >= np.float32(least) and groups[of] is not groups[other]:
            groups[of] |= groups[other]
            for item in groups[other]:
                groups[item] = groups[of]
    return {frozenset(group) for group in groups if len(group) > 1}


@pytest.mark.parametrize("seed", range(5))
def test_clusters_are_the_items_tied_by_close_neighbours(seed: int) -> None:
    random, items = np.random.default_rng(seed), 60
    pairs = sorted({(int(of), int(other)) for of, other in random.integers(0, items, (90, 2)) if of != other})
    scored = [(of, other, float(random.choice([0.5, 0.98, 0.99, 1.0]))) for of, other in pairs]
    found = lists_of(scored, items).clusters(0.99)
    assert {frozenset(map(int, cluster)) for cluster in found} == tied(scored, items, 0.99)
    assert sum(map(len, found)) == len(set(np.concatenate(found).tolist()))
    assert all(list(cluster) == sorted(cluster) for cluster in found)


def test_lists_without_a_close_neighbour_have_no_cluster() -> None:
    assert lists_of([(0, 1, 0.5)], 2).clusters(0.99) == []
    assert lists_of([], 2).clusters(0.99) == []
    assert lists_of([], 0).clusters(0.99) == []
