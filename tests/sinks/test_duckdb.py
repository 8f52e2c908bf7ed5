"""lookalike.duckdb: its views, and what becomes of it while others read or write it."""

from __future__ import annotations

import ast
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike import config
from lookalike.errors import ConfigError
from lookalike.sinks.duckdb import DuckDBFile
from lookalike.warehouse import opening
from support import records
from support.published import FIRST, HOSTILE, SECOND, Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    folder = tmp_path / "it's [a] `b` 100%20"
    folder.mkdir()
    return Shelf(folder, {"duckdb": True}, sections={"similar": {"k": 2}})


def file_of(shelf: Shelf) -> Path:
    return shelf.warehouse.path / "lookalike.duckdb"


def rows(shelf: Shelf, query: str) -> list[tuple[Any, ...]]:
    """What somebody reads who opens the file now: by a copy, since DuckDB opens a file once in each process."""
    copy = shutil.copy(file_of(shelf), shelf.folder / f"{secrets.token_hex(4)}.duckdb")
    with duckdb.connect(str(copy), read_only=True) as opened:
        return opened.execute(query).fetchall()


def test_views_show_the_release_and_what_changed(shelf: Shelf) -> None:
    shelf.put(FIRST, [("a", "b"), ("b", "a"), ("c", "a")])
    shelf.put(SECOND, [("a", "b"), ("a", "d"), ("a", "c"), ("d", "a")], kept={HOSTILE: [1, 2, 3, 4]})
    pq.write_table(pa.table({"item_id": ["a", "d", "c"]}), shelf.folder / "catalogue.parquet")
    shelf.run("publish")
    query = "SELECT item_id, rank, similar_item_id FROM {} ORDER BY 1, 2"
    assert rows(shelf, query.format("similar_items")) == [("a", 1, "b"), ("a", 2, "d"), ("d", 1, "a")]
    assert rows(shelf, query.format("similar_items_live")) == [("a", 1, "d"), ("a", 2, "c"), ("d", 1, "a")]
    nested = "SELECT item_id, [one.similar_item_id for one in neighbours] FROM similar_items_nested ORDER BY 1"
    assert rows(shelf, nested) == [("a", ["b", "d"]), ("d", ["a"])]
    assert rows(shelf, f'SELECT sum("{HOSTILE.replace(chr(34), 2 * chr(34))}") FROM embeddings') == [(10,)]
    assert rows(shelf, "SELECT item_id FROM failures") == [("z",)]
    assert rows(shelf, "SELECT * FROM duplicates") == []
    assert rows(shelf, "SELECT release_id, parent, counts ->> 'items' FROM current_release") == [(SECOND, FIRST, "3")]


def test_duckdb_of_version_1_can_open_it(shelf: Shelf) -> None:
    shelf.put(FIRST)
    shelf.run("publish")
    ((tags,),) = rows(shelf, "SELECT tags FROM duckdb_databases() WHERE NOT internal")
    assert tags["storage_version"].startswith("v1.0.0")


def test_changed_items_are_those_since_the_release_before(shelf: Shelf) -> None:
    shelf.put(FIRST, [("a", "b"), ("b", "a"), ("c", "a"), ("e", "a")])
    shelf.run("publish")
    query = "SELECT item_id, change, picture_changed, neighbours_now, neighbours_before FROM changed_items ORDER BY 1"
    assert [row[:2] for row in rows(shelf, query)] == [(item, "new") for item in "abce"]
    release = shelf.put(SECOND, [("a", "b"), ("b", "d"), ("d", "a"), ("e", "a")])
    same = pq.read_table(release.embeddings / "part-0.parquet").to_pylist()
    changed = [{**one, "image_hash": f"{one['item_id']}{FIRST if one['item_id'] in 'abe' else SECOND}"} for one in same]
    schema = pq.read_schema(release.embeddings / "part-0.parquet")
    pq.write_table(pa.Table.from_pylist(changed, schema=schema), release.embeddings / "part-0.parquet")
    shelf.run("publish", "--set", "similar.k=2")
    assert rows(shelf, query) == [
        ("b", "changed", False, ["d"], ["a"]),
        ("c", "removed", True, None, ["a"]),
        ("d", "new", True, ["a"], None),
    ]


def test_names_of_kept_columns_and_of_folders_are_not_taken_for_others(tmp_path: Path) -> None:
    folder = tmp_path / "shop=1" / "item_id=2"
    folder.mkdir(parents=True)
    shelf = Shelf(folder, {"duckdb": True})
    for release_id in (FIRST, SECOND):
        shelf.put(release_id, kept={name: [7, 8, 9] for name in ("ids", "e", "l", "n", "now", "c")})
    shelf.run("publish")
    assert rows(shelf, "SELECT item_id, ids FROM embeddings ORDER BY 1") == [("a", 7), ("b", 8), ("c", 9)]
    assert rows(shelf, "SELECT item_id, change, neighbours_now FROM changed_items ORDER BY 1")[0] == (
        "a",
        "changed",
        ["b", "c"],
    )
    assert rows(shelf, "DESCRIBE similar_items")[-1][0] == "release_id"
    assert rows(shelf, "SELECT DISTINCT item_id FROM similar_items ORDER BY 1") == [("a",), ("b",)]


