"""Delta tables in place: read by delta-rs and Polars, and not seen by those who read Parquet."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from lookalike.errors import SinkError
from lookalike.sinks import delta, publishing
from lookalike.sinks.delta import LOG, DeltaTables
from lookalike.warehouse.shared_files import ON_DISK
from support import records
from support.published import FIRST, KEPT, SECOND, TABLES, Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path, {"delta": True})


def test_each_table_of_the_release_is_a_delta_table(shelf: Shelf) -> None:
    release = shelf.put(FIRST, kept=KEPT)
    shelf.run("publish")
    for name in TABLES:
        files = pq.read_table(release.root / name)
        by_rust = pa.table(DeltaTable(str(release.root / name)).to_pyarrow_table())
        assert by_rust.to_pylist() == files.to_pylist()
        assert pl.scan_delta(str(release.root / name)).collect().to_dicts() == files.to_pylist()
        (log,) = (release.root / name / LOG.parent).iterdir()
        added = [json.loads(line)["add"] for line in log.read_text().splitlines() if '"add"' in line]
        assert [(one["path"], one["size"]) for one in added] == [
            ("part-0.parquet", (release.root / name / "part-0.parquet").stat().st_size)
        ]
        assert json.loads(added[0]["stats"]) == {"numRecords": len(files)}
        assert "/tmp" not in log.read_text(), "it says where it was made"
    assert not (release.root / "duplicates").exists()


def test_who_reads_parquet_sees_the_files_alone(shelf: Shelf) -> None:
    release = shelf.put(FIRST)
    before = ON_DISK.sizes(release.root)
    shelf.run("publish")
    folder = release.similar_items
    assert ON_DISK.sizes(release.root) == before
    assert release.outer_problem() is None
    assert len(pq.read_table(folder)) == ds.dataset(folder).count_rows() == 3
    assert duckdb.sql(f"SELECT count(*) FROM '{folder}/*.parquet'").fetchall() == [(3,)]


def test_table_without_a_file_is_an_empty_delta_table(shelf: Shelf) -> None:
    release = shelf.put(FIRST, failed=())
    shelf.run("publish")
    assert len(DeltaTable(str(release.failures)).to_pyarrow_table()) == 0
    assert pl.scan_delta(str(release.failures)).collect().height == 0
    assert "reason" in pl.scan_delta(str(release.failures)).collect().columns


def test_rollback_makes_the_tables_of_a_release_that_was_made_without(shelf: Shelf) -> None:
    first = shelf.put(FIRST)
    shelf.put(SECOND)
    shelf.run("rollback")
    assert shelf.warehouse.need_current().release_id == FIRST
    assert DeltaTable(str(shelf.warehouse.path / "current" / "similar_items")).version() == 0
    stamp = (first.similar_items / LOG).stat().st_mtime_ns
    shelf.run("publish")
    assert (first.similar_items / LOG).stat().st_mtime_ns == stamp, "it is written once"


def test_log_that_cannot_be_written_leaves_the_release_current_until_it_is_mended(shelf: Shelf) -> None:
    shelf.put(FIRST)
    release = shelf.put(SECOND)
    blocked = release.failures / LOG.parent
    blocked.write_text("no folder")
    line = shelf.refusal("publish")
    assert line.startswith(f"SinkError: the release {SECOND} is current, but its table failures is no Delta table: ")
    assert line.endswith("; then run `lookalike releases publish`")
    assert shelf.warehouse.need_current().release_id == SECOND
    blocked.unlink()
    shelf.run("publish")
    assert DeltaTable(str(release.failures)).version() == 0


@pytest.mark.parametrize("log", ["", "{}", '{"add": ', '{"metaData": {}}', "3", '{"add": {}}', '{"add": 3}'])
def test_log_that_was_damaged_is_written_again(shelf: Shelf, log: str) -> None:
    release = shelf.put(FIRST)
    shelf.run("publish")
    whole = (release.similar_items / LOG).read_text()
    (release.similar_items / LOG).write_text(log)
    shelf.run("publish")
    assert len((release.similar_items / LOG).read_text().splitlines()) == len(whole.splitlines())
    assert len(DeltaTable(str(release.similar_items)).to_pyarrow_table()) == 3


def test_panic_of_the_library_loses_no_night(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Panic(BaseException):
        """What a panic of Rust's is in Python."""

    def panic(*_: object, **__: object) -> None:
        raise Panic("index out of bounds")

    monkeypatch.setattr(delta, "create_table_with_add_actions", panic)
    publishing.prepare([DeltaTables()], shelf.put(FIRST))
    assert "its table similar_items is no Delta table: index out of bounds" in capsys.readouterr().err


def test_column_that_delta_has_no_type_for_is_named(shelf: Shelf) -> None:
    release = shelf.put(FIRST)
    Shelf.table(release, "duplicates", {"price": [None]}, item_id=["b"])
    records.write_unlisted_record(release)  # as version 0.2.0 did, without files.json
    with pytest.raises(SinkError, match="the column 'price' of duplicates has a type"):
        DeltaTables().prepare(release)
