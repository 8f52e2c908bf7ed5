"""Delta tables, read by their log: the rows are those that another reader finds. Without Spark."""

from __future__ import annotations

import datetime
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from lookalike.catalogue import scan
from lookalike.catalogue.formats import delta_lake, live_files
from support.catalogue_files import opened, rows_of
from support.items_table import refusal

UTC = datetime.UTC


def items(ids: str, **columns: Any) -> pa.Table:
    return pa.table({"item_id": list(ids), "image_path": [f"{one}.jpg" for one in ids], **columns})


def partitioned(path: Path) -> None:
    kinds = ["x", None, "a/b %", "__x"]
    write_deltalake(path, items("abcd", kind=kinds), partition_by=["kind"])


def typed(path: Path) -> None:
    columns = {
        "day": pa.array([datetime.date(2026, 1, 2), None]),
        "at": pa.array([datetime.datetime(2026, 1, 2, 3, 4, 5, 6, UTC)] * 2),
        "ok": [True, False],
        "number": [7, 8],
    }
    write_deltalake(path, items("ab", **columns), partition_by=list(columns))


def evolved(path: Path) -> None:
    write_deltalake(path, items("ab", n=pa.array([1, 2], pa.int32())))
    write_deltalake(path, items("c", n=pa.array([3], pa.int32()), new=["q"]), mode="append", schema_mode="merge")


def rewritten(path: Path) -> None:
    write_deltalake(path, items("abc"))
    write_deltalake(path, items("xy"), mode="overwrite")
    DeltaTable(path).delete("item_id = 'x'")


def compacted(path: Path) -> None:
    for one in "abcdef":
        write_deltalake(path, items(one), mode="append")
    DeltaTable(path).optimize.compact()
    DeltaTable(path).create_checkpoint()
    write_deltalake(path, items("g"), mode="append")


MAPS = pa.array([[("k", [{"v": 1}])], []], pa.map_(pa.string(), pa.list_(pa.struct([("v", pa.int64())]))))


def nested(path: Path) -> None:
    write_deltalake(path, items("ab", tags=[["x", None], []], size=[{"w": 1}, {"w": None}], more=MAPS))


TABLES: dict[str, Callable[[Path], None]] = {
    "partitions": partitioned,
    "typed partitions": typed,
    "a schema that has grown": evolved,
    "rows that were deleted and overwritten": rewritten,
    "compacted, with a checkpoint": compacted,
    "nested columns": nested,
}


@pytest.mark.parametrize("case", TABLES)
@pytest.mark.parametrize("name", ["table", "a table #1 100% ü [x]"])
def test_rows_are_those_that_another_reader_finds(tmp_path: Path, case: str, name: str) -> None:
    TABLES[case](tmp_path / "made")
    (tmp_path / "made").rename(tmp_path / name)
    other = pa.table(DeltaTable(tmp_path / name).scan())
    names = ["item_id", *(one for one in other.column_names if one != "item_id")]
    expected = sorted(other.select(names).to_pylist(), key=lambda row: row["item_id"])
    assert rows_of(opened(tmp_path / name), *names) == expected


def test_value_of_a_column_keeps_the_type_of_the_table(tmp_path: Path) -> None:
    typed(tmp_path / "t")
    kinds = {name: opened(tmp_path / "t").columns.kind(name) for name in ("day", "at", "ok", "number")}
    assert kinds == {"day": pa.date32(), "at": pa.timestamp("us", "UTC"), "ok": pa.bool_(), "number": pa.int64()}


# --- what only other writers make: a log by hand


