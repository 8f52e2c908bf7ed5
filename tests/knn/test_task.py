"""A task of the neighbour search: lists searched, filled up from fallback levels, and updated in place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lookalike import config
from lookalike.index.centroids import train_centroids
from lookalike.index.layout import shard_number
from lookalike.knn import task
from lookalike.knn.blocks import pack_tasks
from lookalike.knn.candidates import CandidateSet
from lookalike.knn.lists import BlockLists
from lookalike.knn.neighbour_files import NeighbourFiles
from lookalike.knn.search_job import SearchJob, ShardSearch, margin
from lookalike.knn.shard_items import open_shard
from lookalike.knn.task import find_neighbours
from lookalike.topk.items import ItemVectors
from lookalike.topk.table import TopK
from lookalike.warehouse.release import Staged
from lookalike.warehouse.release_files import StoredFile
from support.nightly_index import Item, NightlyIndex, Rows, rows_of
from support.shards import Group, all_items, crowd, names_of


def run(groups: Sequence[CandidateSet], job: SearchJob) -> Rows:
    """The lists of all items of the groups."""
    ids = {
        shard_number(name): [item.decode() for item in open_shard(job.layout, name).items.ids.tolist()]
        for group in groups
        for name in group.shards
    }
    sizes = [[(shard_number(name), len(ids[shard_number(name)])) for name in group.shards] for group in groups]
    found = [part for task in pack_tasks(sizes, 16, cores=1) for part in find_neighbours(task, job)]
    return rows_of(found, job.files.staged, ids)


def job_of(groups: Sequence[CandidateSet], search: dict[str, Any] | None = None, **similar: Any) -> SearchJob:
    """The search of all groups by one plan; exact if none is given."""
    searches = {
        shard_number(name): ShardSearch(**{"kind": "exact", **(search or {})}, shards=tuple(group.shards))
        for group in groups
        for name in group.shards
    }
    layout = groups[0].layout
    files = NeighbourFiles(Staged(layout.index.parent, layout.work, None))
    return SearchJob(layout, config.SimilarSettings(**similar), searches, (), files)


def best(candidates: CandidateSet, k: int) -> dict[str, list[str]]:
    """The k nearest of each item, by one search of all."""
    items = all_items(candidates)
    found = candidates.exact_top_k(items, k)
    return {
        item: names_of(candidates, ranks[np.isfinite(scores)])
        for item, ranks, scores in zip(names_of(candidates, items.ids), found.ids, found.scores, strict=True)
    }


def test_lists_hold_what_is_published_and_a_margin(tmp_path: Path) -> None:
    group = Group.of(crowd(60)).write(tmp_path)
    job = job_of([group], k=4, spare=2)
    rows = run([group], job)
    assert job.kept == 6 + margin(job.similar) == 16
    assert {item: row["neighbour_ids"] for item, row in rows.items()} == best(group, 16)
    for row in rows.values():
        assert row["published"] == row["neighbour_ids"][:6]
        assert row["scores"] == sorted(row["scores"], reverse=True)
        assert (row["complete"], row["from_fallback"], row["searched"]) == (False, False, True)


def test_task_holds_one_large_group_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of small groups wait for each other; those of a large one are written before another is opened."""
    groups = [Group.of(crowd(9, first)).write(tmp_path, first=first) for first in (0, 2, 4, 6)]
    blocks = [block for task in pack_tasks([[(n, 5), (n + 1, 4)] for n in (0, 2, 4, 6)], 16, 1) for block in task]
    blocks.sort(key=lambda block: block.queries)
    held: list[int] = []
    write = task._write

    def counted(waiting: Sequence[BlockLists], job: SearchJob, files: list[StoredFile]) -> Iterator[pa.RecordBatch]:
        held.append(len({id(lists.group) for lists in waiting}))
        return write(waiting, job, files)

    monkeypatch.setattr(task, "_write", counted)
    for most, expected in ((task.WAITING_GROUPS, [4]), (18, [2, 2]), (9, [1] * 4)):
        monkeypatch.setattr(task, "WAITING_GROUPS", most)
        held.clear()
        assert sum(len(part.rows) for part in find_neighbours(blocks, job_of(groups, k=4))) == 36
        assert held == expected


def test_list_with_every_candidate_of_the_group_is_complete(tmp_path: Path) -> None:
    group = Group.of(crowd(9)).write(tmp_path)
    rows = run([group], job_of([group], k=4))
    assert {(len(row["neighbour_ids"]), row["complete"]) for row in rows.values()} == {(8, True)}


def in_lists(vectors: np.ndarray, **columns: np.ndarray) -> Group:
    """A group with centroids."""
    return Group.of(vectors, centroids=train_centroids(vectors, 20, 1), **columns)


