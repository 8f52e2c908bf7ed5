"""How far an approximate search looks, solved for a recall, over shards on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lookalike.index.centroids import nearest_list, train_centroids
from lookalike.knn import annoy_search, ivf, planner, tuning
from lookalike.knn.candidates import CandidateSet
from lookalike.knn.shard_items import read_shard
from lookalike.knn.tuning import RecallTarget, TrueNeighbours, TunedSearch
from lookalike.quality import confidence
from lookalike.quality.confidence import SampleCounts
from lookalike.topk.items import ItemVectors, concatenate_items
from lookalike.topk.table import TopK
from support.shards import Group, all_items, crowd, names_of

LISTS = 16


def in_lists(vectors: np.ndarray, **columns: np.ndarray) -> Group:
    """A group with the centroids of all its items."""
    return Group.of(vectors, centroids=train_centroids(vectors, LISTS, 1), **columns)


def recall(found: TopK, right: TopK) -> float:
    return float((found.scores >= right.scores[:, -1:] - 1e-6).mean())


def search_lists(queries: ItemVectors, candidates: CandidateSet, radius: float) -> TopK:
    """The search in the lists of a tuned group."""
    inverted_file = ivf.open_inverted_file(candidates)
    probed = ivf.lists_within(ivf.angles(queries.vectors, inverted_file.centroids), radius)
    return ivf.search(queries, probed, inverted_file, 10).top


def tuned_ivf(candidates: CandidateSet, target: RecallTarget) -> TunedSearch:
    tuned = tuning.tune_ivf(candidates, target, forced=True)
    assert tuned is not None
    assert tuned.search_k is None
    return tuned


@pytest.mark.parametrize("floor", [0.5, 0.9, 0.99])
def test_ivf_reaches_the_floor_on_all_items_with_no_more_lists_than_needed(tmp_path: Path, floor: float) -> None:
    candidates = in_lists(crowd(3000)).write(tmp_path)
    tuned = tuned_ivf(candidates, RecallTarget(10, floor, 1))
    items, right = all_items(candidates), candidates.exact_top_k(all_items(candidates), 10)
    assert tuned.radius is not None
    found = search_lists(items, candidates, tuned.radius)
    assert recall(found, right) >= floor
    assert tuned.recall == pytest.approx(recall(found, right), abs=0.05)
    if tuned.radius > 1:
        assert recall(search_lists(items, candidates, 1), right) < recall(found, right)


def test_ivf_that_would_scan_nearly_all_is_given_up_unless_it_is_forced(tmp_path: Path) -> None:
    noise = np.random.default_rng(3).normal(size=(1000, 24)).astype(np.float32)
    candidates = in_lists(noise / np.linalg.norm(noise, axis=1, keepdims=True)).write(tmp_path)
    target = RecallTarget(10, 0.999, 1)
    assert tuning.tune_ivf(candidates, target) is None
    nprobe = tuned_ivf(candidates, target).nprobe
    assert nprobe is not None
    assert nprobe > 8


def test_search_k_of_annoy_grows_until_it_reaches_the_floor(tmp_path: Path) -> None:
    candidates = Group.of(crowd(3000)).write(tmp_path)
    low, high = (tuning.tune_annoy(candidates, RecallTarget(10, floor, 1)) for floor in (0.1, 1.0))
    assert low.search_k == tuning.FIRST_SEARCH_K
    assert high.search_k is not None
    assert high.recall >= low.recall
    items = all_items(candidates)
    found = annoy_search.search(items, candidates, high.search_k, 10).top
    assert recall(found, candidates.exact_top_k(items, 10)) >= 0.99


def test_item_that_is_not_eligible_has_neighbours_and_is_nobodys(tmp_path: Path) -> None:
    eligible = np.arange(600) % 3 == 0
    candidates = in_lists(crowd(600), eligible=eligible).write(tmp_path)
    items = all_items(candidates)
    radius = tuned_ivf(candidates, RecallTarget(5, 0.9, 1)).radius
    assert radius is not None
    by_lists = search_lists(items, candidates, radius)
    for found in (by_lists, annoy_search.search(items, candidates, 10_000, 5).top, candidates.exact_top_k(items, 5)):
        rows = [int(name[-5:]) for name in names_of(candidates, found.ids[np.isfinite(found.scores)])]
        assert rows
        assert all(eligible[row] for row in rows)
        assert (found.counts > 0).all()


@pytest.mark.parametrize("products", [400, 3000])
def test_neighbours_in_shards_together_are_those_in_the_group(tmp_path: Path, products: int) -> None:
    """Drawn and found shard by shard, by item ids, as the tasks of a large group do it."""
    variants = np.arange(3000) % products
    deleted = np.arange(3000) % 11 == 0
    candidates = in_lists(crowd(3000), variants=variants, deleted=deleted).write(tmp_path, shards=5)
    shards = [read_shard(candidates.layout, name) for name in candidates.shards]
    drawn = tuning.draw([int(shard.live.sum()) for shard in shards], 1)
    parts = [shard.items.take(tuning.drawn_rows(shard, some)) for shard, some in zip(shards, drawn, strict=True)]
    queries, distinct = concatenate_items(parts), candidates.distinct
    found = [TrueNeighbours.in_shard(shard, queries, 10, 100, distinct=distinct) for shard in shards]
    together = TrueNeighbours.merged(found, distinct=distinct)
    centroids = ivf.load_centroids(candidates)
    target = RecallTarget(10, 0.95, 1)
    tuned = tuning.tune_radius(queries.vectors, together, centroids, target, forced=True)
    assert tuned == tuned_ivf(candidates, target)
    of_group = candidates.exact_top_k(tuning._sample(candidates, 1), 10)
    assert (together.top.ids == candidates.group.ids[of_group.ids]).all()
    assert (together.top.scores == of_group.scores).all()


def test_certainty_grows_with_the_sample() -> None:
    hits, of = np.array([10] * 99 + [0]), np.full(100, 10)
    effect = tuning.design_effect(hits, of)
    target = RecallTarget(10, 0.985, 1, gate_sample=10**6)
    assert not tuning.reaches_floor(hits, of, target, effect)  # 0.99, give or take 0.03
    many = np.tile(hits, 1000), np.tile(of, 1000)
    assert tuning.reaches_floor(*many, target, effect)
    few = RecallTarget(10, 0.985, 1, gate_sample=100)  # too few to show it
    assert not tuning.reaches_floor(*many, few, effect)


def test_items_without_neighbours_reach_any_floor() -> None:
    assert tuning.reaches_floor(np.zeros(3), np.zeros(3), RecallTarget(10, 1.0, 1), 1.0)


def test_only_a_sample_without_a_miss_reaches_a_floor_of_one() -> None:
    of, target = np.full(100, 10), RecallTarget(10, 1.0, 1)
    assert tuning.reaches_floor(of, of, target, 1.0)
    assert not tuning.reaches_floor(np.array([10] * 99 + [9]), of, target, 1.0)


@pytest.mark.parametrize("share", [0.01, 0.5])
def test_design_effect_is_that_of_misses_that_come_together(share: float) -> None:
    rng, of = np.random.default_rng(1), np.full(20_000, 10)
    apart = rng.binomial(10, 1 - share, size=len(of))
    assert tuning.design_effect(apart, of) == pytest.approx(1, abs=0.03)
    together = 10 * rng.binomial(1, 1 - share, size=len(of))
    assert tuning.design_effect(together, of) == pytest.approx(10, rel=0.03)
    assert tuning.design_effect(of, of) == 1


def recall_low(hits: np.ndarray, k: int, items: int) -> float:
    """The lower end of the gate's interval, for a sample of so many items."""
    drawn = np.full(len(hits), k), np.zeros(len(hits), dtype=int), np.full(len(hits), items / len(hits))
    return confidence.interval_of(SampleCounts(hits, *drawn)).low


