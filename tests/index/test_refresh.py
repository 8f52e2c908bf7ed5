"""Nights of an index: what came goes into deltas, what left is marked, and a group is built again when that is much."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

from lookalike import config
from lookalike.index import annoy as annoy_index
from lookalike.index import manifest
from lookalike.index.built import BuiltIndex
from lookalike.index.changes import IndexInputs
from lookalike.index.step import build_index, index_items, reuse_index
from lookalike.spark.release_check import Damage
from lookalike.spark.release_tables import ReleaseTables
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.record import ShardsRecord
from lookalike.warehouse.release import ReleaseFolder, Staged
from support import records, staging

Build = Callable[..., config.Settings]
DIMENSIONS = 8


@dataclass(frozen=True)
class Item:
    """One item of the catalogue: its picture, group, product, and whether it may be recommended."""

    picture: int
    kind: str | None = None
    product: str | None = None
    eligible: bool = True

    @property
    def vector(self) -> np.ndarray:
        vector = np.random.default_rng(self.picture).normal(size=DIMENSIONS)
        return (vector / np.linalg.norm(vector)).astype(np.float32)


Items = Mapping[str, Item]


def shop(count: int, **columns: Any) -> dict[str, Item]:
    """So many items, each with a picture of its own."""
    return {f"i{number:03d}": Item(number, **columns) for number in range(count)}


@dataclass
class IndexNights:
    """Releases with no more than embeddings and an index; a night is told what changed in the tables, or not."""

    spark: SparkSession
    settings: config.Settings
    before: ReleaseTables | None = None
    items: Items = field(default_factory=dict)
    staged: Staged | None = None
    opened: ExitStack = field(default_factory=ExitStack)

    def run(self, items: Items, settings: config.Settings | None = None, *, told: bool = True) -> BuiltIndex:
        """Make a release of these items."""
        self.settings = settings or self.settings
        staged = self.stage()
        staged.embeddings.mkdir()
        new = {name: item for name, item in items.items() if self.items.get(name) != item}
        kept = {name: item for name, item in items.items() if name not in new}
        for name, some in (("new", new), ("kept", kept)):
            if some:
                pq.write_table(as_table(some), staged.embeddings / f"{name}.parquet", row_group_size=7)
        staged.add(staging.files_of(staged))
        table = staging.read_table(self.spark, staged.embeddings)
        dropped = [name for name in self.items if name not in kept]
        inputs = IndexInputs(table, self.before)
        if told:
            files = [path for path in (staged.embeddings / "new.parquet",) if path.is_file()]
            inputs = IndexInputs(table, self.before, files, self._dropped(dropped))
        built = build_index(inputs, staged, self.settings)
        records.write_record(staged, config=self.settings.model_dump(mode="json"))
        none, release = table.limit(0), ReleaseFolder(staged.root)
        self.before = ReleaseTables(release, table, none, none, files=staging.paths_by_part(release))
        self.items, self.staged = dict(items), staged
        assert staged.part("index") == [file for file in staging.files_of(staged) if file.part == "index"]
        assert_sound(built, items, self.spark)
        return built

    def stage(self) -> Staged:
        """A release in the making after the one before."""
        staged = self.opened.enter_context(Warehouse(self.settings.warehouse.path).stage())
        return replace(staged, parent=self.before.release if self.before else None)

    def _dropped(self, names: Sequence[str]) -> DataFrame:
        """The rows of the release before that go or are written again, as the embed step tells of them."""
        rows = [(name, (f"{self.items[name].picture:064x}", "feed5eed")) for name in names]
        schema = "item_id string, old_picture struct<image_hash: string, model_id: string>"
        return self.spark.createDataFrame(rows, schema)


def as_table(items: Items) -> pa.Table:
    """Rows of embeddings."""
    vectors = pa.array([item.vector for item in items.values()], pa.list_(pa.float32()))
    columns: dict[str, Any] = {
        "item_id": list(items),
        "image_hash": [f"{item.picture:064x}" for item in items.values()],
        "model_id": ["feed5eed"] * len(items),
        "embedding": vectors,
        "kind": pa.array([item.kind for item in items.values()], pa.string()),
        "product": pa.array([item.product for item in items.values()], pa.string()),
        "eligible": [item.eligible for item in items.values()],
    }
    return pa.table(columns)


def assert_sound(built: BuiltIndex, items: Items, spark: SparkSession) -> None:
    """Every item is live once, with its vector, group and flags; the shards are those of the manifest."""
    listed = manifest.read(built.layout.index)
    assert [shard.number for shard in built.shards] == [shard.number for shard in listed.shards]
    seen: dict[str, str | None] = {}
    for shard in listed.shards:
        path, expected = built.layout.index / shard.file, listed.file(shard)
        annoy_index.load(path, expected).unload()
        table = pq.read_table(built.layout.index / shard.items_file)
        rows = table.to_pylist()
        assert [row["position"] for row in rows] == list(range(shard.items))
        assert manifest.ids_digest([row["item_id"] for row in rows]) == shard.ids_sha256
        live = [row for row in rows if not row["deleted"]]
        assert len(live) == shard.live
        assert sum(row["eligible"] for row in live) == shard.candidates
        vectors = annoy_index.stored_vectors(path, expected)
        for row in live:
            assert row["item_id"] not in seen
            seen[row["item_id"]] = shard.group
            np.testing.assert_array_equal(vectors[row["position"]], items[row["item_id"]].vector)
            assert row["eligible"] == items[row["item_id"]].eligible
    assert seen == {name: item.kind for name, item in items.items()}
    found = {row["item_id"]: row["group"] for row in index_items(spark, built).collect()}
    assert found == seen


@pytest.fixture
def nights(spark: SparkSession, settings: Build) -> Iterator[IndexNights]:
    similar = {"group_by": "kind", "variant_of": "product", "eligible": "eligible"}
    with ExitStack() as opened:
        yield IndexNights(spark, settings(similar=similar), opened=opened)


def bytes_of(built: BuiltIndex) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in built.layout.index.iterdir()}


def shards(built: BuiltIndex) -> dict[int, tuple[str | None, int, int, bool, bool]]:
    """Group, positions, live items, whether it is a delta and built tonight, by number."""
    new = numbers_built(built)
    return {one.number: (one.group, one.items, one.live, one.delta, one.number in new) for one in built.shards}


def numbers_built(built: BuiltIndex) -> frozenset[int]:
    """The numbers of the shards that were built tonight."""
    return frozenset().union(*(group.built for group in built.groups))


def test_what_came_goes_into_a_delta_and_what_left_is_marked(nights: IndexNights) -> None:
    items = shop(40, kind="a") | {f"b{n}": Item(100 + n, "b") for n in range(20)}
    first = nights.run(items)
    assert first.changed is None
    assert shards(first) == {0: ("a", 40, 40, False, True), 1: ("b", 20, 20, False, True)}
    was = bytes_of(first)
    tonight = {name: item for name, item in items.items() if name != "i003"}
    tonight |= {"i100": Item(500, "a"), "i005": Item(501, "a"), "i006": Item(6, "a", eligible=False)}
    second = nights.run(tonight)
    assert shards(second) == {
        0: ("a", 40, 38, False, False),
        2: ("a", 2, 2, True, True),
        1: ("b", 20, 20, False, False),
    }
    assert second.changed is not None
    assert second.changed.tolist() == [b"i003", b"i005", b"i006", b"i100"]
    assert [(one.group, one.touched, one.came) for one in second.groups] == [("a", True, 3), ("b", False, 0)]
    assert np.load(second.layout.origin("shard-00002")).tolist() == [-1, -1]
    now = bytes_of(second)
    assert {name for name, data in now.items() if was.get(name) != data} == {
        "index.json",
        "shard-00000.items.parquet",
        "shard-00002.ann",
        "shard-00002.items.parquet",
    }
    # Nothing was written through a link.
    assert bytes_of(first) == was


def test_index_is_the_same_whether_or_not_it_is_told_what_changed(nights: IndexNights) -> None:
    items = shop(50)
    nights.run(items)
    before, tonight = nights.before, shop(48) | {"i007": Item(900), "i100": Item(901), "i008": Item(8, product="p")}
    told = nights.run(tonight)
    nights.before, nights.items = before, items
    assert bytes_of(nights.run(tonight, told=False)) == bytes_of(told)


def test_small_deltas_are_taken_up_by_the_next_and_a_fifth_of_a_group_builds_it_again(
    nights: IndexNights, capsys: pytest.CaptureFixture[str]
) -> None:
    items = shop(50)
    nights.run(items)
    sizes = []
    for night in range(1, 8):
        items |= {f"n{night}-{n}": Item(1000 + 10 * night + n) for n in range(2)}
        built = nights.run(dict(items))
        sizes.append([shard.live for shard in built.shards if shard.delta])
        origins = [
            np.load(built.layout.origin(shard.name)) for shard in built.shards if shard.number in numbers_built(built)
        ]
        assert [int((origin < 0).sum()) for origin in origins] == [2]
    assert sizes == [[2], [4], [4, 2], [8], [8, 2], [8, 4], []]
    assert "all items, 64 items: shards built again, 22% came or left" in capsys.readouterr().err


def test_group_that_loses_all_its_items_goes_and_one_that_comes_gets_base_shards(nights: IndexNights) -> None:
    items = shop(60, kind="a") | {"b": Item(900, "b")}
    nights.run(items)
    built = nights.run({name: item for name, item in items.items() if name != "b"} | {"c": Item(901, "c")})
    assert shards(built) == {0: ("a", 60, 60, False, False), 2: ("c", 1, 1, False, True)}
    assert [one.group for one in built.groups] == ["a", "c"]


def test_large_group_keeps_its_centroids_until_it_is_built_again(nights: IndexNights) -> None:
    """With lists: a delta is put into those of the base shards. Built again, items say where they were."""
    chosen = nights.settings
    chosen = chosen.model_copy(
        update={
            "similar": chosen.similar.model_copy(update={"plan": "ivf"}),
            "index": chosen.index.model_copy(update={"shard_items": 40}),
        }
    )
    items = shop(100)
    first = nights.run(items, chosen)
    assert [one.lists for one in first.groups] == [10]
    centroids = first.layout.centroids(first.groups[0].names[0]).read_bytes()
    items |= {f"n{n}": Item(200 + n) for n in range(15)} | {"i050": Item(50, eligible=False)}
    second = nights.run(items)
    assert [one.lists for one in second.groups] == [10]
    assert second.layout.centroids(second.groups[0].names[0]).read_bytes() == centroids
    delta = next(shard for shard in second.shards if shard.delta)
    found = pq.read_table(second.layout.items(delta.name))
    vectors = annoy_index.map_vectors(second.layout.annoy(delta.name), len(found), DIMENSIONS)
    near = np.load(second.layout.centroids(second.groups[0].names[0]))
    np.testing.assert_array_equal(found["list"].to_numpy(), (vectors @ near.T).argmax(axis=1))
    places = places_of(second)
    items |= {f"m{n}": Item(300 + n) for n in range(9)} | {"i051": Item(51, eligible=False)}
    del items["i052"]
    third = nights.run(items)
    assert not [shard for shard in third.shards if shard.delta]
    assert [one.lists for one in third.groups] == [11]
    assert min(shard.number for shard in third.shards) > max(shard.number for shard in second.shards)
    for shard in third.shards:
        ids = pq.read_table(third.layout.items(shard.name))["item_id"].to_pylist()
        assert np.load(third.layout.origin(shard.name)).tolist() == [places.get(name, -1) for name in ids]


def test_group_that_loses_the_items_that_may_be_recommended_is_built_again_without_lists(nights: IndexNights) -> None:
    """There is nothing to train centroids on; of some that may no longer be, and some that left."""
    similar = nights.settings.similar.model_copy(update={"plan": "ivf"})
    items = shop(60, kind="a") | {f"b{n:02d}": Item(100 + n, "b", eligible=n < 9) for n in range(12)}
    first = nights.run(items, nights.settings.model_copy(update={"similar": similar}))
    assert [(one.group, one.lists) for one in first.groups] == [("a", 7), ("b", 3)]
    items = {name: item for name, item in items.items() if name not in ("b00", "b01", "b02", "b03")}
    built = nights.run(items | {f"b{n:02d}": Item(100 + n, "b", eligible=False) for n in range(4, 9)})
    assert [(one.group, one.lists, one.live, one.candidates) for one in built.groups] == [
        ("a", 7, 60, 60),
        ("b", 1, 8, 0),
    ]


def places_of(built: BuiltIndex) -> dict[str, int]:
    """The place of each live item."""
    return {
        name: (shard.number << 32) + position
        for shard in built.shards
        for position, (name, deleted) in enumerate(
            zip(*pq.read_table(built.layout.items(shard.name), columns=["item_id", "deleted"]).columns, strict=True)
        )
        for name, deleted in ((name.as_py(), deleted.as_py()),)
        if not deleted
    }


def flip(path: Path) -> None:
    """One bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_index_is_built_again_after_damage_and_with_other_settings(nights: IndexNights, settings: Build) -> None:
    items = shop(30)
    first = nights.run(items)
    before, staged = nights.before, nights.staged
    assert before is not None
    assert staged is not None
    was = bytes_of(first)

    def again(change: config.Settings | None = None) -> BuiltIndex:
        nights.before, nights.items = before, items
        return nights.run({**items, "n": Item(99)}, change)

    def fresh(built: BuiltIndex) -> bool:
        return built.changed is None and built.counts.reused == 0

    assert not fresh(again())
    own = nights.settings
    for section in ({"trees": 7}, {"seed": 7}, {"shard_items": 10}, {"compact_share": 0.5}):
        changed = again(own.model_copy(update={"index": own.index.model_copy(update=section)}))
        assert fresh(changed) == ("compact_share" not in section)
    ungrouped = own.similar.model_copy(update={"group_by": None})
    assert fresh(again(own.model_copy(update={"similar": ungrouped})))
    again(own)
    nights.settings = own
    for damage in (Path.unlink, lambda path: path.write_text("[]"), lambda path: path.write_text('{"version": 1}')):
        damage(staged.index / "index.json")
        assert fresh(again())
    (staged.index / "index.json").write_bytes(was["index.json"])
    before = replace(before, damaged=[Damage("index/x", "")])
    assert fresh(again())