@pytest.mark.parametrize("kind", ["ivf", "annoy"])
def test_item_for_which_an_approximate_search_finds_too_few_is_searched_exactly(tmp_path: Path, kind: str) -> None:
    """Ten eligible items in one corner: the lists nearest to most queries hold none of them."""
    vectors = crowd(400)
    corner = np.argsort(-vectors @ vectors[0], kind="stable")[:10]
    group = in_lists(vectors, eligible=np.isin(np.arange(400), corner)).write(tmp_path)
    job = job_of([group], {"kind": kind, "radius": 1.0, "search_k": 1}, k=10)
    found = run([group], job)
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
    rows = run([small, large], job)
    of_large = best(large, job.kept)
    for item, row in rows.items():
        if item.startswith("item-1"):
            assert (row["neighbour_ids"], row["from_fallback"]) == (of_large[item], False)
        else:
            assert (row["from_fallback"], row["complete"], row["neighbours"]) == (True, False, [])
            own = [other for other in row["published"] if other.startswith("item-0")]
            assert (len(own), len(row["published"])) == (2, 5)
            assert row["published_scores"] == sorted(row["published_scores"], reverse=True)


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
    rows = run([small, large], job)
    items = all_items(everyone)
    names = names_of(everyone, items.ids)
    cosines = dict(zip(names, items.vectors @ items.vectors.T, strict=True))
    filled = 0
    for item, row in rows.items():
        near = [name for name, cosine in zip(names, cosines[item], strict=True) if cosine >= 0.8 and name != item]
        own = [name for name in near if name[:6] == item[:6]]
        has = [name for name in row["published"] if name[:6] == item[:6]]
        assert min(row["published_scores"], default=1) >= 0.8
        assert len(has) == min(len(own), 5)
        assert len(row["published"]) == min(5, len(near))
        filled += row["from_fallback"] and len(row["published"]) > len(has)
    assert filled > 3