@pytest.mark.parametrize("correlation", [0.2, 0.4, 0.6])
def test_tuned_radius_passes_the_gate_whatever_samples_both_draw(correlation: float) -> None:
    """Items have neighbours that are all harder to find, or all easier: so misses come together."""
    rng, items, k, floor = np.random.default_rng(1), 20_000, 20, 0.99
    of_item, of_pair = rng.normal(size=(items, 1)), rng.normal(size=(items, k))
    hard = np.sqrt(correlation) * of_item + np.sqrt(1 - correlation) * of_pair
    needed = np.maximum(1, 0.9 + 0.1 * hard).astype(np.float32)
    target, passed = RecallTarget(k, floor, 1, gate_sample=256), []
    none = np.zeros((planner.TUNING_QUERIES, k), dtype=np.int64)
    right = TopK(none, none.astype(np.float32), none, none)
    for _ in range(100):
        radius, _ = tuning.solve_radius(needed[rng.choice(items, len(none), replace=False)], right, target)
        samples = (needed[rng.choice(items, target.gate_sample, replace=False)] for _ in range(5))
        passed += [recall_low((sample <= radius).sum(axis=1), k, items) >= floor for sample in samples]
    assert np.mean(passed) >= 0.98


def test_radius_is_the_smallest_that_finds_the_neighbours_asked_for(tmp_path: Path) -> None:
    candidates = Group.of(crowd(1200)).write(tmp_path, shards=1)
    items = all_items(candidates)
    centroids = train_centroids(items.vectors, 12, 1)
    right = candidates.exact_top_k(items.take(slice(0, 200)), 5)
    at = np.argsort(items.ids)[right.ids]
    lists = nearest_list(items.vectors[at.ravel()], centroids).reshape(at.shape)
    needed = ivf.radius_needed(items.vectors[:200], lists, centroids)
    assert needed.min() >= 1
    to_each = ivf.angles(items.vectors[:200], centroids)
    for floor in (0.8, 0.95, 1.0):
        target = RecallTarget(5, floor, 1)
        radius, hits = tuning.solve_radius(needed, right, target)
        inside = np.take_along_axis(ivf.lists_within(to_each, radius), lists, axis=1)
        assert (inside.sum(axis=1) == hits).all()
        at_floor = (needed <= np.quantile(needed, floor, method="inverted_cdf")).sum(axis=1)
        effect = tuning.design_effect(at_floor, right.counts)
        assert tuning.reaches_floor(hits, right.counts, target, effect) or radius == needed.max()
        fewer = (needed < radius).sum(axis=1)
        assert radius == 1 or not tuning.reaches_floor(fewer, right.counts, target, effect)
