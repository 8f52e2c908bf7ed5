"""Night after night on a shop that changes: what a refresh does, and that it ends where a run from nothing does."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, note
from pyspark.sql import SparkSession

from lookalike import config, pipeline
from lookalike.errors import GateError
from lookalike.index import manifest
from lookalike.index.annoy import stored_vectors
from lookalike.models.network import CompiledModel, model_id
from lookalike.storage import json_file
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder
from support.shop import BROKEN, Shop, broken, copy_warehouse, leftovers, new_warehouse, picture, refresh, rows
from support.stories import stories

ITEMS = 12
LOST, BAD = "item-10", "item-11"  # without a file from the start, and truncated
GONE = "item-04"


@dataclass(frozen=True)
class Base:
    """A shop and, for each change detection, a warehouse with its first release; every test begins with them."""

    spark: SparkSession
    folder: Path
    model: CompiledModel
    shop: Shop

    def first(self, mode: str) -> Path:
        """The warehouse after the first night by `mode`; made when first asked for, that by stat in small tasks."""
        path = self.folder / f"first-{mode}"
        if not path.exists():
            fresh, tasks = self.begin(), {"commit_every": 3} if mode == "stat" else {}
            refresh(self.spark, fresh, fresh.settings(new_warehouse(path, self.model), mode, embed=tasks))
        return path

    def begin(self) -> Shop:
        """The shop of the first night, in the same place: fingerprints speak of one."""
        shutil.rmtree(self.shop.folder, ignore_errors=True)
        shutil.copytree(self.folder / "saved", self.shop.folder)
        return replace(self.shop, rows={item: dict(row) for item, row in self.shop.rows.items()})


@pytest.fixture(scope="module")
def base(spark: SparkSession, model: CompiledModel, tmp_path_factory: pytest.TempPathFactory) -> Base:
    folder = tmp_path_factory.mktemp("shop")
    shop = Shop.of(folder / "shop", ITEMS)
    shop.path(LOST).unlink()
    shop.put(BAD, broken("truncated", 11))
    shutil.copytree(shop.folder, folder / "saved")
    return Base(spark, folder, model, shop)


@dataclass
class Nights:
    """One shop and one warehouse, refreshed as often as a test wants."""

    spark: SparkSession
    shop: Shop
    warehouse: Path
    settings: config.Settings

    @property
    def current(self) -> ReleaseFolder:
        return Warehouse(str(self.warehouse)).need_current()

    def refresh(self, **sections: dict[str, Any]) -> tuple[ReleaseFolder, dict[str, Any]]:
        """The release that is current after tonight's run, and its facts."""
        now = self.settings
        if sections:
            raw = now.model_dump()
            now = config.Settings.model_validate({**raw, **{k: {**raw[k], **v} for k, v in sections.items()}})
        release = refresh(self.spark, self.shop, now)
        assert leftovers(self.warehouse) == []
        return release, release.record().model_dump(mode="json")


Build = Callable[..., Nights]


@pytest.fixture
def nights(base: Base, tmp_path: Path) -> Build:
    """Builder of Nights after the first one."""

    def build(mode: str = "stat", **sections: dict[str, Any]) -> Nights:
        warehouse = copy_warehouse(base.first(mode), tmp_path / "warehouse")
        shop = base.begin()
        return Nights(base.spark, shop, warehouse, shop.settings(warehouse, mode, **sections))

    return build


@pytest.fixture
def first_nights(base: Base, tmp_path: Path) -> Build:
    """Builder of Nights before the first one."""

    def build(mode: str = "stat", **sections: dict[str, Any]) -> Nights:
        warehouse, shop = new_warehouse(tmp_path / "new", base.model), base.begin()
        return Nights(base.spark, shop, warehouse, shop.settings(warehouse, mode, **sections))

    return build


def inodes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in folder.iterdir()}


def by_item(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["item_id"]: row for row in rows(folder)}


