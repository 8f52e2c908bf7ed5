"""Reading the catalogue: what is read unchanged, what is cast, and where a catalogue may be."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from lookalike.catalogue import read as reading
from lookalike.catalogue.read import read_catalogue
from lookalike.catalogue.rows import check_rows
from lookalike.errors import CatalogueError
from lookalike.spark import failures
from support.items_table import GOOD, Build, Items, Open, Read, Rows, refusal, table

# --- columns


def test_other_columns_are_not_read(read: Read) -> None:
    assert read(table(price=[1.0, None])) == GOOD


@pytest.mark.parametrize(
    "names", [("sku", "url"), ("item id", "image.path"), ("Ärtikel", "a-b"), ("image_path", "item_id")]
)
def test_columns_may_have_other_names(read: Read, names: tuple[str, str]) -> None:
    source = pa.table({names[1]: ["a.jpg", "b.jpg"], "other": [1, 2], names[0]: ["a", "b"]})
    assert read(source, item_id_column=names[0], image_path_column=names[1]) == GOOD


@pytest.mark.parametrize("kept", [("price", "in stock"), ("a.b",), ("tags",), ("price", "price")])
def test_kept_columns_keep_their_values(read: Read, kept: tuple[str, ...]) -> None:
    extra: Rows = {"price": [1.5, None], "in stock": [True, False], "a.b": ["x", "y"], "tags": [["s"], []]}
    rows = read(table(**extra), keep_columns=kept)
    assert rows == [{**row, **{name: extra[name][number] for name in kept}} for number, row in enumerate(GOOD)]


def test_group_column_is_kept_once_with_its_nulls(read: Read) -> None:
    rows = read(table(kind=["shoe", None]), keep_columns=("kind",), similar={"group_by": "kind"})
    assert [row["kind"] for row in rows] == ["shoe", None]
    assert [list(row) for row in rows] == [["item_id", "image_path", "fingerprint", "kind"]] * 2


# --- fingerprints


FINGERPRINTS: dict[str, tuple[pa.Array, list[str | None]]] = {
    "text": (pa.array(["v1", ""]), ["etag=v1", "etag="]),
    "numbers": (pa.array([7, -1]), ["etag=7", "etag=-1"]),
    "a null": (pa.array(["v1", None]), ["etag=v1", None]),
    "days": (pa.array([datetime.date(2026, 1, 2)] * 2), ["etag=2026-01-02"] * 2),
    "booleans": (pa.array([True, False]), ["etag=true", "etag=false"]),
}


@pytest.mark.parametrize("case", FINGERPRINTS)
def test_fingerprint_is_the_column_s_name_and_value_as_text(read: Read, case: str) -> None:
    values, expected = FINGERPRINTS[case]
    rows = read(table(etag=values), change_detection="column", fingerprint_column="etag")
    assert [row["fingerprint"] for row in rows] == expected
    assert list(rows[0]) == ["item_id", "image_path", "fingerprint"]


def test_fingerprint_column_may_be_kept_and_group_too(read: Read) -> None:
    keys = {"change_detection": "column", "fingerprint_column": "a.b", "keep_columns": ["a.b"]}
    rows = read(table(**{"a.b": ["x", None]}), similar={"group_by": "a.b"}, **keys)
    assert [(row["fingerprint"], row["a.b"]) for row in rows] == [("a.b=x", "x"), (None, None)]


# --- types


@pytest.mark.parametrize("kind", [pa.int8(), pa.int16(), pa.int32(), pa.int64()], ids=str)
def test_integer_ids_become_strings(read: Read, kind: pa.DataType) -> None:
    low, high = {8: (-128, 127), 16: (-32768, 32767)}.get(kind.bit_width, (0, 2**31 - 1))
    rows = read(table(item_id=pa.array([low, high], kind)))
    assert {row["item_id"] for row in rows} == {str(low), str(high)}


def test_long_integer_ids_keep_every_digit(read: Read) -> None:
    ids = [9_007_199_254_740_993, 9_223_372_036_854_775_807]  # not exact as doubles
    assert [row["item_id"] for row in read(table(item_id=ids))] == [str(number) for number in ids]


@pytest.mark.parametrize(
    "ids", [pa.array([2**64 - 1, 0], pa.uint64()), pa.array([Decimal(2**64 - 1), Decimal(0)])], ids=str
)
def test_whole_numbers_of_any_type_are_ids(read: Read, ids: pa.Array) -> None:
    assert {row["item_id"] for row in read(table(item_id=ids))} == {"18446744073709551615", "0"}


def test_dictionary_encoded_strings_are_strings(read: Read) -> None:
    assert read(table(item_id=pa.array(["a", "b"]).dictionary_encode())) == GOOD


# --- rows


def test_ids_are_unchanged(read: Read) -> None:
    ids = ["A", "a", " a", "a ", "ä", "a\u0308", "0", "00", "null", "é" * 128, "x" * 256]
    rows = read(table(item_id=ids, image_path=["p"] * len(ids)))
    assert sorted(str(row["item_id"]) for row in rows) == sorted(ids)


def test_empty_path_is_an_item_whose_picture_will_fail(read: Read) -> None:
    assert read(table(image_path=["", "b.jpg"]))[0] == {**GOOD[0], "image_path": ""}


# --- where it is


@pytest.fixture
def open_path(spark: SparkSession, settings: Build) -> Open:
    """Return the rows of the catalogue at a path or of a table."""

    def run(path: object) -> Items:
        chosen = settings(catalogue={"path": str(path)})
        items = read_catalogue(spark, chosen)
        check_rows(items, chosen)
        return [row.asDict() for row in items.orderBy("item_id").collect()]

    return run


def test_folder_of_parquet_files_is_one_catalogue(open_path: Open, tmp_path: Path) -> None:
    folder = tmp_path / "items"
    folder.mkdir()
    for number in range(2):
        pq.write_table(table().slice(number, 1), folder / f"part-{number}.parquet")
    (folder / "_SUCCESS").write_text("")
    (folder / ".part-1.parquet.part").write_text("half of it")
    assert open_path(folder) == GOOD


def test_file_name_and_folder_name_do_not_matter(open_path: Open, tmp_path: Path) -> None:
    folder = tmp_path / "a folder (1)"
    folder.mkdir()
    pq.write_table(table(), folder / "items without suffix")
    assert open_path(folder / "items without suffix") == GOOD
    assert open_path(folder) == GOOD
    assert open_path(f"file://{folder}") == GOOD


def test_partition_column_of_a_folder_may_be_kept(spark: SparkSession, settings: Build, tmp_path: Path) -> None:
    for kind, number in (("shoe", 0), ("bag", 1)):
        (tmp_path / f"kind={kind}").mkdir()
        pq.write_table(table().slice(number, 1), tmp_path / f"kind={kind}" / "part.parquet")
    chosen = settings(catalogue={"path": str(tmp_path)}, similar={"group_by": "kind"})
    rows = read_catalogue(spark, chosen).orderBy("item_id").collect()
    assert [row["kind"] for row in rows] == ["shoe", "bag"]


@pytest.fixture
def tables(spark: SparkSession, tmp_path: Path) -> Iterator[None]:
    """Save the two good items as a temporary view, a global view and two tables."""
    pq.write_table(table(), tmp_path / "t.parquet")
    frame = spark.read.parquet(str(tmp_path / "t.parquet"))
    frame.createOrReplaceTempView("items_view")
    frame.createOrReplaceGlobalTempView("items_everywhere")
    spark.sql("CREATE DATABASE IF NOT EXISTS shop")
    frame.write.mode("overwrite").saveAsTable("shop.items")
    frame.write.mode("overwrite").saveAsTable("items_saved")
    yield
    spark.catalog.dropTempView("items_view")
    spark.catalog.dropGlobalTempView("items_everywhere")
    spark.sql("DROP DATABASE shop CASCADE")
    spark.sql("DROP TABLE items_saved")


@pytest.mark.parametrize(
    "name",
    [
        "items_view",
        "items_saved",
        "shop.items",
        "SHOP.Items",
        "spark_catalog.shop.items",
        "global_temp.items_everywhere",
    ],
)
@pytest.mark.usefixtures("tables")
def test_table_of_the_catalog_is_read_by_its_name(open_path: Open, name: str) -> None:
    assert open_path(name) == GOOD


def test_relative_path_that_could_be_a_table_name_is_a_path(
    open_path: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The JVM keeps the folder that it started in, so a file there is not found under its relative name.
    monkeypatch.chdir(tmp_path)
    assert "no file, folder or table 'items'" in refusal(lambda: open_path("items"))


@pytest.mark.parametrize(
    "name", ["{folder}/gone.parquet", "gone.parquet", "file://{folder}/gone", "no_such_db.items", "x" * 200]
)
def test_path_that_is_missing_is_named(open_path: Open, name: str, tmp_path: Path) -> None:
    path = name.format(folder=tmp_path)
    message = refusal(lambda: open_path(path))
    assert message == f"catalogue.path: there is no file, folder or table '{path}'"


def parquet_bytes(rows: int = 2) -> bytes:
    sink = pa.BufferOutputStream()
    ids = [f"item-{number:06d}" for number in range(rows)]
    pq.write_table(table(item_id=ids, image_path=ids), sink, compression="none", use_dictionary=False)
    return bytes(sink.getvalue())


NOT_PARQUET: dict[str, bytes] = {
    "csv": b"item_id,image_path\na,a.jpg\nb,b.jpg\n",  # by another name
    "text": "Ünïcode text, longer than a footer\n".encode() * 3,
    "empty": b"",
    "magic only": b"PAR1",
    "both magics": b"PAR1" + bytes(20) + b"PAR1",
    "footer cut off": parquet_bytes()[:-40],
    "head only": parquet_bytes()[:100],
    "tail only": parquet_bytes()[-300:],
}


@pytest.mark.parametrize("case", NOT_PARQUET)
def test_file_that_is_not_parquet_is_refused(open_path: Open, case: str, tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    path.write_bytes(NOT_PARQUET[case])
    message = refusal(lambda: open_path(path))
    assert str(path) in message
    assert "as Parquet" in message or "to its end" in message


def test_damaged_pages_with_a_good_footer_are_refused(open_path: Open, tmp_path: Path) -> None:
    data = bytearray(parquet_bytes(5000))
    data[4:5000] = b"\xff" * 4996
    (tmp_path / "items.parquet").write_bytes(data)
    message = refusal(lambda: open_path(tmp_path / "items.parquet"))
    assert "cannot be read to its end" in message


def test_folder_with_one_damaged_file_is_refused(open_path: Open, tmp_path: Path) -> None:
    folder = tmp_path / "items"
    folder.mkdir()
    pq.write_table(table(), folder / "a.parquet")
    (folder / "b.parquet").write_bytes(parquet_bytes()[:-40])
    assert str(folder) in refusal(lambda: open_path(folder))


@pytest.mark.parametrize("files", [[], ["_SUCCESS"], [".hidden.parquet"]], ids=repr)
def test_folder_without_parquet_files_is_refused(open_path: Open, files: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "items"
    folder.mkdir()
    for name in files:
        (folder / name).write_bytes(parquet_bytes())
    assert str(folder) in refusal(lambda: open_path(folder))


@pytest.mark.parametrize("path", ["nope://host/items", "s3a://bucket/items", " ", "a:b", "file://host/items"])
def test_path_of_an_unknown_file_system_is_refused(open_path: Open, path: str) -> None:
    message = refusal(lambda: open_path(path))
    assert message.startswith("catalogue.path: ")
    assert path.strip() in message


def test_timestamps_of_pandas_in_a_column_that_is_not_used_do_not_matter(read: Read) -> None:
    source = table(etag=pa.array([1, 2], pa.timestamp("ns")))
    assert len(read(source)) == 2


def test_times_of_pandas_are_times(read: Read) -> None:
    rows = read(table(seen=pa.array([1_500, None], pa.timestamp("ns"))), keep_columns=["seen"])
    assert [row["seen"] for row in rows] == [datetime.datetime(1970, 1, 1, microsecond=1), None]  # noqa: DTZ001


def test_predicate_tells_columns_apart_by_their_capitals(read: Read) -> None:
    odd = {"Brand": ["x", "y"], "brand": ["y", "y"], "u": pa.array([b"x" * 16] * 2, pa.uuid())}
    rows = read(table(**odd), {"eligible": "Brand = brand"}, keep_columns=["brand"])
    assert [(row["brand"], row["eligible"]) for row in rows] == [("y", False), ("y", True)]
    message = refusal(lambda: read(table(**odd), {"eligible": "u is not null"}))
    assert "column 'u' is extension<arrow.uuid> in " in message


def test_strings_with_a_collation_are_strings(open_path: Open, spark: SparkSession) -> None:
    spark.sql("SELECT 'a' COLLATE UTF8_LCASE AS item_id, 'p' COLLATE UNICODE AS image_path").createOrReplaceTempView(
        "v"
    )
    assert open_path("v") == [{"item_id": "a", "image_path": "p", "fingerprint": None}]


def test_file_that_changes_between_two_looks_is_named(spark: SparkSession, settings: Build, tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / "items.parquet")
    items = read_catalogue(spark, settings(catalogue={"path": str(tmp_path / "items.parquet")}))
    pq.write_table(table(item_id=["c", "d"]), tmp_path / "items.parquet")
    with pytest.raises(PySparkException) as raised:
        items.collect()
    named = failures.named_error(raised.value)
    assert isinstance(named, CatalogueError)
    assert "items.parquet has changed since the run began to read it" in str(named)


def test_table_of_files_that_java_would_pass_over_is_refused(
    monkeypatch: pytest.MonkeyPatch, spark: SparkSession, tmp_path: Path
) -> None:
    spark.range(1).write.parquet(str(tmp_path / "t"))
    frame = spark.read.parquet(str(tmp_path / "t"))
    reading._check_names(frame, "shop.items")
    monkeypatch.setattr(reading.names, "java_encoding", lambda _: "ANSI_X3.4-1968")
    reading._check_names(spark.range(1), "shop.items")
    with pytest.raises(CatalogueError, match=r"shop\.items has local files.*LC_ALL=C.UTF-8"):
        reading._check_names(frame, "shop.items")
