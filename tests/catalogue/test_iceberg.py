"""Iceberg tables, read by their metadata: the rows are those that another reader finds. Without Spark."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table
from pyiceberg.types import LongType

from lookalike.catalogue import objects, opening
from lookalike.catalogue.formats import iceberg
from lookalike.catalogue.source import CatalogueFiles
from lookalike.cli import checks
from lookalike.errors import CatalogueError
from support.catalogue_files import opened, rows_of, settings
from support.items_table import refusal
from support.rest_catalog import TOKEN, rest_catalog

Make = Any


def items(ids: str, **columns: Any) -> pa.Table:
    return pa.table({"item_id": list(ids), "image_path": [f"{one}.jpg" for one in ids], **columns})


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[SqlCatalog]:
    found = SqlCatalog("lake", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/lake")
    found.create_namespace("shop")
    yield found
    found.close()


def make(catalog: SqlCatalog, *tables: pa.Table, **options: Any) -> Table:
    table = catalog.create_table("shop.items", schema=tables[0].schema, **options)
    for one in tables:
        table.append(one)
    return table


def folder(table: Table) -> Path:
    return Path(table.location().removeprefix("file://"))


def check(table: Table) -> None:
    """Our rows are those that pyiceberg reads."""
    other = sorted(table.scan().to_arrow().to_pylist(), key=lambda row: str(row["item_id"]))
    names = ["item_id", *(field.name for field in table.schema().fields if field.name != "item_id")]
    assert rows_of(opened(folder(table)), *names) == [{name: row[name] for name in names} for row in other]


def test_columns_that_were_renamed_dropped_and_added_are_found_by_their_ids(catalog: SqlCatalog) -> None:
    table = make(catalog, items("ab", old=["x", "y"]))
    with table.update_schema() as change:
        change.rename_column("image_path", "path")
        change.delete_column("old")
    with table.update_schema() as change:
        change.add_column("old", LongType())  # another column of that name
        change.rename_column("path", "image_path")
    table.append(items("c", old=[7]))
    check(table)
    assert [row["old"] for row in rows_of(opened(folder(table)), "item_id", "old")] == [None, None, 7]


def test_fields_that_were_renamed_within_a_column_are_named_where_it_is_asked_for(catalog: SqlCatalog) -> None:
    columns = {"size": [{"w": 1, "h": 2}], "tags": [["x"]], "more": [[("k", 1)]]}
    kind = pa.map_(pa.string(), pa.int64())
    data = items("a", **{**columns, "more": pa.array(columns["more"], kind)})
    table = make(catalog, data)
    check(table)
    with table.update_schema() as change:
        change.rename_column(("size", "w"), "wide")
    assert rows_of(opened(folder(table)), "item_id", "tags", "more") == [
        {"item_id": "a", "tags": ["x"], "more": [("k", 1)]}
    ]
    said = "column 'size' is stored with other types or fields than those of the table in "
    assert said in refusal(lambda: rows_of(opened(folder(table)), "item_id", "size"))
    with table.update_schema() as change:
        change.delete_column(("size", "wide"))
    with table.update_schema() as change:
        change.add_column(("size", "w"), LongType())  # the old name, and another field
        change.move_first(("size", "w"))
    assert said in refusal(lambda: rows_of(opened(folder(table)), "item_id", "size"))


def test_rows_that_were_deleted_and_overwritten_are_left_out(catalog: SqlCatalog) -> None:
    table = make(catalog, items("abcd"), items("ef"))
    table.delete("item_id = 'b'")
    table.overwrite(items("z"), "item_id = 'e'")
    check(table)


def test_partitions_of_any_kind_are_read(catalog: SqlCatalog) -> None:
    days = [datetime.date(2026, 1, 2), None, datetime.date(1969, 12, 31)]
    data = items("abc", kind=["x", None, "a/b"], day=pa.array(days))
    table = catalog.create_table("shop.items", schema=data.schema)
    with table.update_spec() as change:
        change.add_identity("kind")
        change.add_identity("day")
    table.append(data)
    check(table)


def test_files_deleted_by_position_lose_these_rows(catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """pyiceberg reads such deletes and writes none: one is put into a manifest by hand."""
    from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
    from pyiceberg.table import DataScan, FileScanTask

    table = make(catalog, items("abcdef"), items("gh"))
    tasks = sorted(table.scan().plan_files(), key=lambda task: -task.file.record_count)
    path = folder(table) / "deletes.parquet"
    pq.write_table(pa.table({"file_path": [tasks[0].file.file_path] * 3, "pos": [5, 0, 3]}), path)
    file = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES, file_path=f"file://{path}", file_format=FileFormat.PARQUET
    )
    planned = [FileScanTask(tasks[0].file, {file}), *tasks[1:]]
    monkeypatch.setattr(DataScan, "plan_files", lambda _: planned)
    assert [row["item_id"] for row in rows_of(opened(folder(table)), "item_id")] == ["b", "c", "e", "g", "h"]


def test_imported_files_have_names_in_place_of_ids_and_partitions_in_their_folders(
    catalog: SqlCatalog, tmp_path: Path
) -> None:
    data = items("ab", kind=["x", "x"])
    table = catalog.create_table("shop.items", schema=data.schema)
    pq.write_table(items("ab", kind=["x", "x"]), tmp_path / "f.parquet")
    table.add_files([f"file://{tmp_path}/f.parquet"])
    with table.update_schema() as change:
        change.rename_column("kind", "colour")
    check(table)
    assert [row["colour"] for row in rows_of(opened(folder(table)), "item_id", "colour")] == ["x", "x"]


def test_value_of_a_partition_is_taken_where_the_file_lacks_it(catalog: SqlCatalog) -> None:
    values = {
        "kind": "x",
        "day": datetime.date(1969, 12, 31),
        "at": datetime.datetime(2026, 1, 2, 3, 4, 5, 6),  # noqa: DTZ001 - a time of no zone
        "seen": datetime.datetime(2026, 1, 2, 3, 4, 5, 6, datetime.UTC),
        "sold": True,
        "price": Decimal("1.50"),
    }
    data = items("ab", **{name: [value] * 2 for name, value in values.items()})
    table = catalog.create_table("shop.items", schema=data.schema)
    with table.update_spec() as change:
        for name in values:
            change.add_identity(name)
    table.append(data)
    (task,) = table.scan().plan_files()
    path = task.file.file_path.removeprefix("file://")
    pq.write_table(pq.read_table(path, partitioning=None).drop_columns([*values]), path)
    assert rows_of(opened(folder(table)), "item_id", *values) == [{"item_id": one, **values} for one in "ab"]


def test_table_is_found_by_its_name_where_pyiceberg_has_the_catalog(
    catalog: SqlCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(catalog, items("ab"))
    assert not opening.is_named_table("lake.shop.items")
    monkeypatch.setenv("PYICEBERG_CATALOG__LAKE__URI", f"sqlite:///{tmp_path}/catalog.db")
    found = objects.find_objects(settings(Path("lake.shop.items")), tmp_path, tmp_path)
    assert found is not None
    assert isinstance(found.opened, CatalogueFiles)
    assert [row["item_id"] for row in rows_of(found.opened, "item_id")] == ["a", "b"]
    gone = settings(Path("lake.shop.gone"))
    assert "the Iceberg catalog 'lake' has no table 'shop.gone'" in refusal(
        lambda: objects.find_objects(gone, tmp_path, tmp_path)
    )
    assert objects.find_objects(settings(Path("other.shop.items")), tmp_path, tmp_path) is None
    monkeypatch.chdir(tmp_path)
    checks.before_run(settings(Path("lake.more.levels.items")))
    with pytest.raises(CatalogueError, match=r"no file, folder or table 'other\.more\.levels\.items'"):
        checks.before_run(settings(Path("other.more.levels.items")))


def test_table_of_a_live_rest_catalog_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = settings(Path("rest.shop.items"))
    monkeypatch.setenv("PYICEBERG_CATALOG__REST__TOKEN", TOKEN)
    with rest_catalog(tmp_path / "lake") as server:
        server.catalog.create_namespace("shop")
        table = make(server.catalog, items("ab"))
        table.append(items("c"))
        monkeypatch.setenv("PYICEBERG_CATALOG__REST__URI", server.uri)
        assert opening.kind_at("rest.shop.items") == "iceberg"
        found = objects.find_objects(wanted, tmp_path, tmp_path)
        assert found is not None
        assert isinstance(found.opened, CatalogueFiles)
        assert [row["item_id"] for row in rows_of(found.opened, "item_id")] == ["a", "b", "c"]
        assert "GET /v1/namespaces/shop/tables/items" in server.requests
        gone = settings(Path("rest.shop.gone"))
        assert "the Iceberg catalog 'rest' has no table 'shop.gone'" in refusal(
            lambda: objects.find_objects(gone, tmp_path, tmp_path)
        )
        monkeypatch.setenv("PYICEBERG_CATALOG__REST__TOKEN", "another")
        assert "does not answer (NotAuthorized: who are you?)" in refusal(
            lambda: objects.find_objects(wanted, tmp_path, tmp_path)
        )
    assert "the Iceberg catalog 'rest' does not answer (" in refusal(
        lambda: objects.find_objects(wanted, tmp_path, tmp_path)
    )


def test_rest_catalog_that_hangs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iceberg, "_SECONDS", 0.5)
    monkeypatch.setenv("PYICEBERG_CATALOG__REST__TOKEN", TOKEN)
    with rest_catalog(tmp_path / "lake", hangs=True) as server:
        monkeypatch.setenv("PYICEBERG_CATALOG__REST__URI", server.uri)
        assert "the Iceberg catalog 'rest' does not answer (no answer after 0.5 s)" in refusal(
            lambda: objects.find_objects(settings(Path("rest.shop.items")), tmp_path, tmp_path)
        )


# --- which metadata is the current one


def test_metadata_file_may_be_named_itself_and_then_its_rows_count(catalog: SqlCatalog) -> None:
    table = make(catalog, items("ab"))
    before = table.metadata_location.removeprefix("file://")
    table.append(items("c"))
    assert len(rows_of(opened(folder(table)), "item_id")) == 3
    assert len(rows_of(opened(before), "item_id")) == 2


def test_hint_of_the_version_counts(catalog: SqlCatalog) -> None:
    table = make(catalog, items("ab"))
    metadata = folder(table) / "metadata"
    versions = sorted(metadata.glob("*.metadata.json"))
    for number, path in enumerate(versions, 1):
        path.rename(metadata / f"v{number}.metadata.json")
    (metadata / "version-hint.text").write_text(f"{len(versions)}\n")
    (metadata / "v9.metadata.json").write_text("{")  # of a writer that has not finished
    assert len(rows_of(opened(folder(table)), "item_id")) == 2


def test_two_metadata_files_of_one_number_are_named(catalog: SqlCatalog) -> None:
    table = make(catalog, items("ab"))
    current = Path(table.metadata_location.removeprefix("file://"))
    (current.parent / "00001-other.metadata.json").write_bytes(current.read_bytes())
    message = refusal(lambda: opened(folder(table)))
    assert "is an Iceberg table with two metadata files of one number, 00001-" in message


def test_table_that_cannot_be_read_is_named(catalog: SqlCatalog, tmp_path: Path) -> None:
    table = make(catalog, items("ab"))
    (task,) = table.scan().plan_files()
    path = Path(task.file.file_path.removeprefix("file://"))
    path.rename(tmp_path / "moved.parquet")
    assert f"{path} is gone, or not seen on this machine" in refusal(lambda: opened(folder(table)))
    for manifest in (folder(table) / "metadata").glob("*.avro"):
        manifest.unlink()
    assert "is an Iceberg table that cannot be read" in refusal(lambda: opened(folder(table)))
    next(iter((folder(table) / "metadata").glob("00001*"))).write_text(json.dumps({"format-version": 9}))
    assert "is an Iceberg table that cannot be read" in refusal(lambda: opened(folder(table)))


def test_table_without_rows_and_a_part_of_a_table_are_refused(catalog: SqlCatalog) -> None:
    table = catalog.create_table("shop.items", schema=items("a").schema)
    assert "has no rows; nothing to do" in refusal(lambda: opened(folder(table)))
    table.append(items("a"))
    message = refusal(lambda: opened(folder(table) / "data"))
    assert "is an Iceberg table, and its files hold deleted rows too; set catalogue.path to this folder" in message
