"""Pairs of one picture: what they connect is what a naive search over all pairs connects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings

from lookalike.index.centroids import nearest_list, train_centroids
from lookalike.index.items import read_items
from lookalike.knn.blocks import pack_tasks
from lookalike.knn.candidates import CandidateSet
from lookalike.knn.duplicate_groups import write_groups
from lookalike.knn.duplicate_pairs import CentroidPlanes, PairSearch, find_pairs, near_lists, spanning_forest
from support.shards import Group, all_items, crowd, names_of

many = settings(max_examples=100, deadline=None, derandomize=True, database=None)

Pairs = list[tuple[int, int]]


def connected(nodes: int, pairs: Pairs) -> list[int]:
    """The smallest node that each node is connected with, one pair after the other."""
    least = list(range(nodes))
    for _ in range(nodes):
        for a, b in pairs:
            least[a] = least[b] = min(least[a], least[b])
    return least


@many
@given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_forest_connects_what_the_pairs_connect_with_fewer_pairs_than_nodes(case: tuple[int, Pairs]) -> None:
    nodes, pairs = case
    a, b = (np.array([pair[side] for pair in pairs], dtype=np.int64) for side in (0, 1))
    left, right = spanning_forest(a, b, nodes)
    found = list(zip(left.tolist(), right.tolist(), strict=True))
    assert connected(nodes, found) == connected(nodes, pairs)
    assert len(found) < nodes


def found_pairs(
    candidates: CandidateSet, sizes: list[int], compared: dict[int, np.ndarray] | None, min_cosine: float
) -> Pairs:
    """What all blocks find together, as rows of `all_items`."""
    names = dict(enumerate(candidates.shards))
    has_lists = candidates.layout.centroids(names[0]).exists()
    lists_of = dict.fromkeys(names, names[0] if has_lists else None)
    search = PairSearch(candidates.layout, names, lists_of, min_cosine, 7, compared)
    place = {item: row for row, item in enumerate(names_of(candidates, all_items(candidates).ids))}
    return [
        (place[pair["a"]], place[pair["b"]])
        for task in pack_tasks([list(enumerate(sizes))], 5, cores=1)
        for block in task
        for batch in find_pairs(block, search)
        for pair in batch.to_pylist()
    ]


def close_pairs(candidates: CandidateSet, min_cosine: float) -> Pairs:
    """All pairs of live items of one value and a cosine, as rows of `all_items`, by the naive product."""
    items = all_items(candidates)
    shards = candidates.group.shards
    last = np.concatenate([shard.group_codes[:, -1] for shard in shards])
    live = np.concatenate([shard.live for shard in shards])
    near = items.vectors.astype(float) @ items.vectors.T.astype(float) >= min_cosine - 1e-6
    near &= (last[:, None] == last) & live[:, None] & live
    return [(int(a), int(b)) for a, b in zip(*np.nonzero(near), strict=True) if a != b]


@pytest.mark.parametrize("lists", [1, 12])
@pytest.mark.parametrize("min_cosine", [0.9, 0.95, 1.0])
def test_items_of_one_value_and_a_cosine_are_connected(tmp_path: Path, min_cosine: float, lists: int) -> None:
    vectors = crowd(60)
    vectors[45:55] = vectors[:10]
    codes = np.stack([np.arange(60), np.arange(60) % 3], axis=1)  # the last level decides
    deleted = np.arange(60) % 7 == 3
    centroids = train_centroids(vectors, lists, 1) if lists > 1 else None
    candidates = replace(Group.of(vectors, codes=codes, deleted=deleted), centroids=centroids).write(tmp_path)
    expected = close_pairs(candidates, min_cosine)
    assert expected
    found = found_pairs(candidates, [30, 30], None, min_cosine)
    assert connected(60, found) == connected(60, expected)
    # Compared with all, some items are connected with all that they were connected with.
    some = {0: np.arange(0, 30, 2), 1: np.array([3, 4, 29])}
    chosen = {*some[0].tolist(), *(30 + some[1]).tolist()}
    found = found_pairs(candidates, [30, 30], some, min_cosine)
    of_chosen = [(a, b) for a, b in expected if chosen & {a, b}]
    assert connected(60, found) == connected(60, of_chosen)


@many
@given(seed=st.integers(0, 10_000), lists=st.integers(2, 30), min_cosine=st.sampled_from([0.5, 0.8, 0.95, 0.999, 1.0]))
def test_list_that_holds_a_duplicate_is_near(seed: int, lists: int, min_cosine: float) -> None:
    """Pairs at the very edge of the cosine, on both sides of the planes between centroids."""
    rng = np.random.default_rng(seed)
    vectors, centroids = crowd(200, seed), crowd(lists, seed + 1)
    if seed % 2:  # centroids that are nearly, or wholly, the same
        centroids[1:] = centroids[:1] + 1e-4 * rng.normal(size=centroids[1:].shape) * rng.integers(0, 2)
    own = nearest_list(vectors, centroids)
    aside = centroids[rng.integers(0, lists, 200)] - centroids[own] + 1e-9 * rng.normal(size=vectors.shape)
    aside -= (aside * vectors).sum(axis=1, keepdims=True) * vectors
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    others = (min_cosine * vectors + np.sqrt(1 - min_cosine**2) * aside).astype(np.float32)
    near = near_lists(vectors, CentroidPlanes.of(centroids), min_cosine)
    assert near[np.arange(200), nearest_list(others, centroids)].all()


def test_lists_that_are_far_are_not_compared() -> None:
    vectors = crowd(2000)
    centroids = train_centroids(vectors, 40, 1)
    assert near_lists(vectors, CentroidPlanes.of(centroids), 0.99).mean() < 0.2


def test_only_the_items_to_compare_are_connected_with_others(tmp_path: Path) -> None:
    vectors = np.repeat(crowd(10), 2, axis=0)  # 0 and 1, 2 and 3, …: one in each shard
    candidates = replace(Group.of(vectors).write(tmp_path), chunk_rows=3)
    found = found_pairs(candidates, [10, 10], {0: np.array([2]), 1: np.array([4])}, 0.999)
    items = names_of(candidates, all_items(candidates).ids)
    connections = {tuple(sorted((items[a][-2:], items[b][-2:]))) for a, b in found}
    assert connections == {("04", "05"), ("08", "09")}


def test_found_groups_are_written_once_and_taken_back(tmp_path: Path) -> None:
    candidates = Group.of(crowd(8), codes=np.arange(16).reshape(8, 2)).write(tmp_path, shards=1)
    layout, name = candidates.layout, candidates.shards[0]
    columns = {"position": pa.int32(), "group": pa.int64(), "represents": pa.list_(pa.bool_())}
    members = pa.table(
        [pa.array(values, kind) for values, kind in zip(MEMBERS, columns.values(), strict=True)], list(columns)
    )
    for _ in range(2):
        write_groups(layout, name, members)
        rows = read_items(layout.items(name))
        assert rows["duplicate_group"].to_pylist() == [None, 5, None, None, None, None, 5, None]
        assert rows["represents"].to_pylist()[1] == [True, True]
        assert rows["represents"].to_pylist()[6] == [False, True]
        assert rows["represents"].null_count == 6
        before = layout.items(name).stat()
    write_groups(layout, name, members)
    assert layout.items(name).stat().st_ino == before.st_ino  # not written again: it may be a link
    write_groups(layout, name, members.slice(0, 0))
    rows = read_items(layout.items(name))
    assert rows["duplicate_group"].null_count == rows["represents"].null_count == 8
    assert layout.items(name).stat().st_ino != before.st_ino


MEMBERS = ([6, 1], [5, 5], [[False, True], [True, True]])
