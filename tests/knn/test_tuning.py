"""The effort of an approximate search, solved for a recall floor, over shards on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike.index import annoy as annoy_index
from lookalike.index.layout import IndexLayout
from lookalike.knn import ivf, planner, tuning
from lookalike.knn.candidates import CandidateSet, open_shard
from lookalike.knn.tuning import RecallTarget
from lookalike.topk.items import ItemVectors, concatenate_items
from lookalike.topk.table import TopK

NAMES = ("shard-00000", "shard-00001")
PLAN = planner.SearchPlan("partition", 16, 4, 0.0, 0, "")


def crowd(items: int, seed: int = 1) -> np.ndarray:
    """Unit vectors around a few dozen centres, so that a partition has something to find."""
    rng = np.random.default_rng(seed)
    centres = np.abs(rng.normal(size=(40, 24)))
    found = centres[rng.integers(0, 40, items)] + 0.15 * rng.normal(size=(items, 24))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def pool_of(folder: Path, items: np.ndarray, eligible: np.ndarray | None = None) -> CandidateSet:
    """A group of two shards, as the index step leaves it."""
    folders = IndexLayout(folder / "index", folder / "work")
    folders.index.mkdir()
    folders.work.mkdir()
    numbers = np.arange(len(items))
    for shard, name in enumerate(NAMES):
        mine = numbers[numbers % 2 == shard]
        shown = np.ones(len(mine), dtype=bool) if eligible is None else eligible[mine]
        pq.write_table(pa.table({"item_id": [f"item-{n:05d}" for n in mine]}), folders.items(name))
        columns = {"rule_slot": mine, "rule_eligible": shown, "rule_levels": [[7]] * len(mine)}
        pq.write_table(pa.table(columns), folders.rows(name))
        np.save(folders.vectors(name), items[mine])
        annoy_index.build(folders.annoy(name), items[mine], trees=4, seed=1)
    return CandidateSet(folders, NAMES, 300, distinct=False)


def everything(pool: CandidateSet) -> ItemVectors:
    return concatenate_items([open_shard(pool.folders, name).rows for name in NAMES])


def recall(found: TopK, exact: TopK) -> float:
    return float((found.scores >= exact.scores[:, -1:] - 1e-6).mean())


@pytest.mark.parametrize("floor", [0.5, 0.9, 0.99])
def test_partition_reaches_the_floor_on_all_items_with_no_more_lists_than_needed(tmp_path: Path, floor: float) -> None:
    pool = pool_of(tmp_path, crowd(3000))
    tuned = tuning.tune_partition(pool, PLAN, RecallTarget(10, floor, 1), 64 << 20, forced=True)
    assert tuned is not None
    for name in NAMES:
        tuning.write_lists(pool.folders, name, np.load(pool.folders.centroids(NAMES[0])), 300)
    items, whole = everything(pool), tuning.open_partition(pool)
    found = ivf.search(items, whole, tuned.effort, 10)
    exact = pool.exact(items, 10)
    assert recall(found, exact) >= floor
    assert tuned.recall == pytest.approx(recall(found, exact), abs=0.05)
    if tuned.effort > 1:
        fewer = ivf.search(items, whole, 1, 10)
        assert recall(fewer, exact) < recall(found, exact)


def test_partition_that_would_look_everywhere_is_given_up_unless_it_is_forced(tmp_path: Path) -> None:
    noise = np.random.default_rng(3).normal(size=(1000, 24)).astype(np.float32)
    pool = pool_of(tmp_path, noise / np.linalg.norm(noise, axis=1, keepdims=True))
    aim = RecallTarget(10, 0.999, 1)
    assert tuning.tune_partition(pool, PLAN, aim, 64 << 20) is None
    forced = tuning.tune_partition(pool, PLAN, aim, 64 << 20, forced=True)
    assert forced is not None
    assert forced.probes > 8


def test_annoy_is_asked_for_more_until_it_reaches_the_floor(tmp_path: Path) -> None:
    pool = pool_of(tmp_path, crowd(3000))
    low, high = (tuning.tune_annoy(pool, RecallTarget(10, floor, 1)) for floor in (0.1, 1.0))
    assert low.effort == tuning.FIRST_SEARCH_K
    assert high.recall >= low.recall
    found = tuning.search_annoy(everything(pool), pool, round(high.effort), 10)
    assert recall(found, pool.exact(everything(pool), 10)) >= 0.99


def test_who_is_not_eligible_is_asked_for_and_never_found(tmp_path: Path) -> None:
    eligible = np.arange(600) % 3 == 0
    pool = pool_of(tmp_path, crowd(600), eligible)
    items = everything(pool)
    tuned = tuning.tune_partition(pool, PLAN, RecallTarget(5, 0.9, 1), 64 << 20, forced=True)
    assert tuned is not None
    for name in NAMES:
        tuning.write_lists(pool.folders, name, np.load(pool.folders.centroids(NAMES[0])), 300)
    by_lists = ivf.search(items, tuning.open_partition(pool), tuned.effort, 5)
    for found in (by_lists, tuning.search_annoy(items, pool, 10_000, 5), pool.exact(items, 5)):
        numbers = [int(item[5:]) for item in found.ids[np.isfinite(found.scores)]]
        assert numbers
        assert all(eligible[number] for number in numbers)


def test_certainty_grows_with_the_sample() -> None:
    hits, of = np.array([10] * 99 + [0]), np.full(100, 10)
    assert not tuning.reaches(hits, of, RecallTarget(10, 0.985, 1, judges=10**6))  # 0.99, give or take 0.03
    many = np.tile(hits, 1000), np.tile(of, 1000)
    assert tuning.reaches(*many, RecallTarget(10, 0.985, 1, judges=10**6))
    assert not tuning.reaches(*many, RecallTarget(10, 0.985, 1, judges=100))  # a small sample would not show it
    assert tuning.reaches(np.zeros(3), np.zeros(3), RecallTarget(10, 1.0, 1))  # nobody has a neighbour to find


def test_reach_is_the_least_that_meets_the_neighbours_asked_for(tmp_path: Path) -> None:
    pool = pool_of(tmp_path, crowd(1200))
    items = everything(pool)
    centroids = ivf.train(items.vectors, 12, 1)
    exact = pool.exact(items.take(slice(0, 200)), 5)
    at = np.searchsorted(items.ids, exact.ids)
    lists = ivf.nearest_list(items.vectors[at.ravel()], centroids).reshape(at.shape)
    needed = ivf.reach_for(items.vectors[:200], lists, centroids)
    assert needed.min() >= 1
    to_each = ivf.angles(items.vectors[:200], centroids)
    for floor in (0.8, 0.95, 1.0):
        reach, hits = tuning.solve_reach(needed, exact, RecallTarget(5, floor, 1))
        inside = np.take_along_axis(ivf.within(to_each, reach), lists, axis=1)
        assert (inside.sum(axis=1) == hits).all()
        assert tuning.reaches(hits, exact.counts, RecallTarget(5, floor, 1))
        less = (needed < reach).sum(axis=1)
        assert reach == 1 or not tuning.reaches(less, exact.counts, RecallTarget(5, floor, 1))


def test_query_on_a_centroid_looks_into_the_least_lists_and_a_zero_vector_into_all() -> None:
    centroids = np.eye(6, dtype=np.float32)
    centroids[3:, 0] = -1
    queries = np.concatenate([centroids[:1], np.zeros((1, 6), dtype=np.float32)])
    chosen = ivf.within(ivf.angles(queries, centroids), 3.0)
    assert chosen.tolist() == [[True] * 3 + [False] * 3, [True] * 6]
