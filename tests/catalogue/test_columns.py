"""Columns of a catalogue of several files: their common type, capitals, and what nobody asked for. Without Spark."""

from __future__ import annotations

import datetime
import decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.catalogue_files import ids, opened, rows, settings, values, write
from support.items_table import refusal

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