def log(
    path: Path, *, fields: dict[str, dict[str, Any]], add: dict[str, Any], mode: str = "name", **protocol: Any
) -> None:
    """A table with one file, f.parquet; `fields` are the names and their metadata."""
    (path / "_delta_log").mkdir()
    schema = [{"name": name, "type": "string", "nullable": True, "metadata": data} for name, data in fields.items()]
    mapped = {"delta.columnMapping.mode": mode, "delta.columnMapping.maxColumnId": "9"}
    size = (path / "f.parquet").stat().st_size
    actions = [
        {
            "protocol": {
                "minReaderVersion": 3,
                "minWriterVersion": 7,
                "writerFeatures": [],
                "readerFeatures": [],
                **protocol,
            }
        },
        {
            "metaData": {
                "id": "x",
                "format": {"provider": "parquet", "options": {}},
                "schemaString": json.dumps({"type": "struct", "fields": schema}),
                "partitionColumns": [name for name in fields if name == "kind"],
                "configuration": mapped if any(fields.values()) else {},
                "createdTime": 1,
            }
        },
        {
            "add": {
                "path": "f.parquet",
                "partitionValues": {},
                "size": size,
                "modificationTime": 1,
                "dataChange": True,
                **add,
            }
        },
    ]
    (path / "_delta_log" / f"{0:020}.json").write_text("\n".join(map(json.dumps, actions)))


def test_columns_that_were_renamed_are_found_by_the_mapping(tmp_path: Path) -> None:
    pq.write_table(pa.table({"col-1": ["a"], "item_id": ["dropped"], "col-2": ["p"]}), tmp_path / "f.parquet")
    fields = {
        name: {"delta.columnMapping.id": number, "delta.columnMapping.physicalName": f"col-{number}"}
        for number, name in enumerate(["item_id", "image_path", "kind", "new"], 1)
    }
    features = ["columnMapping"]
    log(
        tmp_path,
        fields=fields,
        add={"partitionValues": {"col-3": "shoe"}},
        readerFeatures=features,
        writerFeatures=features,
    )
    assert rows_of(opened(tmp_path), "item_id", "image_path", "kind", "new") == [
        {"item_id": "a", "image_path": "p", "kind": "shoe", "new": None}
    ]


@pytest.mark.parametrize("numbers", [(1, 2, 4), (None, None, None)])
def test_columns_are_found_by_their_ids_where_the_table_maps_these(
    tmp_path: Path, numbers: tuple[int | None, ...]
) -> None:
    """A table that was an Iceberg table has files with names of its own; of files without ids the names count."""
    found = [name if number else f"col-{at}" for at, (name, number) in enumerate(zip("xyz", numbers, strict=True), 1)]
    stored = [
        pa.field(name, pa.string(), metadata={"PARQUET:field_id": f"{number}"} if number else None)
        for name, number in zip(found, numbers, strict=True)
    ]
    pq.write_table(pa.table([["a"], ["p"], ["dropped"]], schema=pa.schema(stored)), tmp_path / "f.parquet")
    fields = {
        name: {"delta.columnMapping.id": number, "delta.columnMapping.physicalName": f"col-{number}"}
        for number, name in ((1, "item_id"), (2, "image_path"), (5, "new"))
    }
    features = ["columnMapping"]
    log(tmp_path, fields=fields, add={}, mode="id", readerFeatures=features, writerFeatures=features)
    assert rows_of(opened(tmp_path), "item_id", "image_path", "new") == [
        {"item_id": "a", "image_path": "p", "new": None}
    ]


def test_fields_that_were_added_within_a_column_are_named_where_it_is_asked_for(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "t", items("a", size=[{"w": 1}]))
    grown = items("b", size=[{"w": 1, "h": 2}])
    write_deltalake(tmp_path / "t", grown, mode="append", schema_mode="merge")
    assert [row["item_id"] for row in rows_of(opened(tmp_path / "t"), "item_id")] == ["a", "b"]
    assert "column 'size' is stored with other types or fields" in refusal(
        lambda: rows_of(opened(tmp_path / "t"), "item_id", "size")
    )


