"""The candidates of a group, opened from its files: at every fallback level, and against a naive loop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lookalike.index.built import POSITION_BITS
from lookalike.index.items import ITEMS, read_items, write_items
from lookalike.index.layout import shard_name
from lookalike.knn.candidates import chunks
from lookalike.knn.shard_items import open_shard
from lookalike.topk.items import items_without_groups
from lookalike.topk.table import empty_top_k
from support.ranking import names, quarters, random_units, ranked
from support.shards import Group


def test_only_eligible_items_that_are_no_tombstones_are_candidates(tmp_path: Path) -> None:
    eligible, deleted = np.array([True, False, True, False, True]), np.array([True, True, False, False, False])
    candidates = Group.of(random_units(5, 4), eligible=eligible, deleted=deleted).write(tmp_path, shards=1)
    shard = open_shard(candidates.layout, "shard-00000")
    assert np.flatnonzero(shard.may_be_listed(0)).tolist() == [2, 4]
    assert np.flatnonzero(shard.live).tolist() == [2, 3, 4]


def test_duplicate_groups_are_read_where_an_item_has_one(tmp_path: Path) -> None:
    candidates = Group.of(random_units(6, 4), codes=np.zeros((6, 2), dtype=np.int64)).write(tmp_path)
    path = candidates.layout.items("shard-00001")
    rows = read_items(path)
    columns = {"duplicate_group": [9, None, 9], "represents": [[True, True], None, [False, True]]}
    for name, values in columns.items():
        rows = rows.set_column(
            rows.column_names.index(name), ITEMS.field(name), pa.array(values, ITEMS.field(name).type)
        )
    write_items(path, rows)
    shard = open_shard(candidates.layout, "shard-00001")
    assert shard.items.duplicate_groups.tolist() == [9, shard.items.variant_groups[1], 9]
    assert [np.flatnonzero(shard.may_be_listed(level)).tolist() for level in (0, 1)] == [[0, 1], [0, 1, 2]]
    assert open_shard(candidates.layout, "shard-00000").items.same_groups


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 1.0])
@pytest.mark.parametrize("chunk_rows", [1, 7, 1000])
def test_chunks_hold_every_item_that_is_allowed_once(tmp_path: Path, chunk_rows: int, share: float) -> None:
    shard = open_shard(Group.of(random_units(60, 4)).write(tmp_path).layout, "shard-00000")
    allowed, seen = np.random.default_rng(1).random(30) < share, []
    for chunk in chunks(shard, allowed, range(3, 28), chunk_rows):
        assert 0 < len(chunk.items) == len(chunk.positions) == len(chunk.allowed) <= chunk_rows
        assert (chunk.items.ids == shard.items.ids[chunk.positions]).all()
        assert (chunk.allowed == allowed[chunk.positions]).all()
        seen += chunk.positions[chunk.allowed].tolist()
    assert seen == [row for row in np.flatnonzero(allowed).tolist() if 3 <= row < 28]


def test_rank_of_an_item_is_that_of_its_id_in_all_shards_and_tells_its_place(tmp_path: Path) -> None:
    candidates = Group.of(random_units(9, 4)).write(tmp_path, shards=3)
    group = candidates.group
    assert group.ids.tolist() == sorted(group.ids.tolist())
    for number, shard in zip(group.numbers, group.shards, strict=True):
        at = (number << POSITION_BITS) + np.arange(len(shard.live))
        assert (group.ids[shard.items.ids] == open_shard(candidates.layout, shard_name(number)).items.ids).all()
        assert (group.places[shard.items.ids] == at).all()
        assert (group.ranks_at(at) == shard.items.ids).all()


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