def assert_same(found: ReleaseFolder, expected: ReleaseFolder, *but: str) -> None:
    """Two releases that differ in nothing but when and under which name they were made, and in the columns `but`."""
    assert rows(found.embeddings, "embedded_at", *but) == rows(expected.embeddings, "embedded_at", *but)
    times = ("attempts", "first_failed_at", "last_failed_at", *but)
    assert rows(found.failures, *times) == rows(expected.failures, *times)
    assert rows(found.similar_items, "release_id") == rows(expected.similar_items, "release_id")
    assert indexed(found.index) == indexed(expected.index)


def indexed(index: Path) -> dict[str, tuple[str | None, bytes]]:
    """The group and vector of every item of an index that is not deleted, whichever shard it is in."""
    listed = manifest.read(index)
    found = {}
    for shard in listed.shards:
        vectors = stored_vectors(index / shard.file, listed.file(shard))
        items = pq.read_table(index / shard.items_file, columns=["item_id", "deleted"]).to_pylist()
        live = {row["item_id"]: at for at, row in enumerate(items) if not row["deleted"]}
        assert not live.keys() & found.keys()
        found.update({item_id: (shard.group, vectors[at].tobytes()) for item_id, at in live.items()})
    return found


# ---- what is done again, and what is not


def test_exactly_the_changed_pictures_are_embedded_each_once(nights: Build) -> None:
    """The same bytes cost one inference, and another name or time none."""
    shop = nights()
    before = by_item(shop.current.embeddings)
    shop.shop.put("item-03", picture(103))
    shop.shop.put("item-07", picture(107))
    shop.shop.add("item-99", 99)
    shop.shop.add("twin-1", 50)
    shop.shop.add("twin-2", 50)
    shop.shop.add("twin-of-old", 4)
    shop.shop.rename("item-05", "renamed")
    shop.shop.touch("item-06")
    release, record = shop.refresh()
    assert record["changes"] == {"new": 4, "changed": 4, "unchanged": 6, "removed": 0, "failed": 2}
    assert record["pictures"] == {"read": 9, "embedded": 4}  # the lost one, too, is looked for
    assert record["parent"] == json.loads((shop.warehouse / "CURRENT").read_text())["earlier"][0]["release_id"]
    after = by_item(release.embeddings)
    known = {
        item for item, row in after.items() if item in before and row["embedded_at"] == before[item]["embedded_at"]
    }
    assert after.keys() - known == {"item-03", "item-07", "item-99", "twin-1", "twin-2", "twin-of-old"}
    assert all(after[item]["embedding"] == before[item]["embedding"] for item in known)
    assert {item for item in known if after[item] != before[item]} == {"item-05", "item-06"}
    assert after["item-05"]["image_path"] == "images/renamed.png"
    assert after["twin-1"]["embedding"] == after["twin-2"]["embedding"]
    assert after["twin-of-old"]["embedding"] == after["item-04"]["embedding"]
    assert after["twin-of-old"]["embedded_at"] == before["item-04"]["embedded_at"]
    # A new name or time alone is a night without any vector of its own.
    shop.shop.rename("item-05", "renamed-again")
    shop.shop.touch("item-06")
    index = inodes(release.index)
    release, record = shop.refresh()
    assert record["pictures"] == {"read": 3, "embedded": 0}
    assert record["shards"] == {"built": 0, "reused": 1}
    assert inodes(release.index)["shard-00000.ann"] == index["shard-00000.ann"]


@pytest.fixture(scope="module")
def removed(base: Base) -> Nights:
    """After a night in which a sound item and one that failed have left the catalogue, and a path names no file."""
    warehouse = copy_warehouse(base.first("stat"), base.folder / "removed")
    night = without_removed(base, warehouse)
    night.refresh()
    return night


def without_removed(base: Base, warehouse: Path) -> Nights:
    """The shop of that night and a warehouse."""
    shop = base.begin()
    for item in (GONE, LOST):
        del shop.rows[item]
    shop.rows[BAD]["image_path"] = "ftp://host/picture.png"
    return Nights(base.spark, shop, warehouse, shop.settings(warehouse))


