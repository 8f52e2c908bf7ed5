"""Releases that older versions wrote are published to all sinks, when a rollback makes one current."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from lookalike.sinks import iceberg_catalog
from support.drawn import ROOT
from support.published import Shelf

GOLDEN = ROOT / "tests" / "golden"
VERSIONS = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir() and path.name[0].isdigit())


@pytest.mark.parametrize("version", VERSIONS)
def test_rollback_to_a_release_of_an_older_version_publishes_it(version: str, tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / version, tmp_path, symlinks=True, dirs_exist_ok=True)
    shelf = Shelf(tmp_path, {"delta": True, "iceberg": {}, "duckdb": True})
    first = shelf.warehouse.releases()[0]
    shelf.run(f"rollback {first.release_id}")
    found = iceberg_catalog.properties(shelf.settings, shelf.warehouse)
    catalog = iceberg_catalog.open_catalog(found, shelf.warehouse)
    with duckdb.connect(str(shelf.warehouse.path / "lookalike.duckdb"), read_only=True) as database:
        for name in ("embeddings", "failures", "duplicates"):
            plain = rows(pq.read_table(first.root / name).to_pylist())
            assert rows(DeltaTable(str(first.root / name)).to_pyarrow_table().to_pylist()) == plain
            assert rows(catalog.load_table(f"lookalike.{name}").scan().to_arrow().to_pylist()) == plain
            assert database.sql(f"SELECT count(*) FROM {name}").fetchall() == [(len(plain),)]


def rows(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """In the order of the ids, with times in UTC: those of INT96 have no zone, and nanoseconds."""
    plain = [{name: _in_utc(value) for name, value in row.items()} for row in found]
    return sorted(plain, key=lambda row: str(row["item_id"]))


def _in_utc(value: Any) -> Any:
    return value.replace(tzinfo=None) if hasattr(value, "tzinfo") else value
