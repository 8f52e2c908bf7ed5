"""Pairs of one picture: what they connect is what a naive search over all pairs connects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from lookalike.knn.blocks import pack_tasks
from lookalike.knn.candidates import CandidateSet
from lookalike.knn.duplicate_pairs import PairSearch, find_pairs, spanning_forest
from support.shards import Group, all_items, crowd

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


def found_pairs(candidates: CandidateSet, sizes: list[int], compared: np.ndarray | None, min_cosine: float) -> Pairs:
    """What all blocks find together, as rows of `all_items`."""
    names = dict(enumerate(candidates.shards))
    search = PairSearch(candidates.layout, names, min_cosine, 7, compared)
    place = {item: row for row, item in enumerate(all_items(candidates).ids.astype(str))}
    return [
        (place[pair["a"]], place[pair["b"]])
        for task in pack_tasks([list(enumerate(sizes))], 5, cores=1)
        for block in task
        for batch in find_pairs(block, search)
        for pair in batch.to_pylist()
    ]


@pytest.mark.parametrize("min_cosine", [0.9, 0.95, 1.0])
def test_items_of_one_value_and_a_cosine_are_connected(tmp_path: Path, min_cosine: float) -> None:
    vectors = crowd(60)
    vectors[40:50] = vectors[:10]
    codes = np.stack([np.arange(60), np.arange(60) % 3], axis=1)  # the last level decides
    candidates = Group.of(vectors, codes=codes).write(tmp_path)
    items = all_items(candidates)
    last = np.concatenate([codes[0::2, -1], codes[1::2, -1]])
    near = (items.vectors.astype(float) @ items.vectors.T.astype(float) >= min_cosine - 1e-6) & (last[:, None] == last)
    expected = [(a, b) for a, b in zip(*np.nonzero(near), strict=True) if a != b]
    assert min_cosine == 1 or expected
    found = found_pairs(candidates, [30, 30], None, min_cosine)
    assert connected(60, found) == connected(60, [(int(a), int(b)) for a, b in expected])


def test_only_the_items_to_compare_are_connected_with_others(tmp_path: Path) -> None:
    vectors = np.repeat(crowd(10), 2, axis=0)  # 0 and 1, 2 and 3, …: one in each shard
    candidates = replace(Group.of(vectors).write(tmp_path), chunk_rows=3)
    found = found_pairs(candidates, [10, 10], np.array([b"item-0-00004", b"item-0-00009"]), 0.999)
    items = all_items(candidates).ids.astype(str)
    connections = {tuple(sorted((items[a][-2:], items[b][-2:]))) for a, b in found}
    assert connections == {("04", "05"), ("08", "09")}
