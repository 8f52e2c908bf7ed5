"""The folder that warehouse.path names."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookalike.warehouse.local import Warehouse
from support.warehouses import publish, refusal


@pytest.mark.parametrize("uri", ["s3://bucket/w", "s3a://bucket/w", "hdfs://host:8020/w", "gs://b/w", "abfss://c@a/w"])
def test_warehouse_on_a_remote_store_is_refused_by_name(uri: str) -> None:
    assert uri in refusal(lambda: Warehouse(uri))


def test_file_uri_and_path_name_the_same_warehouse(warehouse: Warehouse) -> None:
    release_id = publish(warehouse)
    assert Warehouse(f"file://{warehouse.path}").need_current().release_id == release_id


def test_relative_path_is_kept_when_the_working_folder_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    relative = Warehouse("warehouse")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    release_id = publish(relative)
    assert (tmp_path / "warehouse" / "current" / "release.json").exists()
    assert relative.need_current().release_id == release_id
