"""Pairs of one picture: what they connect is what a naive search over all pairs connects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lookalike.index.centroids import train_centroids
from lookalike.index.items import read_items
from lookalike.index.layout import shard_number
from lookalike.knn import duplicate_pairs, sketches
from lookalike.knn.candidates import CandidateSet
from lookalike.knn.duplicate_groups import ShardFiles, write_groups
from lookalike.knn.duplicate_lists import LISTED, DuplicateLists
from lookalike.knn.duplicate_pairs import PairSearch, find_pairs
from lookalike.knn.sketches import CentroidPlanes, Sketcher
from support.shards import Group, all_items, crowd, names_of

Pairs = list[tuple[int, int]]


def connected(nodes: int, pairs: Pairs) -> list[int]:
    """The smallest node that each node is connected with, one pair after the other."""
    least = list(range(nodes))
    for _ in range(nodes):
        for a, b in pairs:
            least[a] = least[b] = min(least[a], least[b])
    return least


def found_pairs(
    candidates: CandidateSet,
    min_cosine: float,
    *,
    lists: int = 1,
    compared: dict[int, np.ndarray] | None = None,
    most_vectors: int = 1000,
) -> Pairs:
    """What all lists find together, a third of them at a time, as rows of `all_items`."""
    items = all_items(candidates)
    sizes = [len(shard.live) for shard in candidates.group.shards]
    numbers = [shard_number(name) for name in candidates.shards]
    names = zip(candidates.shards, sizes, strict=True)
    files = ShardFiles(candidates.layout, dict(zip(numbers, names, strict=True)))
    values = candidates.group.by_rank(lambda shard: shard.group_codes[:, -1])
    listed = np.unique(values) if lists > 1 else np.zeros(0, dtype=np.int64)
    sketcher = Sketcher.of(items.vectors, 1, min_cosine, 1)
    if lists > 1:
        centroids = train_centroids(sketcher.sketches(items.vectors[np.isfinite(items.vectors).all(axis=1)]), lists, 1)
        sketcher = replace(sketcher, planes=CentroidPlanes.of(centroids))
    into = DuplicateLists(files, sketcher, listed, min_cosine, compared is None)
    search = PairSearch(files, min_cosine, into.all_pairs, most_vectors)
    none = np.zeros(0, dtype=np.int64)
    rows = pa.Table.from_batches(
        [batch for number in numbers for batch in into.list_shard(number, (compared or {}).get(number, none))], LISTED
    )
    part = rows["list"].to_numpy() % 3
    place = {item: row for row, item in enumerate(names_of(candidates, items.ids))}
    return [
        (place[pair["a"]], place[pair["b"]])
        for number in range(3)
        for pair in find_pairs(rows.filter(pa.array(part == number)), search).to_pylist()
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
@pytest.mark.parametrize("numbers", [5, 32])
@pytest.mark.parametrize("min_cosine", [0.9, 0.95, 1.0])
def test_items_of_one_value_and_a_cosine_are_connected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, min_cosine: float, numbers: int, lists: int
) -> None:
    """With sketches of few numbers, which let many pairs pass, and of as many as the vectors have."""
    monkeypatch.setattr(sketches, "NUMBERS", numbers)
    monkeypatch.setattr(duplicate_pairs, "PRODUCTS", 40)
    vectors = crowd(60)
    vectors[45:55] = vectors[:10]
    vectors[58], vectors[59] = 0, np.nan
    codes = np.stack([np.arange(60), np.arange(60) % 3], axis=1)  # the last level decides
    deleted = np.arange(60) % 7 == 3
    candidates = Group.of(vectors, codes=codes, deleted=deleted).write(tmp_path)
    expected = close_pairs(candidates, min_cosine)
    assert expected
    found = found_pairs(candidates, min_cosine, lists=lists, most_vectors=5)
    assert connected(60, found) == connected(60, expected)
    # Compared with all, some items are connected with all their duplicates, and no two others that are none.
    some = {0: np.arange(0, 30, 2), 1: np.array([3, 4, 29])}
    chosen = {*some[0].tolist(), *(30 + some[1]).tolist()}
    found = found_pairs(candidates, min_cosine, lists=lists, compared=some)
    of_chosen = [(a, b) for a, b in expected if chosen & {a, b}]
    assert connected(60, found) == connected(60, found + of_chosen)
    assert connected(60, expected) == connected(60, found + expected)


def test_only_the_items_to_compare_are_connected_with_others(tmp_path: Path) -> None:
    vectors = np.repeat(crowd(10), 2, axis=0)  # 0 and 1, 2 and 3, …: one in each shard
    vectors[1::2] += 1e-3 * crowd(10, 2)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    candidates = Group.of(vectors).write(tmp_path)
    found = found_pairs(candidates, 0.999, lists=4, compared={0: np.array([2]), 1: np.array([4])})
    items = names_of(candidates, all_items(candidates).ids)
    connections = {tuple(sorted((items[a][-2:], items[b][-2:]))) for a, b in found}
    assert connections == {("04", "05"), ("08", "09")}


def test_items_of_one_placeholder_are_scored_once_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 300 with the same vector and 300 a little apart, the 180,000 pairs are not all scored."""
    scored: list[int] = []

    def counted(*given: np.ndarray) -> np.ndarray:
        scored.append(len(given[1]))
        return score_pairs(*given)

    score_pairs = duplicate_pairs.score_pairs
    monkeypatch.setattr(duplicate_pairs, "score_pairs", counted)
    monkeypatch.setattr(duplicate_pairs, "SCORED_PAIRS", 500)
    monkeypatch.setattr(duplicate_pairs, "PRODUCTS", 500)
    vectors = np.repeat(crowd(1), 600, axis=0)
    vectors[300:] += 1e-4 * np.random.default_rng(1).normal(size=(300, 24)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    candidates = Group.of(vectors).write(tmp_path)
    assert set(connected(600, found_pairs(candidates, 0.99))) == {0}
    assert sum(scored) < 2000


def test_found_groups_are_written_once_and_taken_back(tmp_path: Path) -> None:
    candidates = Group.of(crowd(8), codes=np.arange(16).reshape(8, 2)).write(tmp_path, shards=1)
    layout, name = candidates.layout, candidates.shards[0]
    columns = {"position": pa.int32(), "group": pa.int64(), "represents": pa.list_(pa.bool_())}
    members = pa.table(
        [pa.array(values, kind) for values, kind in zip(MEMBERS, columns.values(), strict=True)], list(columns)
    )
    for written in (layout.items(name), None):
        assert write_groups(layout, name, members) == written
        rows = read_items(layout.items(name))
        assert rows["duplicate_group"].to_pylist() == [None, 5, None, None, None, None, 5, None]
        assert rows["represents"].to_pylist()[1] == [True, True]
        assert rows["represents"].to_pylist()[6] == [False, True]
        assert rows["represents"].null_count == 6
        before = layout.items(name).stat()
    assert write_groups(layout, name, members) is None
    assert layout.items(name).stat().st_ino == before.st_ino  # not written again: it may be a link
    assert write_groups(layout, name, members.slice(0, 0)) == layout.items(name)
    rows = read_items(layout.items(name))
    assert rows["duplicate_group"].null_count == rows["represents"].null_count == 8
    assert layout.items(name).stat().st_ino != before.st_ino


MEMBERS = ([6, 1], [5, 5], [[False, True], [True, True]])
