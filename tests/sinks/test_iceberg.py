"""Iceberg tables over the files of releases: read by PyIceberg and Polars, moved, rolled back and cleaned."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table
from pyiceberg.utils.config import Config

from lookalike.errors import ConfigError
from lookalike.sinks import iceberg_catalog, iceberg_table
from lookalike.sinks.opening import open_sinks
from support import records
from support.published import FIRST, KEPT, SECOND, TABLES, THIRD, Shelf
from support.rest_catalog import TOKEN, rest_catalog


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")  # else it warns that its own is not installed
    folder = tmp_path / "it's [a] `b` 100%20"
    folder.mkdir()
    return Shelf(folder, {"iceberg": {"namespace": "shop"}})


def catalog_of(shelf: Shelf) -> Catalog:
    found = iceberg_catalog.properties(shelf.settings, shelf.warehouse)
    return iceberg_catalog.open_catalog(found, shelf.warehouse)


def table(shelf: Shelf, name: str = "similar_items") -> Table:
    with closing(catalog_of(shelf)) as catalog:
        return catalog.load_table(("shop", name))


def tags(shelf: Shelf, name: str = "similar_items") -> list[str]:
    return sorted(ref for ref in table(shelf, name).refs() if ref != "main")


def named_files(shelf: Shelf) -> Iterator[Path]:
    """All files that any snapshot, manifest list or manifest of a table names."""
    for name in TABLES:
        found = table(shelf, name)
        for snapshot in found.metadata.snapshots:
            yield Path(snapshot.manifest_list)
            for manifest in snapshot.manifests(found.io):
                yield Path(manifest.manifest_path)
                yield from (Path(entry.data_file.file_path) for entry in manifest.fetch_manifest_entry(found.io, False))


def test_each_table_is_that_of_the_release(shelf: Shelf) -> None:
    release = shelf.put(FIRST, kept=KEPT)
    shelf.run("publish")
    for name in TABLES:
        files = pq.read_table(release.root / name).to_pylist()
        assert table(shelf, name).scan().to_arrow().to_pylist() == files
        assert pl.scan_iceberg(table(shelf, name)).collect().to_dicts() == files
        assert tags(shelf, name) == [FIRST]
    with closing(catalog_of(shelf)) as catalog:
        assert {name for _, name in catalog.list_tables("shop")} == set(TABLES)


def test_rollback_over_three_releases_and_back_is_that_of_their_snapshots(shelf: Shelf) -> None:
    pairs = {FIRST: [("a", "b")], SECOND: [("a", "c"), ("c", "a")], THIRD: [("d", "a")]}
    for release_id, found in pairs.items():
        shelf.put(release_id, found)
        shelf.run("publish")
    for release_id in (FIRST, THIRD, SECOND, FIRST):
        shelf.run(f"rollback {release_id}")
        rows = table(shelf).scan().to_arrow().to_pylist()
        assert [(row["item_id"], row["similar_item_id"]) for row in rows] == pairs[release_id]
    found = table(shelf)
    assert tags(shelf) == [FIRST, SECOND, THIRD]
    assert len(found.metadata.snapshots) == 3, "a rollback makes none"
    second = found.scan(snapshot_id=found.refs()[SECOND].snapshot_id).to_arrow()
    assert second["similar_item_id"].to_pylist() == ["c", "a"]


def test_columns_come_and_go(shelf: Shelf) -> None:
    for release_id, kept in ((FIRST, {"price": [1, 2, 3]}), (SECOND, {"colour": ["r", "g", "b"]}), (THIRD, None)):
        shelf.put(release_id, kept=kept)
        shelf.run("publish")
    found = table(shelf, "embeddings")
    by_tag = {tag: found.scan(snapshot_id=found.refs()[tag].snapshot_id).to_arrow() for tag in (FIRST, SECOND)}
    assert by_tag[FIRST]["price"].to_pylist() == [1, 2, 3]
    assert by_tag[SECOND]["colour"].to_pylist() == ["r", "g", "b"]
    assert found.scan().to_arrow()["colour"].null_count == 3


KINDS = [pa.array(["x", None, "z"]), pa.array([1, None, 3]), pa.array([0.5, None, 2.5]), pa.array([{"a": 1}, None, {}])]


@pytest.mark.parametrize("other", KINDS[1:], ids=lambda kind: str(kind.type))
def test_column_of_another_type_leaves_no_tag_of_a_release_that_would_lack_it(shelf: Shelf, other: pa.Array) -> None:
    """Files know columns by name alone, so that those of before would be read without it."""
    for release_id, kind in ((FIRST, KINDS[0]), (SECOND, other)):
        release = shelf.put(release_id, kept={"p": kind, "q": [1, 2, 3]})
        text = shelf.run("publish")
        found = table(shelf, "embeddings")
        assert found.scan().to_arrow().to_pylist() == pq.read_table(release.embeddings).to_pylist()
        assert pl.scan_iceberg(found).collect().to_dicts() == pq.read_table(release.embeddings).to_pylist()
        assert tags(shelf, "embeddings") == [release_id]
    assert "the Iceberg table embeddings has a new type for 'p', and no earlier release any more" in text
    assert tags(shelf) == [FIRST, SECOND]
    shelf.run("rollback")
    assert table(shelf, "embeddings").scan().to_arrow()["p"].to_pylist() == KINDS[0].to_pylist()
    assert tags(shelf, "embeddings") == [FIRST]
    shelf.run(f"rollback {SECOND}")
    assert f"removed  {FIRST}" in shelf.run("clean --keep 1")
    assert [path for path in named_files(shelf) if not path.exists()] == []


def test_column_whose_name_changes_in_capitals_stays_one(shelf: Shelf) -> None:
    shelf.put(FIRST, kept={"Price": [1, 2, 3]})
    shelf.run("publish")
    shelf.put(SECOND, kept={"price": [4, 5, 6]})
    shelf.run("publish")
    found = table(shelf, "embeddings")
    assert [name for name in found.schema().column_names if name.lower() == "price"] == ["price"]
    assert found.scan().to_arrow()["price"].to_pylist() == [4, 5, 6]
    before = found.scan(snapshot_id=found.refs()[FIRST].snapshot_id)
    assert before.to_arrow()["Price"].to_pylist() == [1, 2, 3]
    assert pl.scan_iceberg(found).collect()["price"].to_list() == [4, 5, 6]


def test_duplicates_that_are_no_longer_searched_leave_an_empty_table(shelf: Shelf) -> None:
    first = shelf.put(FIRST)
    shelf.table(first, "duplicates", item_id=["b"])
    records.write_record(first)
    shelf.run("publish")
    assert len(table(shelf, "duplicates").scan().to_arrow()) == 1
    shelf.put(SECOND, failed=())
    shelf.run("publish")
    assert len(table(shelf, "duplicates").scan().to_arrow()) == len(table(shelf, "failures").scan().to_arrow()) == 0


def test_clean_expires_what_it_removes_and_no_snapshot_names_a_file_that_is_gone(shelf: Shelf) -> None:
    for release_id in (FIRST, SECOND, THIRD):
        shelf.put(release_id)
        shelf.run("publish")
    assert FIRST in "".join(map(str, named_files(shelf)))
    text = shelf.run("clean --keep 2")
    assert f"removed  {FIRST}" in text
    assert tags(shelf) == [SECOND, THIRD]
    assert [path for path in named_files(shelf) if not path.exists()] == []
    assert shelf.warehouse.shown == {"iceberg shop": [SECOND, THIRD]}
    metadata = shelf.warehouse.path / "iceberg/shop/similar_items/metadata"
    assert len(list(metadata.glob("*.avro"))) == 4, "a list and a manifest for each snapshot"


def test_clean_without_the_setting_removes_no_file_that_a_snapshot_names(shelf: Shelf) -> None:
    shelf.put(FIRST)
    shelf.run("publish")
    shelf.put(SECOND)
    shelf.run("publish")
    with_setting, shelf.publish = shelf.publish, {}
    assert "shown by the Iceberg tables of shop" in shelf.run("clean --keep 1")
    shelf.publish = with_setting
    assert f"removed  {FIRST}" in shelf.run("clean --keep 1")


def test_clean_removes_nothing_while_the_catalog_cannot_be_changed(shelf: Shelf) -> None:
    for release_id in (FIRST, SECOND):
        shelf.put(release_id)
        shelf.run("publish")
    database = shelf.warehouse.path / "iceberg" / "catalog.db"
    database.rename(database.with_name("elsewhere"))
    database.write_text("no database")
    line = shelf.refusal("clean --keep 1")
    assert line.startswith("SinkError: no release was removed, since the Iceberg tables of shop cannot be changed (")
    assert len(shelf.warehouse.releases()) == 2
    database.with_name("elsewhere").replace(database)
    shelf.run("clean --keep 1")


def test_release_that_a_table_still_shows_stays(shelf: Shelf) -> None:
    """The sink failed since: `main` is at an older release."""
    shelf.put(FIRST)
    shelf.run("publish")
    shelf.put(SECOND)
    assert "shown by the Iceberg tables of shop" in shelf.run("clean --keep 1")
    assert [path for path in named_files(shelf) if not path.exists()] == []
    shelf.run("publish")
    assert f"removed  {FIRST}" in shelf.run("clean --keep 1")


@pytest.mark.parametrize("damage", ["no database", None], ids=["damaged", "a folder"])
def test_catalog_that_fails_leaves_the_release_current_until_it_is_mended(shelf: Shelf, damage: str | None) -> None:
    shelf.put(FIRST)
    database = shelf.warehouse.path / "iceberg" / "catalog.db"
    database.parent.mkdir()
    database.write_text(damage) if damage else database.mkdir()
    line = shelf.refusal("publish")
    assert line.startswith(f"SinkError: the release {FIRST} is current, but the Iceberg tables of shop cannot be ")
    assert line.endswith("if it is damaged, remove it: it is made again; then run `lookalike releases publish`")
    assert f"check the rights of {database}, and who holds it" in line
    assert shelf.warehouse.need_current().release_id == FIRST
    database.unlink() if damage else database.rmdir()
    shelf.run("publish")
    assert tags(shelf) == [FIRST]


def test_full_disk_is_named_with_what_to_do(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    shelf.put(FIRST)
    monkeypatch.setattr(SqlCatalog, "create_table", refuse)
    assert "(database or disk is full); free bytes and inodes (df -h, df -i)" in shelf.refusal("publish")


def test_columns_that_are_one_to_iceberg_are_named(shelf: Shelf) -> None:
    shelf.put(FIRST, kept={"a": [{"b": 1}] * 3})
    shelf.run("publish")
    shelf.put(SECOND, kept={"a.b": [1, 2, 3], "a": [{"b": 1}] * 3})
    assert "a.b is b in a to Iceberg: leave one of them out of catalogue.keep_columns" in shelf.refusal("publish")
    assert table(shelf, "embeddings").scan().to_arrow()["a"].to_pylist() == [{"b": 1}] * 3
    assert tags(shelf, "embeddings") == [FIRST]


def test_copy_of_a_warehouse_leaves_the_tables_of_the_first_alone(shelf: Shelf) -> None:
    for release_id in (FIRST, SECOND):
        shelf.put(release_id)
        shelf.run("publish")
    copy = Shelf(shelf.folder.with_name("copy"), shelf.publish, parent=SECOND)
    shutil.copytree(shelf.folder, copy.folder, symlinks=True)
    before = sorted(shelf.folder.rglob("*"))
    copy.put(THIRD, [("a", "b")])
    assert f"it is that of the warehouse {shelf.warehouse.name}" in copy.run("publish")
    copy.run("clean --keep 1")
    assert sorted(shelf.folder.rglob("*")) == before
    assert len(table(shelf).scan().to_arrow()) == 3
    assert len(table(copy).scan().to_arrow()) == 1
    assert tags(copy) == [THIRD]
    assert {str(path.relative_to(copy.folder))[:10] for path in named_files(copy)} == {"warehouse/"}


@pytest.mark.parametrize("gone", ["the folder", "the metadata", "the manifests"])
def test_table_of_what_was_moved_or_removed_is_made_again(shelf: Shelf, gone: str) -> None:
    for release_id in (FIRST, SECOND):
        shelf.put(release_id)
        shelf.run("publish")
    if gone == "the folder":
        shelf = Shelf(shelf.folder.rename(shelf.folder.with_name("moved")), shelf.publish, parent=SECOND)
    for path in (shelf.warehouse.path / "iceberg").rglob("*.json" if gone == "the metadata" else "*.avro"):
        path.unlink()
    shelf.put(THIRD)
    shelf.run("publish")
    shelf.run("clean --keep 1")
    assert len(table(shelf).scan().to_arrow()) == 3
    assert tags(shelf) == [THIRD]


def test_tables_of_another_warehouse_and_of_others_are_refused(shelf: Shelf) -> None:
    shelf.publish = {"iceberg": {"type": "sql", "uri": f"sqlite:///{shelf.folder.parent}/shared.db"}}
    shelf.put(FIRST)
    shelf.run("publish")
    other = Shelf(shelf.folder.with_name("other"), shelf.publish)
    other.folder.mkdir()
    other.put(SECOND)
    line = other.refusal("publish")
    assert f"since it is that of the warehouse {shelf.warehouse.name}; name another namespace, or drop the" in line
    other.publish = {"iceberg": {**shelf.publish["iceberg"], "namespace": "theirs"}}
    with closing(catalog_of(other)) as catalog:
        catalog.create_namespace("theirs")
        catalog.create_table(("theirs", "embeddings"), pa.schema([("x", pa.int64())]))
    assert "theirs.embeddings cannot be changed, since lookalike has not made it" in other.refusal("publish")


def test_commit_of_somebody_else_at_the_same_time_is_followed_by_another(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.put(FIRST)
    shelf.run("publish")
    shelf.put(SECOND, [("c", "a")])
    commit, asked = SqlCatalog.commit_table, list[Table]()

    def lost_once(catalog: SqlCatalog, found: Table, *rest: Any) -> Any:
        asked.append(found)
        if len(asked) == 1:
            raise CommitFailedException("it has changed")
        return commit(catalog, found, *rest)

    monkeypatch.setattr(SqlCatalog, "commit_table", lost_once)
    shelf.run("publish")
    assert len(asked) == 1 + len(TABLES)
    found = table(shelf)
    assert found.refs()[SECOND].snapshot_id == found.refs()["main"].snapshot_id
    assert found.scan().to_arrow()["item_id"].to_pylist() == ["c"]
    assert [path for path in named_files(shelf) if not path.exists()] == []


def test_server_that_is_down_is_named(shelf: Shelf) -> None:
    shelf.put(FIRST)
    shelf.publish = {"iceberg": {"type": "rest", "uri": "http://127.0.0.1:9"}}
    assert "the Iceberg tables of lookalike cannot be changed (" in shelf.refusal("publish")
    assert shelf.warehouse.need_current().release_id == FIRST


def know(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """Start with a token in the environment, which PyIceberg reads when it is imported."""
    monkeypatch.setenv("PYICEBERG_CATALOG__LOOKALIKE__TOKEN", token)
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG", Config())


def test_live_rest_catalog_follows_releases_and_a_clean_up(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(monkeypatch, TOKEN)
    with rest_catalog(tmp_path / "served") as server:
        shelf.publish = {"iceberg": {"type": "rest", "uri": server.uri, "namespace": "shop"}}
        for release_id, pairs in ((FIRST, [("a", "b")]), (SECOND, [("a", "c")]), (THIRD, [("a", "d"), ("a", "b")])):
            release = shelf.put(release_id, pairs, kept=KEPT if release_id == THIRD else None)
            shelf.run("publish")
        for name in TABLES:
            files = pq.read_table(release.root / name).to_pylist()
            assert table(shelf, name).scan().to_arrow().to_pylist() == files
        assert tags(shelf) == [FIRST, SECOND, THIRD]
        shelf.run(f"rollback {FIRST}")
        assert table(shelf).scan().to_arrow()["similar_item_id"].to_pylist() == ["b"]
        assert f"removed  {SECOND}" in shelf.run("clean --keep 1")
        assert tags(shelf) == [FIRST, THIRD]
        assert not (shelf.warehouse.path / "iceberg").exists(), "the catalog is the server's"
        assert "POST /v1/namespaces/shop/tables/similar_items" in server.requests
        know(monkeypatch, "another")
        assert "cannot be changed (NotAuthorized: who are you?); check the catalog" in shelf.refusal("publish")


def test_kill_between_two_tables_is_mended(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.put(FIRST)
    shelf.run("publish")
    shelf.put(SECOND, [("a", "b")])
    commit = iceberg_table.commit

    def killed(found: Table, one: object, *rest: str) -> None:
        if "embeddings" in found.name():
            raise KeyboardInterrupt
        commit(found, one, *rest)  # type: ignore[arg-type]

    (sink,) = open_sinks(shelf.settings, shelf.warehouse, lambda: pytest.fail("no Spark"))
    with monkeypatch.context() as patch, shelf.warehouse.writer(60):
        patch.setattr(iceberg_table, "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            sink.publish(shelf.warehouse.need_current())
    assert (tags(shelf), tags(shelf, "embeddings")) == ([FIRST, SECOND], [FIRST])
    assert sorted(shelf.warehouse.shown["iceberg shop"]) == [FIRST, SECOND], "no clean-up removes what a table names"
    shelf.run("publish")
    assert tags(shelf, "embeddings") == [FIRST, SECOND]


def test_catalog_of_no_known_type_and_a_store_without_one_are_refused_before_a_run(shelf: Shelf) -> None:
    shelf.publish = {"iceberg": {"type": "oracle"}}
    with pytest.raises(ConfigError, match="no catalog of the type 'oracle'"):
        iceberg_catalog.properties(shelf.settings, shelf.warehouse)