@pytest.fixture
def after_removed(removed: Nights, base: Base, tmp_path: Path) -> Nights:
    """A copy of it: no failure of that night is tried again."""
    return without_removed(base, copy_warehouse(removed.warehouse, tmp_path / "warehouse"))


def test_removed_item_vanishes_from_every_table(removed: Nights, base: Base) -> None:
    first = Warehouse(str(base.first("stat"))).need_current()
    assert any(row["similar_item_id"] == GONE for row in rows(first.similar_items))
    release = removed.current
    assert release.record().changes.removed == 2
    assert release.record().pictures.embedded == 0
    assert GONE not in by_item(release.embeddings)
    for row in rows(release.similar_items):
        assert GONE not in (row["item_id"], row["similar_item_id"])
    kept = [row for shard in release.index.glob("*.items.parquet") for row in pq.read_table(shard).to_pylist()]
    assert [row["deleted"] for row in kept if row["item_id"] == GONE] == [True]


def test_removed_item_that_failed_vanishes_from_the_failures(removed: Nights) -> None:
    assert [row["item_id"] for row in rows(removed.current.failures)] == [BAD]


def test_item_that_comes_back_costs_no_inference(after_removed: Nights, base: Base) -> None:
    first = by_item(Warehouse(str(base.first("stat"))).need_current().embeddings)[GONE]
    shop = after_removed.shop
    shop.rows |= {item: dict(base.shop.rows[item]) for item in (GONE, LOST)}
    shop.put(GONE, shop.path(GONE).read_bytes())
    release, record = after_removed.refresh()
    assert record["changes"]["new"] == 2
    assert record["pictures"] == {"read": 2, "embedded": 0}
    again = by_item(release.embeddings)[GONE]
    assert (again["embedding"], again["embedded_at"]) == (first["embedding"], first["embedded_at"])


def assert_does_nothing(shop: Nights, capsys: pytest.CaptureFixture[str]) -> None:
    """Check that a night publishes nothing and says so."""
    before, releases = (shop.warehouse / "CURRENT").read_bytes(), list((shop.warehouse / "releases").iterdir())
    capsys.readouterr()
    shop.refresh()
    said = capsys.readouterr().err
    assert f"nothing to do: the release {shop.current.release_id} is up to date and stays current" in said
    assert "index:" not in said
    assert (shop.warehouse / "CURRENT").read_bytes() == before
    assert list((shop.warehouse / "releases").iterdir()) == releases