def vector(*rows: int) -> dict[str, Any]:
    """A deletion vector within the log: a bitmap as the format has it, in the digits of Z85."""
    digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    bitmap = struct.pack("<IIHHI", 12346, 1, 0, len(rows) - 1, 16) + struct.pack(f"<{len(rows)}H", *rows)
    data = struct.pack("<IQI", 1681511377, 1, 0) + bitmap
    data += bytes(-len(data) % 4)
    words = [int.from_bytes(data[at : at + 4], "big") for at in range(0, len(data), 4)]
    text = "".join(digits[word // 85**place % 85] for word in words for place in range(4, -1, -1))
    return {"storageType": "i", "pathOrInlineDv": text, "sizeInBytes": len(data), "cardinality": len(rows)}


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    """A table of which rows 1, 3 and 4 of 6 are marked as deleted, in row groups of two."""
    pq.write_table(items("abcdef"), tmp_path / "f.parquet", row_group_size=2)
    features = ["deletionVectors"]
    log(
        tmp_path,
        fields={"item_id": {}, "image_path": {}},
        add={"deletionVector": vector(1, 3, 4), "stats": '{"numRecords":6}'},
        readerFeatures=features,
        writerFeatures=features,
    )
    return tmp_path


@pytest.mark.parametrize("least", [scan._LEAST_BYTES, 1], ids=["one part", "a part for each row group"])
def test_rows_that_are_marked_as_deleted_are_left_out(
    marked: Path, monkeypatch: pytest.MonkeyPatch, least: int
) -> None:
    monkeypatch.setattr(scan, "_LEAST_BYTES", least)
    monkeypatch.setattr(scan, "_OPEN_BYTES", 0)
    monkeypatch.setattr(scan, "_MOST_BYTES", least)
    assert [row["item_id"] for row in rows_of(opened(marked), "item_id", "image_path")] == ["a", "c", "f"]


def test_table_with_very_many_marked_rows_is_refused(marked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_files, "MOST_DELETED", 2)
    assert "marks 3 rows of its files as deleted, and 2 at most are read; compact it" in refusal(lambda: opened(marked))


# --- what is refused


def test_feature_that_is_not_read_is_named(tmp_path: Path) -> None:
    pq.write_table(items("a"), tmp_path / "f.parquet")
    features = ["futureRows"]
    log(tmp_path, fields={"item_id": {}}, add={}, readerFeatures=features, writerFeatures=features)
    assert "is a Delta table that cannot be read" in (said := refusal(lambda: opened(tmp_path)))
    assert "futureRows" in said


def test_feature_that_the_library_knows_and_we_do_not_is_named(marked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta_lake, "_READ", {"columnMapping"})
    assert "is a Delta table that needs deletionVectors, which is not read" in refusal(lambda: opened(marked))


DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no version": (
        lambda path: shutil.rmtree(path / "_delta_log") or (path / "_delta_log").mkdir(),
        "that cannot be read",
    ),
    "a broken log": (lambda path: next((path / "_delta_log").iterdir()).write_text("x"), "that cannot be read"),
    "a file that is gone": (lambda path: next(path.glob("*.parquet")).unlink(), "on this machine; repair the table"),
    "a file that is cut": (lambda path: next(path.glob("*.parquet")).write_bytes(b"PAR1"), "; repair the table"),
    "no rows": (lambda path: DeltaTable(path).delete(), "has no rows; nothing to do"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_table_that_cannot_be_read_is_named(tmp_path: Path, case: str) -> None:
    write_deltalake(tmp_path / "t", items("ab"))
    damage, said = DAMAGED[case]
    damage(tmp_path / "t")
    assert said in refusal(lambda: opened(tmp_path / "t"))


def test_commit_that_is_being_written_does_not_count(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "t", items("ab"))
    (tmp_path / "t" / "_delta_log" / f"_commit_{1:020}.json.tmp").write_text("{")
    pq.write_table(items("z"), tmp_path / "t" / "part-00001-not-yet.parquet")
    assert [row["item_id"] for row in rows_of(opened(tmp_path / "t"), "item_id")] == ["a", "b"]


@pytest.mark.parametrize("below", ["_delta_log", "kind=x", "kind=x/*.parquet"])
def test_part_of_a_table_is_refused(tmp_path: Path, below: str) -> None:
    partitioned(tmp_path / "t")
    message = refusal(lambda: opened(tmp_path / "t" / below))
    assert f"{tmp_path}/t is a Delta table, and its files hold deleted rows too; set catalogue.path to this" in message
