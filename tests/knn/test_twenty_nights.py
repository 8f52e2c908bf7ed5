"""Twenty nights of 3 % in the lists of an inverted file: the recall of all items stays above the floor."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lookalike import config
from lookalike.index.centroids import train_centroids
from lookalike.knn import tuning
from lookalike.knn.tuning import RecallTarget
from support.nightly_index import Item, NightlyIndex, Rows
from support.shards import Group, crowd

ITEMS, LISTS, K, NIGHTS = 2400, 48, 10, 20

RULES = config.SimilarSettings(k=K, spare=0, recall_floor=0.98)


def recall(rows: Rows, items: dict[str, Item]) -> float:
    """Of all items; a neighbour as near as the k-th is as good as the k-th."""
    ids = sorted(items)
    vectors = np.stack([items[item].vector for item in ids])
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -2)
    last = np.partition(cosines, -K, axis=1)[:, -K]
    scores = np.array([rows[item]["published_scores"] for item in ids])
    return float((scores >= last[:, None] - 1e-6).mean())


def tuned_radius(folder: Path, vectors: np.ndarray) -> float:
    """The radius for the floor, found on a sample of the first night's items."""
    candidates = Group.of(vectors, centroids=train_centroids(vectors, LISTS, 1)).write(folder)
    target = RecallTarget(K, RULES.recall_floor, 1)
    tuned = tuning.tune_ivf(candidates, target, forced=True)
    assert tuned is not None
    assert tuned.radius is not None
    return tuned.radius


def test_recall_of_all_items_stays_above_the_floor_for_twenty_nights(tmp_path: Path) -> None:
    """A third of what changes is new, a third another picture, a third leaves; the group is built again at times."""
    rng, vectors = np.random.default_rng(3), crowd(3 * ITEMS)
    (tmp_path / "first").mkdir()
    radius = tuned_radius(tmp_path / "first", vectors[:ITEMS])
    index = NightlyIndex(tmp_path / "nights", RULES, LISTS, {"kind": "ivf", "radius": radius}, block_rows=700)
    rows = index.run({f"item-{row:05d}": Item(vectors[row], row) for row in range(ITEMS)})
    assert recall(rows, index.items) >= RULES.recall_floor
    deltas, rebuilt, searched = 0, 0, 0
    for night in range(1, NIGHTS + 1):
        some = [str(item) for item in rng.permutation(sorted(index.items))]
        few = round(0.01 * len(some))
        fresh = ITEMS + 2 * few * night
        came = {f"item-{fresh + row:05d}": Item(vectors[fresh + row], fresh + row) for row in range(few)}
        came |= {item: Item(vectors[fresh + few + row], int(item[5:])) for row, item in enumerate(some[:few])}
        rows = index.run(came, set(some[few : 2 * few]))
        assert rows.keys() == index.items.keys()
        assert recall(rows, index.items) >= RULES.recall_floor
        rebuilt += index.rebuilt
        if not index.rebuilt:
            deltas = max(deltas, sum(shard.delta for shard in index.shards.values()))
            searched += sum(row["searched"] for row in rows.values()) - len(came)
    assert 2 <= rebuilt <= 6
    assert 1 <= deltas <= 3
    assert searched < 0.01 * ITEMS * NIGHTS  # of what did not change itself
