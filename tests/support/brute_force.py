"""Brute force to compare with: float64, one pair at a time, no code of the library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pyspark.sql import DataFrame

Neighbours = dict[str, list[tuple[str, float]]]

# Cosines in float32 and float64 differ by less; two neighbours nearer than this may change places.
TOLERANCE = 1e-5


def brute_force(vectors: Mapping[str, np.ndarray], groups: Mapping[str, object], k: int) -> Neighbours:
    """Return the k best other items of the same group: score descending, then item id ascending."""
    answer: Neighbours = {}
    for item, vector in vectors.items():
        scores = [
            (other, float(np.dot(vector.astype(np.float64), theirs.astype(np.float64))))
            for other, theirs in vectors.items()
            if other != item and groups[other] == groups[item]
        ]
        answer[item] = sorted(scores, key=lambda pair: (-round(pair[1], 6), pair[0].encode()))[:k]
    return answer


def published(table: DataFrame) -> Neighbours:
    """Return similar_items as a dictionary, by rank; checks that ranks count from 1 without a gap."""
    answer: Neighbours = {}
    for row in table.orderBy("item_id", "rank").collect():
        listed = answer.setdefault(row["item_id"], [])
        assert row["rank"] == len(listed) + 1
        listed.append((row["similar_item_id"], row["score"]))
    return answer


def vectors_of(embeddings: DataFrame) -> dict[str, np.ndarray]:
    """Return published embeddings by item id."""
    rows = embeddings.select("item_id", "embedding").collect()
    return {row["item_id"]: np.array(row["embedding"], dtype=np.float32) for row in rows}


def assert_same_neighbours(found: Neighbours, expected: Neighbours) -> None:
    """Check items, scores, and the order up to ties within TOLERANCE; items without neighbours may be absent."""
    assert set(found) == {item for item, listed in expected.items() if listed}
    for item, listed in found.items():
        wanted = expected[item]
        assert len(listed) == len(wanted), item
        scores = np.array([score for _, score in listed])
        np.testing.assert_allclose(scores, [score for _, score in wanted], atol=TOLERANCE, err_msg=item)
        assert (np.diff(scores) <= 0).all(), item
        _assert_same_up_to_ties([other for other, _ in listed], wanted, item)


def _assert_same_up_to_ties(others: Sequence[str], wanted: Sequence[tuple[str, float]], item: str) -> None:
    edge = wanted[-1][1] + TOLERANCE
    sure = {other for other, score in wanted if score > edge}
    assert sure <= set(others), f"{item} misses {sure - set(others)}"
    assert len(set(others)) == len(others), item
    assert item not in others
