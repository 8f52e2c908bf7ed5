"""Sinks of a warehouse in an object store: a real S3 server on the loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from pyarrow import fs

from lookalike.sinks import iceberg_catalog
from lookalike.sinks.delta import DeltaTables
from lookalike.storage.prefix import Prefix
from lookalike.warehouse import opening
from lookalike.warehouse.local import Warehouse
from support.published import FIRST, SECOND, TABLES, Shelf

BUCKET = "sinks"


class StoredShelf(Shelf):
    """A shelf whose warehouse is copied into a bucket."""

    @property
    def warehouse(self) -> Warehouse:
        return opening.open_warehouse(self.settings)

    def upload(self, folder: Path) -> None:
        """Copy the releases of a warehouse on the disk, and make the last one current."""
        prefix = Prefix(f"s3://{BUCKET}/wh", self.settings.stores)
        for path in sorted(folder.glob("releases/**/*")):
            if path.is_file():
                prefix.upload(path, path.relative_to(folder).as_posix())
        self.warehouse.roll_back(self.warehouse.releases()[-1])

    @property
    def place(self) -> dict[str, Any]:
        """Where the warehouse is."""
        return {"path": f"s3://{BUCKET}/wh", "cache": str(self.folder / "cache")}


@pytest.fixture
def shelf(tmp_path: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> StoredShelf:
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")
    store = fs.S3FileSystem(endpoint_override=endpoint, region="us-east-1", allow_bucket_creation=True)
    store.create_dir(BUCKET)
    store.delete_dir_contents(BUCKET)
    catalog = {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db"}
    stores = {"s3_endpoint": endpoint, "s3_region": "us-east-1"}
    shelf = StoredShelf(tmp_path, {"delta": True, "iceberg": catalog}, sections={"stores": stores})
    here = Shelf(tmp_path, {})
    here.put(FIRST, [("a", "b")])
    here.put(SECOND, [("c", "d")])
    shelf.upload(here.warehouse.path)
    return shelf


def options(shelf: StoredShelf) -> dict[str, str]:
    endpoint = shelf.settings.stores.s3_endpoint
    assert endpoint is not None
    return {"aws_endpoint": endpoint, "aws_region": "us-east-1", "aws_allow_http": "true"}


def test_tables_lie_in_the_store_and_follow_a_rollback_and_a_clean_up(shelf: StoredShelf) -> None:
    shelf.run("publish")
    place = f"s3://{BUCKET}/wh/releases/{SECOND}"
    for name in TABLES:
        found = DeltaTable(f"{place}/{name}", storage_options=options(shelf)).to_pyarrow_table().to_pylist()
        assert len(found) == {"similar_items": 1, "embeddings": 2, "failures": 1}[name]
        assert pl.scan_delta(f"{place}/{name}", storage_options=options(shelf)).collect().to_dicts() == found
    assert iceberg_rows(shelf) == [("c", "d")]
    assert shelf.warehouse.need_current().outer_problem() is None
    shelf.run("rollback")
    assert iceberg_rows(shelf) == [("a", "b")]
    shelf.run(f"rollback {SECOND}")
    assert f"removed  {FIRST}" in shelf.run("clean --keep 1")
    assert iceberg_rows(shelf) == [("c", "d")]
    left = Prefix(f"s3://{BUCKET}/wh", shelf.settings.stores).objects("releases")
    assert {name.split("/")[1] for name in left} == {SECOND}


def test_release_in_the_making_has_its_logs_before_it_is_current(shelf: StoredShelf) -> None:
    source = Shelf(shelf.folder, {}).warehouse.releases()[0].similar_items / "part-0.parquet"
    with shelf.warehouse.writer(60), shelf.warehouse.stage() as staged:
        path = staged.similar_items / "part-0.parquet"
        staged.shared.here(path).write_bytes(source.read_bytes())
        staged.add([staged.save(path)])
        for _ in range(2):  # again is as good as once
            DeltaTables().prepare(staged)
        place = f"s3://{BUCKET}/wh/releases/{staged.release_id}/similar_items"
        assert len(DeltaTable(place, storage_options=options(shelf)).to_pyarrow_table()) == 1
    with pytest.raises(TableNotFoundError):  # it was not published
        DeltaTable(place, storage_options=options(shelf))


def iceberg_rows(shelf: StoredShelf) -> list[tuple[str, str]]:
    found = iceberg_catalog.properties(shelf.settings, shelf.warehouse)
    table = iceberg_catalog.open_catalog(found, shelf.warehouse).load_table(("lookalike", "similar_items"))
    assert table.location().startswith(f"s3://{BUCKET}/wh/iceberg")
    rows = table.scan().to_arrow().to_pylist()
    return [(row["item_id"], row["similar_item_id"]) for row in rows]


def test_sinks_that_need_a_folder_are_refused_before_anything_is_done(shelf: StoredShelf) -> None:
    for publish in ({"duckdb": True}, {"iceberg": {}}):
        shelf.publish = publish
        code, text = shelf.outcome("publish")
        assert code == 2
        assert text.startswith(
            f"ConfigError: publish.{next(iter(publish))}: the warehouse s3://{BUCKET}/wh is in a store"
        )