def test_more_changes_than_the_share_build_the_whole_index(
    nights: IndexNights, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    nights.run(shop(50))
    built = nights.run(shop(50) | {f"n{n}": Item(100 + n) for n in range(11)})
    assert built.changed is None
    assert shards(built) == {0: (None, 61, 61, False, True)}
    assert "the whole index is built again: more than 10 items changed (index.compact_share)" in capsys.readouterr().err
    monkeypatch.setattr("lookalike.index.changes.MAX_CHANGED", 5)
    assert nights.run(shop(50)).changed is None  # eleven of 61 leave, less than a fifth
    assert "built again: more than 5 items changed (the most that a refresh plans with" in capsys.readouterr().err


def test_same_history_gives_the_same_bytes(spark: SparkSession, settings: Build, tmp_path: Path) -> None:
    """Of a delta that takes up another, and of a group that is built again."""
    found = []
    for place in ("one", "two"):
        with ExitStack() as opened:
            nights = IndexNights(spark, settings(warehouse={"path": str(tmp_path / place)}), opened=opened)
            items, kept = shop(60), []
            for night in range(4):
                items |= {f"n{night}-{n}": Item(1000 + 10 * night + n) for n in range(4)}
                items.pop(f"i{night:03d}")
                kept.append(bytes_of(nights.run(dict(items))))
            found.append(kept)
    assert found[0] == found[1]
    assert len({name for night in found[0] for name in night if name.endswith(".ann")}) > 3


def test_index_of_another_release_is_linked_as_a_whole(nights: IndexNights) -> None:
    built = nights.run(shop(12, kind="a") | {"b": Item(900, "b")})
    assert nights.before is not None
    staged = nights.stage()
    assert reuse_index(nights.spark, nights.before, staged) == ShardsRecord(built=0, reused=2)
    assert {path.name: path.read_bytes() for path in staged.index.iterdir()} == bytes_of(built)
    assert staged.part("index") == staging.files_of(staged)


def test_other_rules_update_what_differs_and_forget_the_duplicates(nights: IndexNights) -> None:
    items = {name: Item(number, product="p" if number < 3 else None) for number, name in enumerate(shop(40))}
    first = nights.run(items)
    path = first.layout.items("shard-00000")
    rows = pq.read_table(path)
    group = pa.array([5] * 2 + [None] * 38, pa.int64())
    marked = rows.set_column(rows.column_names.index("duplicate_group"), "duplicate_group", group)
    pq.write_table(marked, path)
    changed = nights.settings.similar.model_copy(update={"variant_of": None})
    second = nights.run(items, nights.settings.model_copy(update={"similar": changed}))
    assert second.changed is not None
    assert second.changed.tolist() == [b"i000", b"i001", b"i002"]
    found = pq.read_table(second.layout.items("shard-00000"))
    assert found["duplicate_group"].null_count == 40
    assert len(set(found["variant_group"].to_pylist())) == 40
    assert pq.read_table(path)["duplicate_group"].null_count == 38
