"""A task of the neighbour search: lists searched, filled up from fallback levels, and updated in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike import config
from lookalike.index.centroids import train_centroids
from lookalike.knn import ivf_files
from lookalike.knn.blocks import pack_tasks
from lookalike.knn.candidates import CandidateSet
from lookalike.knn.search_job import SearchJob, ShardSearch, margin
from lookalike.knn.task import find_neighbours
from support.shards import Group, all_items, crowd

Rows = dict[str, dict[str, Any]]  # of schemas.NEIGHBOURS, by item_id


def run(groups: Sequence[CandidateSet], job: SearchJob, sizes: Sequence[Sequence[int]]) -> Rows:
    """The lists of all items of the groups; the numbers of the shards are those in their names."""
    numbers = iter(range(1000))
    tasks = pack_tasks([[(next(numbers), size) for size in group] for group in sizes], 16, cores=1)
    batches = [batch for task in tasks for batch in find_neighbours(task, job)]
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert len({row["item_id"] for row in rows}) == len(rows) == sum(map(sum, sizes))
    return {row["item_id"]: row for row in rows}


def job_of(groups: Sequence[CandidateSet], search: dict[str, Any] | None = None, **similar: Any) -> SearchJob:
    """The search of all groups by one plan; exact if none is given."""
    searches = {
        int(name[-5:]): ShardSearch(**{"kind": "exact", **(search or {})}, shards=tuple(group.shards))
        for group in groups
        for name in group.shards
    }
    return SearchJob(groups[0].layout, config.SimilarSettings(**similar), searches, (), None)


def best(candidates: CandidateSet, k: int) -> dict[str, list[str]]:
    """The k nearest of each item, by one search of all."""
    items = all_items(candidates)
    found = candidates.exact_top_k(items, k)
    return {
        item.decode(): [other.decode() for other, score in zip(*row, strict=True) if np.isfinite(score)]
        for item, *row in zip(items.ids, found.ids, found.scores, strict=True)
    }


def test_lists_hold_what_is_published_and_a_margin(tmp_path: Path) -> None:
    group = Group.of(crowd(60)).write(tmp_path)
    job = job_of([group], k=4, spare=2)
    rows = run([group], job, [[30, 30]])
    assert job.kept == 6 + margin(job.similar) == 16
    assert {item: row["neighbour_ids"] for item, row in rows.items()} == best(group, 16)
    for row in rows.values():
        assert row["scores"] == sorted(row["scores"], reverse=True)
        assert (row["complete"], row["from_fallback"], row["searched"]) == (False, False, True)


def test_list_with_every_candidate_of_the_group_is_complete(tmp_path: Path) -> None:
    group = Group.of(crowd(9)).write(tmp_path)
    rows = run([group], job_of([group], k=4), [[5, 4]])
    assert {(len(row["neighbour_ids"]), row["complete"]) for row in rows.values()} == {(8, True)}


def write_inverted_file(group: CandidateSet, vectors: np.ndarray) -> None:
    centroids = train_centroids(vectors, 20, 1)
    ivf_files.write_centroids(group, centroids)
    for name in group.shards:
        ivf_files.write_lists(group.layout, name, centroids, 64)


@pytest.mark.parametrize("kind", ["ivf", "annoy"])
def test_item_for_which_an_approximate_search_finds_too_few_is_searched_exactly(tmp_path: Path, kind: str) -> None:
    """Ten eligible items in one corner: the lists nearest to most queries hold none of them."""
    vectors = crowd(400)
    corner = np.argsort(-vectors @ vectors[0], kind="stable")[:10]
    group = Group.of(vectors, eligible=np.isin(np.arange(400), corner)).write(tmp_path)
    write_inverted_file(group, vectors)
    job = job_of([group], {"kind": kind, "radius": 1.0, "search_k": 1}, k=10)
    found = run([group], job, [[200, 200]])
    assert {item: row["neighbour_ids"] for item, row in found.items()} == best(group, 10)
    assert not any(row["complete"] for row in found.values())


def test_short_lists_are_filled_up_from_the_fallback_level(tmp_path: Path) -> None:
    """Two groups of one department: three items have too few of their own, forty have enough."""
    vectors = crowd(43)
    small = Group.of(vectors[:3], codes=np.tile([1, 9], (3, 1))).write(tmp_path, shards=1)
    large = Group.of(vectors[3:], codes=np.tile([2, 9], (40, 1))).write(tmp_path, shards=1, first=1)
    job = replace(
        job_of([small, large], k=5, group_by="kind", group_fallback=("dept",)),
        fallback_shards=({9: ("shard-00000", "shard-00001")},),
    )
    rows = run([small, large], job, [[3], [40]])
    of_large = best(large, job.kept)
    for item, row in rows.items():
        if item.startswith("item-1"):
            assert (row["neighbour_ids"], row["from_fallback"]) == (of_large[item], False)
        else:
            assert row["from_fallback"]
            assert not row["complete"]
            own = [other for other in row["neighbour_ids"] if other.startswith("item-0")]
            assert (len(own), len(row["neighbour_ids"])) == (2, 5)
            assert row["scores"] == sorted(row["scores"], reverse=True)


def test_lists_that_min_score_cuts_are_filled_up_from_the_fallback_level(tmp_path: Path) -> None:
    """The nearest of its own group, then the nearest of the department, none below min_score."""
    vectors = crowd(46)
    small = Group.of(vectors[:6], codes=np.tile([1, 9], (6, 1))).write(tmp_path, shards=1)
    large = Group.of(vectors[6:], codes=np.tile([2, 9], (40, 1))).write(tmp_path, shards=1, first=1)
    everyone = replace(small, shards=(*small.shards, *large.shards))
    job = replace(
        job_of([small, large], k=5, min_score=0.8, group_by="kind", group_fallback=("dept",)),
        fallback_shards=({9: everyone.shards},),
    )
    rows = run([small, large], job, [[6], [40]])
    items = all_items(everyone)
    cosines = dict(zip(items.ids.astype(str), items.vectors @ items.vectors.T, strict=True))
    filled = 0
    for item, row in rows.items():
        near = [str(name) for name in items.ids.astype(str)[cosines[item] >= 0.8] if name != item]
        own = [name for name in near if name[:6] == item[:6]]
        has = [name for name in row["neighbour_ids"] if name[:6] == item[:6]]
        assert min(row["scores"], default=1) >= 0.8
        assert len(has) == min(len(own), 5 if row["from_fallback"] else job.kept)
        assert len(row["neighbour_ids"]) >= min(5, len(near))
        filled += row["from_fallback"] and len(row["neighbour_ids"]) > len(has)
    assert filled > 3


@pytest.mark.parametrize("kind", ["exact", "ivf", "annoy"])
def test_copies_of_one_picture_are_in_the_order_of_their_ids_by_every_plan(tmp_path: Path, kind: str) -> None:
    """Hundreds tie: more than an approximate search keeps."""
    vectors = crowd(600)
    vectors[50:550] = vectors[50]
    group = Group.of(vectors).write(tmp_path)
    write_inverted_file(group, vectors)
    rows = run([group], job_of([group], {"kind": kind, "radius": 2.0, "search_k": 5000}, k=5), [[300, 300]])
    copies = [f"item-0-{row:05d}" for row in range(50, 550)]
    for item in copies:
        assert rows[item]["neighbour_ids"][:5] == [other for other in copies[:6] if other != item][:5]
        assert rows[item]["scores"][:5] == [1.0] * 5


@pytest.mark.parametrize("kind", ["exact", "ivf", "annoy"])
def test_list_that_min_score_cuts_is_complete_by_every_plan(tmp_path: Path, kind: str) -> None:
    """Nothing that is near enough is missing, so that a refresh can go on from it."""
    vectors = crowd(300)
    group = Group.of(vectors).write(tmp_path)
    write_inverted_file(group, vectors)
    job = job_of([group], {"kind": kind, "radius": 3.0, "search_k": 5000}, k=5, min_score=0.7)
    rows = run([group], job, [[150, 150]]).values()
    assert {len(row["neighbour_ids"]) < job.kept for row in rows} == {True, False}
    assert all(row["complete"] == (len(row["neighbour_ids"]) < job.kept) for row in rows)


PREVIOUS = {
    "neighbour_ids": pa.list_(pa.string()),
    "scores": pa.list_(pa.float32()),
    "complete": pa.bool_(),
    "from_fallback": pa.bool_(),
}


def add_previous(group: CandidateSet, previous: Rows) -> None:
    """Add the lists that the items had to the files of their shards; null for an item that had none."""
    for name in group.shards:
        table = pq.read_table(group.layout.rows(name))
        ids = pq.read_table(group.layout.items(name))["item_id"].to_pylist()
        for column, kind in PREVIOUS.items():
            values = [previous[item][column] if item in previous else None for item in ids]
            table = table.append_column(f"search_previous_{column}", pa.array(values, kind))
        pq.write_table(table, group.layout.rows(name))


@pytest.mark.parametrize(
    ("items", "k", "min_score", "complete"),
    [(200, 5, None, {False}), (9, 5, None, {True}), (200, 5, 0.75, {False, True})],
)
def test_updated_lists_are_those_of_a_search_and_most_are_not_searched(
    tmp_path: Path, items: int, k: int, min_score: float | None, complete: set[bool]
) -> None:
    """Two items have another vector, one is no longer eligible, and one is new."""
    vectors, eligible = crowd(items + 1), np.ones(items + 1, dtype=bool)
    last = f"item-0-{items:05d}"
    (tmp_path / "old").mkdir()
    old = Group.of(vectors[:items]).write(tmp_path / "old")
    sizes = [-(-items // 2), items // 2]
    previous = run([old], job_of([old], k=k, min_score=min_score), [sizes])
    vectors[[1, 4]], eligible[2] = crowd(2, seed=5), False
    (tmp_path / "new").mkdir()
    new = Group.of(vectors, eligible=eligible).write(tmp_path / "new")
    sizes = [-(-(items + 1) // 2), (items + 1) // 2]
    searched = run([new], job_of([new], k=k, min_score=min_score), [sizes])
    add_previous(new, previous)
    changed = np.array([b"item-0-00001", b"item-0-00002", b"item-0-00004", last.encode()])
    updated = run([new], replace(job_of([new], k=k, min_score=min_score), changed=changed), [sizes])
    assert sum(row["searched"] for row in updated.values()) < 4 + items / 5
    assert {item for item in updated if updated[item]["searched"]} >= {item.decode() for item in changed}
    for item, row in updated.items():
        for column in ("neighbour_ids", "scores"):
            assert row[column][:k] == searched[item][column][:k]
            assert row[column] == searched[item][column][: len(row[column])]
    assert {row["complete"] for row in updated.values()} == complete


def test_list_that_lost_more_than_its_margin_is_searched_again(tmp_path: Path) -> None:
    vectors = crowd(120)
    (tmp_path / "old").mkdir()
    old = Group.of(vectors).write(tmp_path / "old")
    previous = run([old], job_of([old], k=5), [[60, 60]])
    gone = previous["item-0-00000"]["neighbour_ids"][: margin(config.SimilarSettings(k=5)) + 1]
    eligible = np.array([f"item-0-{row:05d}" not in gone for row in range(120)])
    (tmp_path / "new").mkdir()
    new = Group.of(vectors, eligible=eligible).write(tmp_path / "new")
    add_previous(new, previous)
    job = replace(job_of([new], k=5), changed=np.sort(np.array([item.encode() for item in gone])))
    updated = run([new], job, [[60, 60]])
    assert updated["item-0-00000"]["searched"]
    assert {item: row["neighbour_ids"][:5] for item, row in updated.items()} == best(new, 5)