def test_changed_items_are_none_when_the_release_before_was_removed(shelf: Shelf) -> None:
    shelf.put(FIRST)
    shelf.put(SECOND, [("a", "b")])
    shelf.run("publish")
    assert len(rows(shelf, "SELECT * FROM changed_items")) == 3
    assert f"removed  {FIRST}" in shelf.run("clean --keep 1")
    assert rows(shelf, "SELECT * FROM changed_items") == []


def test_changes_are_the_table_of_the_release_and_of_an_older_version_there_is_none(shelf: Shelf) -> None:
    release = shelf.put(FIRST)
    shelf.run("publish")
    with pytest.raises(duckdb.CatalogException, match="changes does not exist"):
        rows(shelf, "SELECT * FROM changes")
    shelf.table(release, "changes", kind=["list"], change=["delete"], item_id=["a"])
    records.write_record(release)
    shelf.run("publish")
    assert rows(shelf, "SELECT * FROM changes") == [("list", "delete", "a")]


def test_release_without_failures_has_an_empty_view(shelf: Shelf) -> None:
    shelf.put(FIRST, failed=())
    shelf.run("publish")
    assert rows(shelf, "SELECT item_id, reason, permanent, first_failed_at FROM failures") == []


@pytest.fixture
def reader(shelf: Shelf) -> Iterator[duckdb.DuckDBPyConnection]:
    """Somebody who opened the file of the first release."""
    shelf.put(FIRST, [("a", "b")])
    shelf.run("publish")
    with duckdb.connect(str(file_of(shelf)), read_only=True) as opened:
        yield opened


def test_reader_who_has_it_open_goes_on_and_follows_the_pointer(
    shelf: Shelf, reader: duckdb.DuckDBPyConnection
) -> None:
    query = "SELECT item_id, similar_item_id FROM similar_items"
    assert reader.execute(query).fetchall() == [("a", "b")]
    shelf.put(SECOND, [("c", "d")])
    shelf.run("publish")
    assert reader.execute(query).fetchall() == rows(shelf, query) == [("c", "d")]
    shelf.run("rollback")
    assert reader.execute(query).fetchall() == rows(shelf, query) == [("a", "b")]


WRITER = """
import duckdb, sys
database = duckdb.connect(sys.argv[1])
database.execute("CREATE TABLE mine AS SELECT 1")
print("open", flush=True)
sys.stdin.readline()
"""

READER = """
import duckdb, sys
database = duckdb.connect(sys.argv[1], read_only=True)
print(database.execute("SELECT release_id, (SELECT count(*) FROM duckdb_tables()) FROM current_release").fetchone())
"""


def test_file_that_somebody_writes_into_is_replaced(shelf: Shelf) -> None:
    shelf.put(FIRST, [("a", "b")])
    shelf.run("publish")
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, file_of(shelf)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdin is not None
        assert writer.stdout.readline() == "open\n"
        assert file_of(shelf).with_name("lookalike.duckdb.wal").exists()
        shelf.put(SECOND, [("c", "d")])
        shelf.run("publish")
        assert opened_elsewhere(shelf) == (SECOND, 0), "the log of the file before is none of this one"
        writer.stdin.write("\n")
    assert writer.returncode == 0
    assert opened_elsewhere(shelf) == (SECOND, 0), "the log of the file before is none of this one"


def opened_elsewhere(shelf: Shelf) -> tuple[str, int]:
    """The release, and the number of tables, that another process finds in the file with what lies beside it."""
    done = subprocess.run([sys.executable, "-c", READER, file_of(shelf)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: tuple[str, int] = ast.literal_eval(done.stdout)
    return found


def test_file_that_cannot_be_replaced_leaves_the_release_current_until_it_is_mended(shelf: Shelf) -> None:
    shelf.put(FIRST)
    file_of(shelf).mkdir()
    line = shelf.refusal("publish")
    assert line.startswith(f"SinkError: the release {FIRST} is current, but {file_of(shelf)} cannot be made (")
    assert line.endswith("; then run `lookalike releases publish`")
    assert [path.name for path in shelf.warehouse.path.glob(".lookalike.duckdb*")] == []
    file_of(shelf).rmdir()
    shelf.run("publish")


def test_what_a_killed_run_left_is_swept(shelf: Shelf) -> None:
    shelf.put(FIRST)
    file_of(shelf).with_name(".lookalike.duckdb.0a1b2c3d.wal").touch()
    shelf.run("publish")
    assert [path.name for path in shelf.warehouse.path.glob("*duckdb*")] == ["lookalike.duckdb"]


def test_catalogue_that_duckdb_cannot_read_costs_one_view(shelf: Shelf) -> None:
    shelf.put(FIRST)
    shelf.sections["similar"] = {"eligible": "not SQL at all ("}
    assert "has no view similar_items_live, since DuckDB cannot read the catalogue" in shelf.run("publish")
    assert len(rows(shelf, "SELECT * FROM similar_items")) == 3


def test_warehouse_in_a_store_is_refused(tmp_path: Path) -> None:
    raw = {"catalogue": {"path": "x"}, "warehouse": {"path": "s3://b/w", "cache": str(tmp_path)}}
    settings = config.Settings.model_validate(raw)
    with pytest.raises(ConfigError, match="leave it out, and read the Parquet files"):
        DuckDBFile(opening.open_warehouse(settings), settings)
