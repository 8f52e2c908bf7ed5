"""The candidates of a group, opened from its files: at every fallback level, and against a naive loop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lookalike.index.layout import IndexLayout
from lookalike.knn.candidates import CandidateSet, open_shard
from lookalike.topk.items import concatenate_items, items_without_groups
from lookalike.topk.table import empty_top_k
from support.ranking import names, quarters, random_units, ranked
from support.shards import Group, all_items


def write_duplicates(candidates: CandidateSet, name: str, groups: np.ndarray, represents: np.ndarray) -> IndexLayout:
    """Write the duplicate groups of a shard; the layout that knows of them."""
    np.savez(candidates.layout.duplicates(name), groups=groups, represents=represents)
    return replace(candidates.layout, with_duplicates=frozenset([name]))


def test_only_eligible_items_are_candidates(tmp_path: Path) -> None:
    eligible = np.array([True, False, True, False, True])
    candidates = Group.of(random_units(5, 4), eligible=eligible).write(tmp_path, shards=1)
    assert open_shard(candidates.layout, "shard-00000").candidates(0).tolist() == [0, 2, 4]


def test_duplicate_groups_are_read_only_where_the_layout_knows_of_them(tmp_path: Path) -> None:
    candidates = Group.of(random_units(4, 4), codes=np.zeros((4, 2), dtype=np.int64)).write(tmp_path)
    represents = np.array([[True, True], [False, True]])
    layout = write_duplicates(candidates, "shard-00001", np.array([9, 9]), represents)
    assert open_shard(candidates.layout, "shard-00001").items.same_groups
    shard = open_shard(layout, "shard-00001")
    assert shard.items.duplicate_groups.tolist() == [9, 9]
    assert [shard.candidates(level).tolist() for level in (0, 1)] == [[0], [0, 1]]
    assert open_shard(layout, "shard-00000").items.same_groups


@pytest.mark.parametrize("chunk_rows", [1, 7, 1000])
def test_chunks_hold_every_candidate_once_whatever_is_between_them(tmp_path: Path, chunk_rows: int) -> None:
    eligible = np.random.default_rng(1).random(60) < 0.6
    candidates = replace(Group.of(random_units(60, 4), eligible=eligible).write(tmp_path), chunk_rows=chunk_rows)
    chunks = list(candidates.chunks())
    assert all(len(chunk.items) == len(chunk.group_codes) <= chunk_rows for chunk in chunks)
    found = concatenate_items([chunk.items for chunk in chunks]).ids.tolist()
    expected = all_items(candidates).ids[np.concatenate([eligible[0::2], eligible[1::2]])]
    assert found == expected.tolist()


def test_wanted_items_alone_are_candidates(tmp_path: Path) -> None:
    candidates = Group.of(random_units(20, 4)).write(tmp_path)
    wanted = [chunk.items.ids for chunk in candidates.chunks(wanted=lambda shard: shard.items.ids > b"item-0-00015")]
    assert sorted(np.concatenate(wanted).tolist()) == [f"item-0-{row:05d}".encode() for row in range(16, 20)]


def naive_fallback(group: Group, query: int, level: int, taken: set[int], k: int) -> list[tuple[str, float]]:
    """Items that share `level` with the query and no earlier level, best first; of a product one, and none `taken`."""
    ranked_rows = sorted(
        range(len(group.vectors)), key=lambda row: (-float(group.vectors[query] @ group.vectors[row]), row)
    )
    found: list[tuple[str, float]] = []
    seen = {*taken, int(group.variants[query])}
    for row in ranked_rows:
        same = group.codes[row] == group.codes[query]
        if same[level] and not same[:level].any() and group.eligible[row] and int(group.variants[row]) not in seen:
            seen.add(int(group.variants[row]))
            found.append((f"item-0-{row:05d}", float(group.vectors[query] @ group.vectors[row])))
    return found[:k]


@pytest.mark.parametrize("level", [1, 2])
def test_fallback_finds_the_best_that_share_a_level_and_no_earlier_one(tmp_path: Path, level: int) -> None:
    rng = np.random.default_rng(4)
    group = Group.of(
        quarters(80, 8),
        variants=rng.integers(0, 40, 80),
        eligible=rng.random(80) < 0.8,
        codes=np.stack([rng.integers(0, 8, 80), rng.integers(10, 13, 80), rng.integers(20, 22, 80)], axis=1),
    )
    candidates = replace(group.write(tmp_path), chunk_rows=11)
    shard = open_shard(candidates.layout, "shard-00000")  # the items of even rows
    held = empty_top_k(len(shard.items), 5, shard.items.ids)
    held.scores[:, 0], held.variant_groups[:, 0], held.duplicate_groups[:, 0] = 1, 3, 3
    found = ranked(candidates.fallback_top_k(shard.items, shard.group_codes, level, held))
    for place, mine in enumerate(found):
        expected = naive_fallback(group, 2 * place, level, {3}, 5)
        assert [(item.decode(), score) for item, score in mine] == expected


def test_search_of_a_group_is_that_of_its_items_at_once(tmp_path: Path) -> None:
    candidates = replace(Group.of(quarters(90, 8)).write(tmp_path, shards=3), chunk_rows=13)
    queries = items_without_groups(random_units(6, 8), names(6, "query-"))
    merged = candidates.exact_top_k(queries, 7)
    at_once = replace(candidates, chunk_rows=1000).exact_top_k(queries, 7)
    assert ranked(merged) == ranked(at_once)
    assert (merged.counts == 7).all()