def test_night_without_changes_does_nothing_and_by_column_looks_at_no_picture(
    nights: Build, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = nights("column")
    shop.shop.put(LOST, picture(10))  # the only one that would be tried again
    shop.refresh()
    (shop.shop.folder / "images").rename(shop.shop.folder / "hidden")
    monkeypatch.setattr(shop.shop, "write", lambda: None)  # the catalogue knows nothing of it
    assert_does_nothing(shop, capsys)


def test_change_that_keeps_size_and_time_is_seen_by_content_only(
    after_removed: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    """By stat no picture's bytes are read; by content the bytes are all that counts."""
    shop, was = after_removed, after_removed.current
    path = shop.shop.path("item-05")
    before = path.stat()
    path.write_bytes(next(data for data in map(picture, itertools.count(200)) if len(data) == before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert_does_nothing(shop, capsys)
    shop.settings = shop.shop.settings(shop.warehouse, "content")
    release, record = shop.refresh()
    assert record["pictures"]["embedded"] == 1
    assert by_item(release.embeddings)["item-05"]["embedding"] != by_item(was.embeddings)["item-05"]["embedding"]
    assert_does_nothing(shop, capsys)


def test_only_passing_failures_are_tried_again_in_a_light_release(
    nights: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = nights()
    first = shop.current
    failures = by_item(first.failures)
    assert (failures[LOST]["attempts"], failures[BAD]["attempts"]) == (1, 1)
    release, record = shop.refresh()
    assert "index and neighbours of the current release: no embedding changed" in capsys.readouterr().err
    again = by_item(release.failures)
    assert again[BAD] == failures[BAD]
    assert again[LOST]["attempts"] == 2
    assert again[LOST]["first_failed_at"] == failures[LOST]["first_failed_at"]
    assert again[LOST]["last_failed_at"] > failures[LOST]["last_failed_at"]
    assert record["pictures"] == {"read": 1, "embedded": 0}
    assert record["shards"] == {"built": 0, "reused": 1}
    assert inodes(release.index) == inodes(first.index)
    assert inodes(release.embeddings) == inodes(first.embeddings)
    assert rows(release.similar_items, "release_id") == rows(first.similar_items, "release_id")
    assert {row["release_id"] for row in rows(release.similar_items)} == {release.release_id}
    # Two pictures heal: the file that was missing and the one that was cut short.
    shop.shop.put(LOST, picture(10))
    shop.shop.put(BAD, picture(11))
    release, record = shop.refresh()
    assert record["pictures"]["embedded"] == 2
    assert rows(release.failures) == []


def test_another_model_says_so_and_embeds_every_picture_again(
    nights: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = nights()
    old = shop.current.record().model.model_id
    (facts,) = (shop.warehouse / "models").glob("*.json")
    known, artefact = json_file.unsealed(facts.read_bytes()), facts.with_suffix(".tflite")
    artefact.write_bytes(artefact.read_bytes() + bytes(16))  # the same network, to the last bit
    new = model_id(artefact.read_bytes(), known["input_size"], known["engine"], known["preprocessing"])
    facts.write_bytes(json_file.sealed({**known, "model_id": new}))
    release, record = shop.refresh()
    said = capsys.readouterr().err
    assert f"model {new} takes the place of {old}: every item gets a new vector" in said
    assert record["pictures"] == {"read": 11, "embedded": 10}  # and each is read, lest its hash is an old one
    assert record["changes"]["unchanged"] == 10
    assert {row["model_id"] for row in rows(release.embeddings)} == {new}


def test_change_in_one_group_leaves_the_shards_of_the_others(first_nights: Build) -> None:
    shop = first_nights(similar={"group_by": "kind"})
    first, _ = shop.refresh()
    shop.shop.put("item-03", picture(103))  # of kind-0, the first shard
    release, record = shop.refresh()
    assert record["shards"] == {"built": 1, "reused": 2}
    before, after = inodes(first.index), inodes(release.index)
    shards = {name for name in before if name.endswith(".ann")}
    # The small group is built again, with a new number.
    assert {name for name in shards if before[name] != after.get(name)} == {"shard-00000.ann"}
    # An item that changes its group touches two of the three.
    shop.shop.rows["item-04"]["kind"] = "kind-2"
    _, record = shop.refresh()
    assert record["shards"] == {"built": 2, "reused": 1}
    assert record["pictures"]["embedded"] == 0


def test_another_change_detection_writes_its_fingerprints_and_embeds_nothing(nights: Build, base: Base) -> None:
    shop = nights("stat")
    shop.settings = shop.shop.settings(shop.warehouse, "content")
    release, record = shop.refresh()
    assert record["pictures"]["embedded"] == 0
    assert record["shards"]["built"] == 0
    assert_same(release, Warehouse(str(base.first("content"))).need_current())


def test_path_that_names_no_file_for_good_is_not_tried_again(
    after_removed: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    assert after_removed.current.record().counts.failed_by_reason == {"bad_uri": 1}
    assert_does_nothing(after_removed, capsys)


def test_last_sound_picture_may_go(nights: Build) -> None:
    shop = nights()
    shop.shop.rows = {BAD: shop.shop.rows[BAD]}
    release, record = shop.refresh()
    assert (record["counts"]["embedded"], record["counts"]["failed"]) == (0, 1)
    assert rows(release.embeddings) == []
    assert rows(release.similar_items) == []


def test_kept_columns_may_have_any_type_and_the_names_that_the_job_uses_itself(
    nights: Build, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    of_the_delta = ("kept", "old_kept", "old_path", "old_hash", "in_catalogue", "status", "was_embedded", "keep")
    of_the_embed_step = ("item", "hashing", "outcome", "has_outcome", "embed_reason")
    of_later_steps = ("group", "shard", "first", "rank", "score", "release_id", "label", "count", "of it")
    names = (*of_the_delta, *of_the_embed_step, *of_later_steps)
    shop = nights(catalogue={"keep_columns": (*names, "facts")})
    for gone in (LOST, "item-05"):  # the only one that would be tried again, and one that was embedded
        del shop.shop.rows[gone]

    def write(colour: str) -> None:
        table = pa.Table.from_pylist(list(shop.shop.rows.values())).select(["item_id", "image_path"])
        for name in names:
            table = table.append_column(name, pa.array([name] * len(table)))
        facts = pa.array([[{"tags": [("colour", colour)]}]] * len(table), _FACTS)
        pq.write_table(table.append_column("facts", facts), shop.shop.folder / "catalogue.parquet")

    def assert_kept(release: ReleaseFolder, colour: str) -> None:
        for row in rows(release.embeddings):
            assert [row[name] for name in names] == list(names)
            assert row["facts"] == [{"tags": [("colour", colour)]}]

    monkeypatch.setattr(shop.shop, "write", lambda: None)
    write("red")
    first, _ = shop.refresh()
    assert_kept(first, "red")
    assert_does_nothing(shop, capsys)
    write("blue")
    release, record = shop.refresh()
    assert record["pictures"] == {"read": 0, "embedded": 0}
    assert_kept(release, "blue")


_FACTS = pa.list_(pa.struct([("tags", pa.map_(pa.string(), pa.string()))]))


# ---- a run that is stopped


def test_several_checkpoints_give_the_same_release(base: Base) -> None:
    several, one = (Warehouse(str(base.first(mode))).need_current() for mode in ("stat", "content"))
    assert [made.record().pictures.embedded for made in (several, one)] == [10, 10]
    assert_same(several, one, "fingerprint")


def test_run_after_a_stopped_one_continues_from_its_checkpoints(
    first_nights: Build, base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stopped after the embedding, with the files of some tasks: as when it is killed while others run."""
    shop = first_nights(embed={"commit_every": 3})

    def failing(*_: object) -> None:
        raise RuntimeError("stopped")

    def stop() -> list[Path]:
        monkeypatch.setattr(pipeline, "write_neighbours", failing)
        with pytest.raises(RuntimeError, match="stopped"):
            shop.refresh()
        monkeypatch.undo()
        assert not (shop.warehouse / "CURRENT").exists()
        return [file for folder in checkpoints_of(shop) for file in folder.iterdir()]

    made = stop()
    assert len(made) > 2  # a file for each task
    assert sum(pq.read_metadata(file).num_rows for file in made) == 11
    made[0].unlink()
    torn = made[1].read_bytes()
    made[1].write_bytes(torn[:-20])
    done = sum(pq.read_metadata(file).num_rows for file in made[2:])
    again = stop()
    sound = [file for file in again if file.read_bytes() != torn[:-20]]
    assert sum(pq.read_metadata(file).num_rows for file in sound) == 11
    assert len(sound) > len(made[2:])
    assert 0 < done < 11

    release, record = shop.refresh()
    assert record["pictures"]["embedded"] == 0
    assert_same(release, Warehouse(str(base.first("stat"))).need_current())
    assert list((shop.warehouse / "checkpoints").iterdir()) == []


def checkpoints_of(shop: Nights) -> list[Path]:
    return sorted((shop.warehouse / "checkpoints").glob("*/*/*"))


def test_refused_run_has_embedded_for_the_next_one_what_has_the_same_bytes_then(nights: Build) -> None:
    shop = nights()
    shop.shop.put("item-03", picture(103))
    shop.shop.put("item-07", picture(107))
    before = shop.current
    with pytest.raises(GateError):
        shop.refresh(gates={"max_failed_share": 0.0})
    assert shop.current == before
    assert len(checkpoints_of(shop)) == 1
    shop.shop.put("item-07", picture(207))
    release, record = shop.refresh()
    assert record["pictures"]["embedded"] == 1
    hashes = [{item: row["image_hash"] for item, row in by_item(one.embeddings).items()} for one in (before, release)]
    assert {item for item in hashes[0] if hashes[0][item] != hashes[1][item]} == {"item-03", "item-07"}
    assert list((shop.warehouse / "checkpoints").iterdir()) == []


# ---- any changes at all

Change = tuple[Any, ...]

_items = st.integers(0, ITEMS + 3).map("item-{:02d}".format)
_seeds = st.integers(0, ITEMS + 5)

changes: st.SearchStrategy[Change] = st.one_of(
    st.tuples(st.just("picture"), _items, _seeds),  # a new item too, and the bytes of another one
    st.tuples(st.just("break"), _items, st.sampled_from(sorted(BROKEN))),
    st.tuples(st.just("lose"), _items),
    st.tuples(st.just("touch"), _items),
    st.tuples(st.just("rename"), _items, st.integers(0, 5)),
    st.tuples(st.just("share"), _items, _items),
    st.tuples(st.just("remove"), _items),
    st.tuples(st.just("price"), _items, st.sampled_from([1, 2, None])),
    st.tuples(st.just("kind"), _items, st.sampled_from(["kind-0", "kind-1", None])),
    st.tuples(st.just("limit"), st.sampled_from([{}, {"max_bytes": 300}, {"max_pixels": 2000}])),
)


def apply(shop: Shop, change: Change) -> None:
    """Change the shop; what cannot be, such as the touch of a missing file, changes nothing."""
    what, item, *rest = change
    there = item in shop.rows and shop.path(item).is_file()
    match what, *rest:
        case "picture", seed:
            shop.put(item, picture(seed)) if item in shop.rows else shop.add(item, seed)
        case "break", how if item in shop.rows:
            shop.put(item, broken(how, 3))
        case ("lose",) if there:
            shop.path(item).unlink()
        case ("touch",) if there:
            shop.touch(item)
        case "rename", number if there:
            shop.rename(item, f"name-{number}")
        case "share", other if {item, other} <= set(shop.rows):
            shop.rows[item]["image_path"] = shop.rows[other]["image_path"]
        case ("remove",) if item in shop.rows and len(shop.rows) > 1:
            del shop.rows[item]
        case (("price" | "kind"), value) if item in shop.rows:
            shop.rows[item][what] = value


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    return lambda: tmp_path_factory.mktemp("example")


# Where no item changes: what hypothesis tries first, and other tests have.
DULL = [[("picture", "item-00", 0)]]


@pytest.mark.stories
@pytest.mark.parametrize(("mode", "number"), [("stat", 1), ("column", 0), ("content", 3)])
def test_any_changes_end_where_a_run_from_nothing_does(
    base: Base, folders: Callable[[], Path], mode: str, number: int
) -> None:
    @stories(1, number)
    @given(st.lists(st.lists(changes, min_size=1, max_size=6), min_size=1, max_size=3))
    def check(story: list[list[Change]]) -> None:
        assume(story != DULL)
        folder = folders()
        warehouse, shop = copy_warehouse(base.first(mode), folder / "warehouse"), base.begin()
        limits: dict[str, int] = {}
        for night in story:
            note(f"tonight: {night}")
            for change in night:
                if change[0] == "limit":
                    limits = change[1]
                else:
                    apply(shop, change)
            refresh(base.spark, shop, shop.settings(warehouse, mode, images=limits))
            assert leftovers(warehouse) == []
        fresh = new_warehouse(folder / "fresh", base.model)
        expected = refresh(base.spark, shop, shop.settings(fresh, mode, images=limits))
        assert_same(Warehouse(str(warehouse)).need_current(), expected)

    check()
