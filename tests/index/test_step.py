"""The index step through Spark: plain Annoy files, a manifest that describes them, the same bytes each time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from annoy import AnnoyIndex
from pyspark.sql import DataFrame, SparkSession

from lookalike import config
from lookalike.index import annoy as annoy_index
from lookalike.index import manifest
from lookalike.index.layout import IndexLayout
from lookalike.index.shard_builder import WrittenShard
from lookalike.index.sharding import PlannedShard
from lookalike.index.step import BuiltIndex, BuiltShard, ShardCounts, build_index, plan_index, reuse_index
from lookalike.storage import files
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder

DIMENSIONS = 16


def embeddings(spark: SparkSession, groups: list[str | None], seed: int = 3) -> DataFrame:
    """Random unit vectors, one item for each entry of `groups`, in an order that is not the ids'."""
    vectors = np.random.default_rng(seed).normal(size=(len(groups), DIMENSIONS))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = [
        (f"item-{n:03d}", vector.tolist(), group) for n, (vector, group) in enumerate(zip(vectors, groups, strict=True))
    ]
    return spark.createDataFrame(rows[::-1], "item_id string, embedding array<float>, kind string").repartition(3)


def build(table: DataFrame, folder: Path, settings: config.Settings) -> dict[str, dict[str, Any]]:
    """Index `table` under `folder`; the manifest's shards by file name."""
    layout = IndexLayout(folder / "index", folder / "work")
    build_index(table, plan_index(table, settings), layout, settings)
    listed = json.loads((folder / "index" / "index.json").read_text())
    return {shard["file"]: shard for shard in listed["shards"]}


def test_one_shard_a_group_with_the_null_group_on_its_own(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path
) -> None:
    table = embeddings(spark, ["shoe"] * 5 + ["bag"] * 3 + [None] * 2 + ["hat"])
    shards = build(table, tmp_path, settings(similar={"group_by": "kind"}))
    assert {shard["group"]: shard["items"] for shard in shards.values()} == {
        None: 2,
        "bag": 3,
        "hat": 1,
        "shoe": 5,
    }


def test_shards_by_size_hold_every_item_once(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path
) -> None:
    table = embeddings(spark, [None] * 100)
    shards = build(table, tmp_path, settings(index={"shard_items": 30}))
    assert len(shards) == 4
    listed = [
        item
        for shard in shards.values()
        for item in pq.read_table(tmp_path / "index" / str(shard["items_file"]))["item_id"].to_pylist()
    ]
    assert sorted(listed) == [f"item-{n:03d}" for n in range(100)]


def test_plain_annoy_gives_back_the_vectors_and_the_nearest_items(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path
) -> None:
    table = embeddings(spark, ["a"] * 40 + ["b"] * 25)
    vectors = {row["item_id"]: np.float32(row["embedding"]) for row in table.collect()}
    for shard in build(table, tmp_path, settings(similar={"group_by": "kind"})).values():
        path = tmp_path / "index" / str(shard["file"])
        assert (path.stat().st_size, files.sha256(path)) == (shard["bytes"], shard["sha256"])
        items = pq.read_table(tmp_path / "index" / str(shard["items_file"]))
        ids = items["item_id"].to_pylist()
        assert items["position"].to_pylist() == list(range(len(ids)))
        assert ids == sorted(ids)
        plain = AnnoyIndex(DIMENSIONS, "angular")
        plain.load(str(path))
        assert plain.get_n_items() == shard["items"]
        golden = shard["golden"]
        assert golden["neighbours"] == plain.get_nns_by_item(golden["position"], 10)
        assert shard["ids_sha256"] == manifest.ids_digest(ids)
        for position, item in enumerate(ids):
            np.testing.assert_array_equal(np.float32(plain.get_item_vector(position)), vectors[item])
            found = [ids[n] for n in plain.get_nns_by_item(position, 3, search_k=10_000)]
            exact = sorted(ids, key=lambda other: -float(vectors[item] @ vectors[other]))[:3]
            assert found == exact


def test_same_items_in_another_order_give_the_same_bytes(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path
) -> None:
    table = embeddings(spark, ["a", "b", None] * 20)
    chosen = settings(similar={"group_by": "kind"}, index={"shard_items": 8})
    first = build(table, tmp_path / "1", chosen)
    second = build(table.orderBy("item_id").repartition(7), tmp_path / "2", chosen)
    assert first == second
    for name, shard in first.items():
        for file in (name, str(shard["items_file"])):
            assert (tmp_path / "1/index" / file).read_bytes() == (tmp_path / "2/index" / file).read_bytes()


def test_another_seed_gives_other_trees(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path
) -> None:
    table = embeddings(spark, [None] * 60)
    first = build(table, tmp_path / "1", settings(index={"seed": 1}))
    second = build(table, tmp_path / "2", settings(index={"seed": 2}))
    assert first["shard-00000.ann"]["sha256"] != second["shard-00000.ann"]["sha256"]


# --- shards of the previous release


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


def test_shards_are_counted_as_built_or_reused(spark: SparkSession, tmp_path: Path) -> None:
    file = annoy_index.ShardFile(1, 1, 1, "", annoy_index.GoldenQuery(0, (), ()))
    shards = [BuiltShard(PlannedShard(n, None, n, 3), WrittenShard(file, "", "", 1, n < 2)) for n in range(3)]
    index = BuiltIndex(spark.range(0), shards, IndexLayout(tmp_path, tmp_path))
    assert ShardCounts.of(index) == ShardCounts(built=1, reused=2)
    assert ShardCounts.of(replace(index, shards=[])) == ShardCounts(built=0, reused=0)


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


def test_nothing_embedded_gives_an_index_of_no_shards(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path
) -> None:
    table = embeddings(spark, ["a"]).where("false")
    assert build(table, tmp_path / "1", settings()) == {}
    assert build(table, tmp_path / "2", settings(similar={"group_by": "kind"})) == {}


def test_shard_of_vectors_that_are_not_finite_has_no_golden_answer_and_loads(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path
) -> None:
    """A gate refuses the release; the index step does not fail."""
    rows = [(name, [float("inf")] * DIMENSIONS) for name in "ab"]
    shards = build(spark.createDataFrame(rows, "item_id string, embedding array<float>"), tmp_path, settings())
    assert shards["shard-00000.ann"]["golden"] == {"position": 0, "neighbours": [], "distances": []}


def test_only_the_finished_files_are_left(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path
) -> None:
    build(embeddings(spark, [None] * 10), tmp_path, settings())
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == [
        "index.json",
        "shard-00000.ann",
        "shard-00000.items.parquet",
    ]
