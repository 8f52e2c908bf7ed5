"""Shards of the previous release: reused byte for byte, rebuilt when anything of them differs or is damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

from lookalike import config
from lookalike.index import annoy as annoy_index
from lookalike.index.layout import IndexLayout
from lookalike.index.step import ShardCounts, build_index, plan_index, reuse_index
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder
from support.grouped_embeddings import DIMENSIONS, embeddings


def rebuild(
    table: DataFrame, folder: Path, settings: config.Settings, previous: Path | None
) -> dict[str | None, tuple[bool, str]]:
    """Index `table` under `folder` after the index under `previous`; by group, whether it was reused, and its digest.

    In any case the files must be those that the manifest describes.
    """
    layout = IndexLayout(folder / "index", folder / "work")
    release = ReleaseFolder(previous) if previous else None
    built = build_index(table, plan_index(table, settings), layout, settings, release)
    for one in built.shards:
        annoy_index.load(layout.annoy(one.shard.name), one.written.file).unload()
        ids = pq.read_table(layout.items(one.shard.name))["item_id"].to_pylist()
        assert len(ids) == one.items == one.written.candidates
        assert np.load(layout.vectors(one.shard.name)).shape == (len(ids), DIMENSIONS)
    assert not [path for path in (folder / "work").iterdir() if path.is_dir()]
    return {one.shard.group: (one.written.reused, one.written.file.sha256) for one in built.shards}


GROUPED = {"group_by": "kind"}


def test_shards_of_the_same_items_and_vectors_are_reused_byte_for_byte(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path
) -> None:
    table, chosen = embeddings(spark, ["a", "b", None] * 20), settings(similar=GROUPED)
    first = rebuild(table, tmp_path / "1", chosen, None)
    second = rebuild(table.orderBy("item_id").repartition(2), tmp_path / "2", chosen, tmp_path / "1")
    assert {reused for reused, _ in first.values()} == {False}
    assert second == {group: (True, digest) for group, (_, digest) in first.items()}
    files = sorted(path.name for path in (tmp_path / "1/index").iterdir())
    assert sorted(path.name for path in (tmp_path / "2/index").iterdir()) == files
    for name in files:
        assert (tmp_path / "1/index" / name).read_bytes() == (tmp_path / "2/index" / name).read_bytes()


def test_only_the_groups_in_which_something_changed_are_built(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path
) -> None:
    """A vector of `shoe` changed, `bag` lost an item, `hat` is new and comes before `tie`, which did not change."""
    old = embeddings(spark, ["shoe"] * 5 + ["bag"] * 4 + ["tie"] * 3 + [None] * 2)
    hats = embeddings(spark, [None] * 14 + ["hat"] * 2).where("item_id >= 'item-014'")
    moved = embeddings(spark, ["shoe"], seed=9)
    new = old.where("item_id NOT IN ('item-000', 'item-006')").unionByName(moved).unionByName(hats)
    chosen = settings(similar=GROUPED)
    first = rebuild(old, tmp_path / "1", chosen, None)
    second = rebuild(new, tmp_path / "2", chosen, tmp_path / "1")
    reused = {group: reused for group, (reused, _) in second.items()}
    assert reused == {"shoe": False, "bag": False, "hat": False, "tie": True, None: True}
    assert second["tie"][1] == first["tie"][1]
    assert second == rebuild(new, tmp_path / "3", chosen, None) | {group: second[group] for group in ("tie", None)}


def test_same_vectors_under_another_id_are_another_shard(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path
) -> None:
    table = embeddings(spark, [None] * 6)
    renamed = table.replace({"item-003": "item-0031"}, subset=["item_id"])
    rebuild(table, tmp_path / "1", settings(), None)
    assert not rebuild(renamed, tmp_path / "2", settings(), tmp_path / "1")[None][0]


@pytest.mark.parametrize("trees_or_seed", [{"trees": 49}, {"seed": 43}], ids=str)
def test_shards_of_other_trees_or_another_seed_are_rebuilt(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path, trees_or_seed: dict[str, int]
) -> None:
    table, chosen = embeddings(spark, ["a", "b"] * 20), settings(similar=GROUPED, index=trees_or_seed)
    rebuild(table, tmp_path / "1", settings(similar=GROUPED), None)
    found = rebuild(table, tmp_path / "2", chosen, tmp_path / "1")
    assert found == rebuild(table, tmp_path / "3", chosen, None)


def flip(path: Path) -> None:
    """One bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "flipped bit": ("shard-00000.ann", flip),
    "cut short": ("shard-00000.ann", lambda path: path.write_bytes(path.read_bytes()[:-100])),
    "gone": ("shard-00000.ann", Path.unlink),
    "manifest gone": ("index.json", Path.unlink),
    "manifest cut short": ("index.json", lambda path: path.write_bytes(path.read_bytes()[:-100])),
    "manifest of something else": ("index.json", lambda path: path.write_text("[]")),
    "manifest of an earlier version": (
        "index.json",
        lambda path: path.write_text(path.read_text().replace('"version": 1', '"version": 0')),
    ),
    "manifest without contents": (
        "index.json",
        lambda path: path.write_text(path.read_text().replace('"content"', '"old"')),
    ),
    "golden answer of another machine": (
        "index.json",
        lambda path: path.write_text(path.read_text().replace('"position": 0', '"position": 1')),
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_shard_is_rebuilt(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path, case: str
) -> None:
    name, damage = DAMAGE[case]
    table = embeddings(spark, [None] * 40)
    first = rebuild(table, tmp_path / "1", settings(), None)
    damage(tmp_path / "1/index" / name)
    assert rebuild(table, tmp_path / "2", settings(), tmp_path / "1") == first


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"PAR1")], ids=["gone", "damaged"])
def test_damaged_file_of_items_is_rewritten(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    table = embeddings(spark, [None] * 40)
    rebuild(table, tmp_path / "1", settings(), None)
    items = tmp_path / "1/index/shard-00000.items.parquet"
    sound = items.read_bytes()
    damage(items)
    assert rebuild(table, tmp_path / "2", settings(), tmp_path / "1")[None][0]
    assert (tmp_path / "2/index" / items.name).read_bytes() == sound


def test_task_that_runs_twice_reuses_its_shard_twice(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path
) -> None:
    """A rename onto another link of the same file does nothing, and leaves the first name behind."""
    table = embeddings(spark, [None] * 10)
    rebuild(table, tmp_path / "1", settings(), None)
    once = rebuild(table, tmp_path / "2", settings(), tmp_path / "1")
    assert rebuild(table, tmp_path / "2", settings(), tmp_path / "1") == once
    assert once[None][0]


def test_index_of_another_release_is_linked_as_a_whole(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path
) -> None:
    table = embeddings(spark, ["a", "b", None] * 4)
    rebuild(table, tmp_path / "1", settings(similar=GROUPED), None)
    with Warehouse(str(tmp_path / "warehouse")).stage() as staged:
        assert reuse_index(ReleaseFolder(tmp_path / "1"), staged) == ShardCounts(built=0, reused=3)
        for file in (tmp_path / "1/index").iterdir():
            assert (staged.index / file.name).read_bytes() == file.read_bytes()
