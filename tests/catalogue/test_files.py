"""Catalogues as the field has them: each file below the folder is read, or refused by its name. Without Spark."""

from __future__ import annotations

import datetime
import decimal
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike import config
from lookalike.catalogue import scan, source
from support.items_table import refusal

Rows = list[dict[str, Any]]


def write(path: Path, ids: str, **columns: Any) -> None:
    """A file with an item for each letter; `images` is the path of all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"item_id": list(ids), "image_path": ["p"] * len(ids), **columns}), path)


def opened(path: Path | str) -> source.CatalogueFiles:
    found = source.open_files(str(path))
    assert found is not None
    return found


def rows(path: Path | str, *names: str) -> Rows:
    """The rows of a catalogue by id, with the named columns."""
    tasks, schema = opened(path).tasks([(name, name) for name in ("item_id", *names)], cores=2)
    batches = [batch for task in tasks for batch in scan.read_pieces(task, schema)]
    return sorted(pa.Table.from_batches(batches, schema).to_pylist(), key=lambda row: str(row["item_id"]))


def values(path: Path | str, name: str) -> list[Any]:
    return [row[name] for row in rows(path, name)]


def ids(path: Path | str) -> str:
    return "".join(values(path, "item_id"))


# --- what is there is read


@pytest.mark.parametrize(
    "name",
    ["catalogue[1]", "{a,b}", "a*b", "what?", "100%", "a # b", "a: b", "a%20b", "Möbel", "日本", " a ", "a\nb", "\\x"],
)
def test_what_is_there_is_read_whatever_its_name(tmp_path: Path, name: str) -> None:
    write(tmp_path / f"{name}.parquet", "ab")
    write(tmp_path / name / name / f"{name}.parquet", "cd")
    assert ids(tmp_path / f"{name}.parquet") == "ab"
    assert ids(tmp_path / name) == "cd"
    assert ids(tmp_path) == "abcd"


PATTERNS = {
    "*.parquet": "abc",
    "[ab].parquet": "ab",
    "[^a].parquet": "bc",
    "{a,c}.parquet": "ac",
    "?.parquet": "abc",
    "kind=*": "de",
    "kind={x,y}/*.parquet": "de",
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_pattern_is_one_where_nothing_has_its_name(tmp_path: Path, pattern: str) -> None:
    for letter in "abc":
        write(tmp_path / f"{letter}.parquet", letter)
    write(tmp_path / "kind=x" / "d.parquet", "d")
    write(tmp_path / "kind=y" / "e.parquet", "e")
    assert ids(tmp_path / pattern) == PATTERNS[pattern]
    assert source.open_files(str(tmp_path / "no" / pattern)) is None


def test_folders_of_a_pattern_give_their_columns(tmp_path: Path) -> None:
    write(tmp_path / "kind=x" / "d.parquet", "d")
    assert values(tmp_path / "kind=*", "kind") == values(tmp_path / "*" / "*.parquet", "kind") == ["x"]


FOLDERS: dict[str, tuple[list[str], list[str | None]]] = {
    "percent-encoded": (["kind=M%C3%B6bel", "kind=a%2Fb"], ["Möbel", "a/b"]),
    "plain": (["kind=Möbel", "kind=01"], ["Möbel", "01"]),
    "no value": (["kind=__HIVE_DEFAULT_PARTITION__", "kind=x"], [None, "x"]),
    "a loose file": (["", "kind=z"], [None, "z"]),
    "deeper": (["kind=y/day=1", "day=1"], ["y", None]),
    "of no column": (["2026/11", "kind=y"], [None, "y"]),
    "an equals sign in the value": (["kind=a=b", "_kind=x"], ["a=b", None]),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_folders_give_a_column_and_no_row_is_lost(tmp_path: Path, case: str) -> None:
    folders, expected = FOLDERS[case]
    for folder, letter in zip(folders, "ab", strict=True):
        write(tmp_path / folder / "x.parquet", letter)
    write(tmp_path / "kind=last" / "x.parquet", "c")
    assert values(tmp_path, "kind") == [*expected, "last"]


def test_folder_wins_over_a_column_of_the_file(tmp_path: Path) -> None:
    write(tmp_path / "kind=x" / "a.parquet", "a", kind=[1])
    assert values(tmp_path, "kind") == ["x"]


def test_markers_of_writers_their_unfinished_files_and_pictures_are_no_data(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", "a")
    write(tmp_path / "_metadata", "x")
    write(tmp_path / "_temporary" / "0" / "x.parquet", "x")
    for name in (
        "_SUCCESS",
        ".a.parquet.crc",
        "_committed_123",
        ".DS_Store",
        "kind=z_$folder$",
        "a.parquet.crc",
        "x.JPG",
    ):
        (tmp_path / name).write_bytes(b"")
    assert ids(tmp_path) == "a"


def test_link_is_followed(tmp_path: Path) -> None:
    write(tmp_path / "far" / "kind=x" / "a.parquet", "a")
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "kind=y").symlink_to(tmp_path / "far" / "kind=x")
    assert values(tmp_path / "near", "kind") == ["y"]


# --- what cannot be read is named


REFUSED: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "hidden by _": ("_x.parquet", lambda path: write(path, "x"), "is hidden from other programs"),
    "hidden by .": (".x.parquet", lambda path: write(path, "x"), "is hidden from other programs"),
    "in the making": (".x.parquet.Ab12", lambda path: write(path, "x"), "is hidden from other programs"),
    "empty, first": ("a.parquet", lambda path: path.touch(), "(it is empty)"),
    "empty, last": ("z.parquet", lambda path: path.touch(), "(it is empty)"),
    "a table of text": ("z.csv", lambda path: path.write_text("item_id\nx\n"), "(it is another kind of file)"),
    "short": ("z.parquet", lambda path: path.write_bytes(b"PAR1"), "cannot be read as Parquet"),
    "cut off": ("z.parquet", lambda path: path.write_bytes(b"PAR1" + bytes(90)), "(it is cut short)"),
    "encrypted": ("z.parquet", lambda path: path.write_bytes(b"PARE" + bytes(90) + b"PARE"), "(it is encrypted)"),
    "a link to nothing": ("z.parquet", lambda path: path.symlink_to("gone"), "is a link to nothing"),
    "a link upwards": ("z", lambda path: path.symlink_to(path.parent), "is a link to a folder above it"),
    "a pipe": ("z.parquet", os.mkfifo, "is neither a file nor a folder"),
    "not UTF-8": ("z\udcfc.parquet", lambda path: write_bytes(path), "/z\\xfc.parquet has a name that is not UTF-8"),
    "encoded, not UTF-8": ("k=%FC/z.parquet", lambda path: write(path, "x"), "k=%FC is percent-encoded"),
    "Delta": ("_delta_log/0.json", lambda path: write(path, "x"), "is a Delta table"),
    "Delta below": ("old/_delta_log/0.json", lambda path: write(path, "x"), "/old is a Delta table"),
    "Hudi": (".hoodie/hoodie.properties", lambda path: write(path, "x"), "is a Hudi table"),
    "Iceberg": ("metadata/v1.metadata.json", lambda path: write(path, "x"), "is an Iceberg table"),
    "a stream": ("_spark_metadata/0", lambda path: write(path, "x"), "is the output of a stream"),
}


def write_bytes(path: Path) -> None:
    with open(os.fsencode(path), "wb") as file:
        file.write(b"PAR1")


@pytest.mark.parametrize("case", REFUSED)
def test_file_that_cannot_be_read_is_named(tmp_path: Path, case: str) -> None:
    name, make, said = REFUSED[case]
    write(tmp_path / "items" / "m.parquet", "a")
    (tmp_path / "items" / name).parent.mkdir(parents=True, exist_ok=True)
    make(tmp_path / "items" / name)
    message = refusal(lambda: opened(tmp_path / "items"))
    assert message.startswith(f"catalogue.path: {tmp_path}/items")
    assert said in message


def test_part_of_a_table_of_another_format_is_refused_too(tmp_path: Path) -> None:
    write(tmp_path / "_delta_log" / "0.json", "x")
    write(tmp_path / "kind=a" / "x.parquet", "x")
    for path in ("kind=a", "kind=*", "kind=a/x.parquet"):
        assert f"{tmp_path} is a Delta table" in refusal(lambda path=path: opened(tmp_path / path))  # type: ignore[misc]


@pytest.mark.parametrize("files", [[], ["_SUCCESS"], [".a.crc"]], ids=repr)
def test_folder_without_data_is_refused(tmp_path: Path, files: list[str]) -> None:
    for name in files:
        (tmp_path / name).touch()
    assert "holds no Parquet file" in refusal(lambda: opened(tmp_path))


# --- types of several files


MOMENT = datetime.datetime(2026, 1, 2, 3, 4, 5, 678, datetime.UTC).replace(tzinfo=None)
Typed = tuple[list[pa.Array], list[Any]]
MERGED: dict[str, Typed] = {
    "int32, int64": ([pa.array([1], pa.int32()), pa.array([2**40])], [1, 2**40]),
    "int64, double": ([pa.array([3]), pa.array([1.5])], [3.0, 1.5]),
    "float, double": ([pa.array([0.5], pa.float32()), pa.array([1e300])], [0.5, 1e300]),
    "int16, float": ([pa.array([7], pa.int16()), pa.array([0.5], pa.float32())], [7.0, 0.5]),
    "uint64, int8": (
        [pa.array([2**64 - 1], pa.uint64()), pa.array([-1], pa.int8())],
        [decimal.Decimal(2**64 - 1), decimal.Decimal(-1)],
    ),
    "decimals": (
        [pa.array([decimal.Decimal("1.5")]), pa.array([decimal.Decimal("100.25")])],
        [decimal.Decimal("1.50"), decimal.Decimal("100.25")],
    ),
    "text, dictionary": ([pa.array(["x"], pa.large_string()), pa.array(["y"]).dictionary_encode()], ["x", "y"]),
    "nulls alone, text": ([pa.nulls(1), pa.array(["y"])], [None, "y"]),
    "nulls alone": ([pa.nulls(1), pa.nulls(1)], [None, None]),
    "lists": ([pa.array([[1]], pa.list_(pa.int32())), pa.array([[2**40]])], [[1], [2**40]]),
    "lists of nothing": ([pa.array([[]], pa.list_(pa.null())), pa.array([["x"]])], [[], ["x"]]),
    "structs": ([pa.array([{"a": 1}], pa.struct({"a": pa.int8()})), pa.array([{"a": 2}])], [{"a": 1}, {"a": 2}]),
    "ns, us": ([pa.array([MOMENT], pa.timestamp("ns")), pa.array([MOMENT], pa.timestamp("us"))], [MOMENT] * 2),
    "zones": (
        [pa.array([MOMENT], pa.timestamp("ms", "UTC")), pa.array([MOMENT], pa.timestamp("us", "Europe/Berlin"))],
        [moment.replace(tzinfo=datetime.UTC) for moment in (MOMENT.replace(microsecond=0), MOMENT)],
    ),
    "half": ([pa.array([0.5], pa.float16()), pa.array([0.25], pa.float16())], [0.5, 0.25]),
    "days": ([pa.array([MOMENT.date()], pa.date32()), pa.array([MOMENT.date()], pa.date64())], [MOMENT.date()] * 2),
}


@pytest.mark.parametrize("case", MERGED)
def test_files_of_other_types_are_read_by_the_common_type_without_loss(tmp_path: Path, case: str) -> None:
    columns, expected = MERGED[case]
    for letter, column in zip("ab", columns, strict=True):
        write(tmp_path / f"{letter}.parquet", letter, value=column)
    write(tmp_path / "c.parquet", "c")
    assert values(tmp_path, "value") == [*expected, None]


APART: dict[str, tuple[Any, Any, str, str]] = {
    "text and number": (["x"], [1], "string", "int64"),
    "text and bytes": (["x"], [b"x"], "string", "binary"),
    "truth and number": ([True], [1], "bool", "int64"),
    "a zone and none": (
        pa.array([MOMENT], pa.timestamp("us", "UTC")),
        pa.array([MOMENT], pa.timestamp("us")),
        "timestamp[us, tz=UTC]",
        "timestamp[us]",
    ),
    "a day and a moment": ([MOMENT.date()], [MOMENT], "date32[day]", "timestamp[us]"),
    "digits": (
        pa.array([decimal.Decimal(10**37)], pa.decimal128(38, 0)),
        pa.array([decimal.Decimal("0.01")]),
        "decimal128(38, 0)",
        "decimal128(2, 2)",
    ),
    "structs": ([{"a": 1}], [{"b": 1}], "struct<a: int64>", "struct<b: int64>"),
}


def settings(path: Path, **catalogue: Any) -> config.Settings:
    sections = {"catalogue": {"path": str(path), **catalogue}, "warehouse": {"path": "w"}}
    return config.Settings.model_validate(sections)


@pytest.mark.parametrize("case", APART)
def test_types_without_a_common_one_are_named_with_their_files(tmp_path: Path, case: str) -> None:
    one, other, name, other_name = APART[case]
    write(tmp_path / "a.parquet", "a", value=one)
    write(tmp_path / "b.parquet", "b", value=other)
    message = refusal(lambda: opened(tmp_path).check(settings(tmp_path, keep_columns=["value"])))
    assert f"column 'value' is {name} in {tmp_path}/a.parquet and {other_name} in {tmp_path}/b.parquet" in message
    opened(tmp_path).check(settings(tmp_path))  # nobody asked for it


def test_ids_that_pandas_made_doubles_are_refused_where_other_files_have_them_whole(tmp_path: Path) -> None:
    for number, kind in enumerate((pa.int64(), pa.float64())):
        pq.write_table(pa.table({"item_id": pa.array([1], kind), "image_path": ["p"]}), tmp_path / f"{number}.parquet")
    message = refusal(lambda: opened(tmp_path).check(settings(tmp_path)))
    assert f"column 'item_id' is int64 in {tmp_path}/0.parquet and double in {tmp_path}/1.parquet" in message


def test_whole_number_that_a_double_does_not_hold_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", "a", price=[2**53 + 1])
    write(tmp_path / "b.parquet", "b", price=[0.5])
    assert "a.parquet has a value in column 'price' that is no double" in refusal(lambda: rows(tmp_path, "price"))


def test_file_without_ids_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", "a")
    pq.write_table(pa.table({"sku": ["b"], "image_path": ["p"]}), tmp_path / "b.parquet")
    message = refusal(lambda: opened(tmp_path).check(settings(tmp_path)))
    assert f"{tmp_path}/b.parquet has no column 'item_id', which other files have" in message


# --- columns that nobody asked for, and capitals


def odd_columns() -> dict[str, pa.Array]:
    return {
        "u": pa.array([b"x" * 16], pa.uuid()),
        "t": pa.array([datetime.time(1)]),
        "d": pa.array([decimal.Decimal(1)], pa.decimal256(60, 0)),
    }


@pytest.mark.parametrize("name", odd_columns())
def test_column_that_cannot_be_read_matters_where_it_is_asked_for_alone(tmp_path: Path, name: str) -> None:
    write(tmp_path / "a.parquet", "a", **odd_columns())
    opened(tmp_path).check(settings(tmp_path))
    message = refusal(lambda: opened(tmp_path).check(settings(tmp_path, keep_columns=[name])))
    assert f"column '{name}' is " in message
    assert f"in {tmp_path}/a.parquet, which cannot be read" in message


def test_capitals_tell_columns_apart_in_one_file_and_not_in_several(tmp_path: Path) -> None:
    write(tmp_path / "both" / "a.parquet", "a", Brand=["X"], brand=["y"])
    write(tmp_path / "both" / "b.parquet", "b", Brand=["Z"])
    assert values(tmp_path / "both", "Brand") == ["X", "Z"]
    assert values(tmp_path / "both", "brand") == ["y", None]
    write(tmp_path / "one" / "a.parquet", "a", Brand=["X"])
    write(tmp_path / "one" / "b.parquet", "b", brand=["y"])
    assert values(tmp_path / "one", "brand") == values(tmp_path / "one", "BRAND") == ["X", "y"]


def test_column_that_one_file_has_twice_is_refused_where_it_is_asked_for(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["p"]), pa.array([1]), pa.array([2])], names=list("abxx"))
    pq.write_table(table.rename_columns(["item_id", "image_path", "x", "x"]), tmp_path / "a.parquet")
    assert ids(tmp_path) == "a"
    assert "column 'x' is there twice" in refusal(lambda: rows(tmp_path, "x"))


# --- between the footer and the pages


def test_file_that_changes_while_it_is_read_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", "ab")
    tasks, schema = opened(tmp_path).tasks([("item_id", "item_id")], cores=1)
    write(tmp_path / "a.parquet", "xyz")
    assert "a.parquet has changed since" in refusal(lambda: list(scan.read_pieces(tasks[0], schema)))
    (tmp_path / "a.parquet").unlink()
    assert "a.parquet is gone, or not seen on" in refusal(lambda: list(scan.read_pieces(tasks[0], schema)))


def test_flipped_bit_in_a_page_is_found_where_the_file_has_checksums(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"item_id": [f"item-{number}" for number in range(1000)]})
    pq.write_table(table, path, compression="none", use_dictionary=False, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    data[data.index(b"item-500")] ^= 1
    path.write_bytes(data)
    assert "cannot be read to its end" in refusal(lambda: ids(path))


def test_rows_of_all_row_groups_are_read_once_in_tasks_of_a_bounded_size(tmp_path: Path) -> None:
    for name in ("a", "b"):
        table = pa.table({"item_id": [f"{name}{number:04}" for number in range(1000)]})
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=7)
    assert len(set(values(tmp_path, "item_id"))) == 2000
    tasks, _ = opened(tmp_path).tasks([("item_id", "item_id")], cores=1)
    assert len(tasks) == 1