def test_items_are_filled_up_only_from_the_shards_of_their_own_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixty groups of six departments in one task: each department is compared apart, or with few others."""
    vectors, compared = crowd(180), []
    groups = []
    for n in range(60):
        codes, variants = np.tile([n, 100 + n % 6], (3, 1)), np.arange(3 * n, 3 * n + 3)
        groups.append(Group.of(vectors[variants], codes=codes, variants=variants).write(tmp_path, 1, first=n))
    by_value = {100 + value: tuple(group.shards[0] for group in groups[value::6]) for value in range(6)}
    job = replace(job_of(groups, k=5, group_by="kind", group_fallback=("dept",)), fallback_shards=(by_value,))
    find = CandidateSet.fallback_top_k

    def counted(self: CandidateSet, queries: ItemVectors, *others: Any) -> TopK:
        compared.append((len(self.shards), len(queries)))
        return find(self, queries, *others)

    monkeypatch.setattr(CandidateSet, "fallback_top_k", counted)
    blocks = [block for task in pack_tasks([[(n, 3)] for n in range(60)], 16, 1) for block in task]
    found = {}
    for rows, expected in ((512, [(60, 180)]), (60, [(20, 60)] * 3), (10, [(10, 30)] * 6)):
        monkeypatch.setattr(task, "QUERY_ROWS", rows)
        compared.clear()
        parts = pa.concat_tables([part.rows for part in find_neighbours(blocks, job)])
        found[rows] = parts.sort_by("item_id")
        assert compared == expected
    assert found[512] == found[60] == found[10]
    lists = zip(*(found[10][name].to_pylist() for name in ("item_id", "similar_item_ids")), strict=True)
    for item, others in lists:
        assert len(others) == 5
        assert {int(name.split("-")[1]) % 6 for name in others} == {int(item.split("-")[1]) % 6}


@pytest.mark.parametrize("kind", ["exact", "ivf", "annoy"])
def test_copies_of_one_picture_are_in_the_order_of_their_ids_by_every_plan(tmp_path: Path, kind: str) -> None:
    """Hundreds tie: more than an approximate search keeps."""
    vectors = crowd(600)
    vectors[50:550] = vectors[50]
    group = in_lists(vectors).write(tmp_path)
    rows = run([group], job_of([group], {"kind": kind, "radius": 2.0, "search_k": 5000}, k=5))
    copies = [f"item-0-{row:05d}" for row in range(50, 550)]
    for item in copies:
        assert rows[item]["neighbour_ids"][:5] == [other for other in copies[:6] if other != item][:5]
        assert rows[item]["scores"][:5] == [1.0] * 5


@pytest.mark.parametrize("kind", ["exact", "ivf", "annoy"])
def test_list_that_min_score_cuts_is_complete_by_every_plan(tmp_path: Path, kind: str) -> None:
    """Nothing that is near enough is missing, so that a refresh can go on from it."""
    vectors = crowd(300)
    group = in_lists(vectors).write(tmp_path)
    job = job_of([group], {"kind": kind, "radius": 3.0, "search_k": 5000}, k=5, min_score=0.7)
    rows = run([group], job).values()
    assert {len(row["neighbour_ids"]) < job.kept for row in rows} == {True, False}
    assert all(row["complete"] == (len(row["neighbour_ids"]) < job.kept) for row in rows)


@pytest.mark.parametrize("kind", ["exact", "ivf", "annoy"])
def test_tombstone_is_no_neighbour_and_has_no_list_by_any_plan(tmp_path: Path, kind: str) -> None:
    vectors, deleted = crowd(300), np.arange(300) % 3 == 0
    group = in_lists(vectors, deleted=deleted).write(tmp_path)
    rows = run([group], job_of([group], {"kind": kind, "radius": 100.0, "search_k": 5000}, k=5))
    assert sorted(rows) == [f"item-0-{row:05d}" for row in np.flatnonzero(~deleted)]
    expected = best(group, 5)
    assert {item: row["published"] for item, row in rows.items()} == {item: expected[item] for item in rows}


def naive(items: dict[str, Item], k: int, min_score: float | None = None) -> dict[str, list[str]]:
    """The k nearest of each item by a loop, one of a product, those that tie by id."""
    found = {}
    for item, one in items.items():
        scores = {other: float(one.vector @ it.vector) for other, it in items.items() if it.eligible}
        listed: list[str] = []
        seen = {one.variant}
        for other in sorted(scores, key=lambda other: (-scores[other], other)):
            if items[other].variant not in seen and (min_score is None or scores[other] >= min_score):
                seen.add(items[other].variant)
                listed.append(other)
        found[item] = listed[:k]
    return found


def units(items: int, seed: int) -> np.ndarray:
    """Vectors with cosines that are exact in float32, of which many tie."""
    signs = np.random.default_rng(seed).choice([-0.25, 0.25], (items, 16))
    return signs.astype(np.float32)


@pytest.mark.parametrize(
    ("count", "min_score", "complete"), [(200, None, {False}), (12, None, {True}), (200, 0.5, {False, True})]
)
def test_repaired_lists_are_those_of_a_search_to_the_last_tie(
    tmp_path: Path, count: int, min_score: float | None, complete: set[bool]
) -> None:
    """Night after night items come, leave, show another picture, and stop being eligible."""
    rng, rules = np.random.default_rng(7), config.SimilarSettings(k=4, spare=1, min_score=min_score)
    index = NightlyIndex(tmp_path, rules, compact_share=0.5)
    index.run({f"item-{row:04d}": Item(vector, row) for row, vector in enumerate(units(count, 1))})
    for night in range(2, 9):
        some = [str(item) for item in rng.permutation(sorted(index.items))[:4]]
        came = {f"item-{(7919 * night) % 10_000:04d}": Item(units(1, night)[0], 10_000 + night)}
        came[some[0]] = Item(units(1, 100 + night)[0], int(some[0][5:]))
        came[some[1]] = Item(index.items[some[1]].vector, int(some[1][5:]), eligible=bool(night % 2))
        rows = index.run(came, {some[2]})
        assert {item: row["published"] for item, row in rows.items()} == naive(index.items, 5, min_score)
        if not index.rebuilt:
            assert {item for item, row in rows.items() if row["searched"]} >= came.keys()
            assert sum(row["searched"] for row in rows.values()) <= len(came) + count / 10
    assert {row["complete"] for row in rows.values()} == complete


def test_list_that_lost_more_than_its_margin_is_searched_again(tmp_path: Path) -> None:
    index = NightlyIndex(tmp_path, config.SimilarSettings(k=5), compact_share=0.5)
    before = index.run({f"item-{row:05d}": Item(vector, row) for row, vector in enumerate(crowd(120))})
    gone = before["item-00000"]["neighbour_ids"][: margin(index.settings) + 1]
    after = index.run({}, set(gone))
    assert after["item-00000"]["searched"]
    assert {item: row["published"] for item, row in after.items()} == naive(index.items, 5)


def test_lists_of_a_group_without_a_change_are_kept_as_they_are(tmp_path: Path) -> None:
    index = NightlyIndex(tmp_path, config.SimilarSettings(k=5), compact_share=0.5)
    index.run({f"item-{row:05d}": Item(vector, row) for row, vector in enumerate(crowd(100))})
    before = index.run({}, {"item-00007"})
    after = index.run({}, mode="keep")
    assert {item: row["published"] for item, row in after.items()} == {
        item: row["published"] for item, row in before.items()
    }
    folders = [index.release(night).neighbours for night in (2, 3)]
    files = [{path.name: path.stat().st_ino for path in folder.iterdir()} for folder in folders]
    assert files[0] == files[1]
    assert all("release-2" in name for name in files[1])
