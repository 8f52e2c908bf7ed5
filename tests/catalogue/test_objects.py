"""Catalogues of all formats in an object store: what is read is what a disk would give. Without Spark."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from pyarrow import fs
from pyiceberg.catalog.sql import SqlCatalog

from lookalike import config
from lookalike.catalogue import objects
from lookalike.catalogue.convert import Place, RowFiles
from lookalike.storage.prefix import Prefix
from support.catalogue_files import rows_of
from support.items_table import refusal

ITEMS = pa.table({"item_id": ["a", "b"], "image_path": ["a.jpg", "b.jpg"]})

Bucket = tuple[str, config.StoreSettings]


@pytest.fixture
def bucket(endpoint: str, tmp_path: Path, request: pytest.FixtureRequest) -> Bucket:
    name = f"cat-{abs(hash(request.node.name)) % 10**8}"
    fs.S3FileSystem(endpoint_override=endpoint, region="us-east-1", allow_bucket_creation=True).create_dir(name)
    return name, config.StoreSettings(s3_endpoint=endpoint, s3_region="us-east-1")


def upload(folder: Path, prefix: Prefix) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            prefix.upload(path, path.relative_to(folder).as_posix())


def csv(folder: Path, uri: str) -> None:
    (folder / "kind=x").mkdir()
    (folder / "kind=x" / "a.csv").write_text("image_path;item_id\na.jpg;a\n")
    (folder / "b.csv").write_text("item_id,image_path\nb,b.jpg\n")
    (folder / "a.jpg").write_bytes(b"x")


def json_lines(folder: Path, uri: str) -> None:
    (folder / "x.jsonl").write_text("\n".join(map(json.dumps, ITEMS.to_pylist())))


def parquet(folder: Path, uri: str) -> None:
    pq.write_table(ITEMS, folder / "without suffix")
    (folder / "images").mkdir()
    (folder / "images" / "a.jpg").write_bytes(b"x")


def delta(folder: Path, uri: str) -> None:
    write_deltalake(
        folder, pa.table({**dict(zip(ITEMS.column_names, ITEMS.columns, strict=True)), "kind": ["x y", None]})
    )
    write_deltalake(folder, pa.table({"item_id": ["z"], "image_path": ["z"], "kind": ["z"]}), mode="append")
    DeltaTable(folder).delete("item_id = 'z'")


MAKERS: dict[str, Callable[[Path, str], None]] = {"csv": csv, "json": json_lines, "parquet": parquet, "delta": delta}


def find(bucket: Bucket, path: str, folder: Path) -> objects.StoredCatalogue | None:
    name, stores = bucket
    sections = {"catalogue": {"path": f"s3://{name}/{path}"}, "warehouse": {"path": "w"}, "stores": stores.model_dump()}
    return objects.find_objects(config.Settings.model_validate(sections), folder, folder)


def rows(found: objects.StoredCatalogue | None, folder: Path) -> list[dict[str, Any]]:
    assert found is not None
    opened = found.opened
    if isinstance(opened, RowFiles):
        chosen = config.Settings.model_validate({"catalogue": {"path": found.uri}, "warehouse": {"path": "w"}})
        opened.check(chosen)
        opened = opened.convert(chosen, Place(folder), lambda files, work: [work(one) for one in files])
    return rows_of(opened, "item_id", "image_path")


@pytest.mark.parametrize("case", MAKERS)
@pytest.mark.parametrize("folders", [objects.MOST_FOLDERS, 0], ids=["few folders", "many folders"])
def test_rows_are_those_of_a_disk(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, folders: int
) -> None:
    monkeypatch.setattr(objects, "MOST_FOLDERS", folders)
    name, stores = bucket
    (tmp_path / "made").mkdir()
    MAKERS[case](tmp_path / "made", "")
    upload(tmp_path / "made", Prefix(f"s3://{name}/shop/items", stores))
    found = find(bucket, "shop/items/", tmp_path / "copies")
    assert rows(found, tmp_path / "work" / "rows") == ITEMS.to_pylist()
    copied = {path.name for path in (tmp_path / "copies").rglob("*") if path.is_file()}
    assert "a.jpg" not in copied
    if case == "delta":  # the live files alone
        assert len([one for one in copied if one.endswith(".parquet")]) == 1


@pytest.mark.parametrize("case", MAKERS)
def test_format_is_told_by_the_names_of_the_objects_and_by_the_files(bucket: Bucket, tmp_path: Path, case: str) -> None:
    name, stores = bucket
    (tmp_path / "made").mkdir()
    MAKERS[case](tmp_path / "made", "")
    upload(tmp_path / "made", Prefix(f"s3://{name}/items", stores))
    for path in (f"s3://{name}/items", str(tmp_path / "made")):
        sections = {"catalogue": {"path": path}, "warehouse": {"path": "w"}, "stores": stores.model_dump()}
        settings = config.Settings.model_validate(sections)
        assert objects.kind_for_sql(settings) == case or (case == "parquet" and path.startswith("s3"))


def test_csv_that_no_sql_reads_is_a_format_of_its_own(tmp_path: Path) -> None:
    csv(tmp_path, "")
    sections = {"catalogue": {"path": str(tmp_path), "encoding": "cp1252"}, "warehouse": {"path": "w"}}
    assert objects.kind_for_sql(config.Settings.model_validate(sections)) == "csv in cp1252"


def test_single_object_is_read(bucket: Bucket, tmp_path: Path) -> None:
    name, stores = bucket
    (tmp_path / "made").mkdir()
    json_lines(tmp_path / "made", "")
    upload(tmp_path / "made", Prefix(f"s3://{name}", stores))
    assert rows(find(bucket, "x.jsonl", tmp_path / "copies"), tmp_path / "work" / "rows") == ITEMS.to_pylist()


def test_pictures_are_items_and_none_is_copied(bucket: Bucket, tmp_path: Path) -> None:
    name, stores = bucket
    for one in ("a.jpg", "in/b c.png", "LICENSE", ".hidden/x.jpg"):
        (tmp_path / "made" / one).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "made" / one).write_bytes(b"x")
    upload(tmp_path / "made", Prefix(f"s3://{name}/photos", stores))
    found = find(bucket, "photos", tmp_path / "copies")
    assert rows(found, tmp_path / "work" / "rows") == [
        {"item_id": "a", "image_path": f"s3://{name}/photos/a.jpg"},
        {"item_id": "in/b c", "image_path": f"s3://{name}/photos/in/b c.png"},
    ]
    assert {path.name for path in (tmp_path / "copies").rglob("*") if path.is_file()} <= {"LICENSE"}


@pytest.mark.parametrize("by", ["folder", "metadata", "name"])
def test_iceberg_table_is_read_by_folder_by_metadata_and_by_name(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    name, stores = bucket
    options = {"s3.endpoint": stores.s3_endpoint, "s3.region": "us-east-1"}
    catalog = SqlCatalog("lake", uri=f"sqlite:///{tmp_path}/c.db", warehouse=f"s3://{name}/lake", **options)
    catalog.create_namespace("shop")
    table = catalog.create_table("shop.items", schema=ITEMS.schema)
    table.append(pa.concat_tables([ITEMS, pa.table({"item_id": ["z"], "image_path": ["z"]})]))
    table.delete("item_id = 'z'")
    catalog.close()
    if by == "name":
        for key, value in {"URI": f"sqlite:///{tmp_path}/c.db", "S3__ENDPOINT": stores.s3_endpoint or ""}.items():
            monkeypatch.setenv(f"PYICEBERG_CATALOG__LAKE__{key}", value)
        monkeypatch.setenv("PYICEBERG_CATALOG__LAKE__S3__REGION", "us-east-1")
        sections = {"catalogue": {"path": "lake.shop.items"}, "warehouse": {"path": "w"}, "stores": stores.model_dump()}
        settings = config.Settings.model_validate(sections)
        found = objects.find_objects(settings, tmp_path / "copies", tmp_path / "copies")
    else:
        path = table.location() if by == "folder" else table.metadata_location
        found = find(bucket, path.removeprefix(f"s3://{name}/"), tmp_path / "copies")
    assert rows(found, tmp_path / "rows") == ITEMS.to_pylist()


def test_what_is_not_there_and_what_is_damaged_is_named_by_its_uri(bucket: Bucket, tmp_path: Path) -> None:
    name, stores = bucket
    message = refusal(lambda: find(bucket, "gone", tmp_path / "copies"))
    assert f"there is no object 's3://{name}/gone', and none below it" in message
    Prefix(f"s3://{name}", stores).write("bad/x.csv", b"item_id,image_path\na\n")
    found = find(bucket, "bad", tmp_path / "copies")
    assert found is not None

    def read() -> None:
        with found.named():
            rows(found, tmp_path / "work" / "rows")

    assert f"as in s3://{name}/bad/x.csv: line 2 has 1 fields" in refusal(read)
