"""The catalogue's contract: what is read as it stands, what is cast, and every way to be refused."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.sql.types import StringType

from lookalike import config
from lookalike.catalogue.read import read_catalogue
from lookalike.errors import CatalogueError

Rows = dict[str, Sequence[object]]
Items = list[dict[str, object]]
Build = Callable[..., config.Settings]
Read = Callable[..., Items]
Open = Callable[[object], Items]


def table(**columns: Any) -> pa.Table:
    """Two sound items; columns are replaced or added by name, or left out where given as None."""
    base: dict[str, Any] = {"item_id": ["a", "b"], "image_path": ["a.jpg", "b.jpg"]}
    return pa.table({name: values for name, values in {**base, **columns}.items() if values is not None})


@pytest.fixture
def read(spark: SparkSession, settings: Build, tmp_path: Path) -> Read:
    """Rows of the catalogue read from a table, with the given sections of settings, sorted by id."""

    def run(source: pa.Table, similar: dict[str, object] | None = None, **keys: object) -> Items:
        path = tmp_path / "items.parquet"
        pq.write_table(source, path)
        chosen = settings(catalogue={"path": str(path), **keys}, similar=similar or {})
        items = read_catalogue(spark, chosen)
        assert items.schema["item_id"].dataType == StringType()
        assert items.schema["image_path"].dataType == StringType()
        return [row.asDict() for row in items.orderBy("item_id").collect()]

    return run


def refusal(action: Callable[[], object]) -> str:
    """The one line of the CatalogueError that `action` raises."""
    with pytest.raises(CatalogueError) as raised:
        action()
    message = str(raised.value)
    assert "\n" not in message
    assert "JVM" not in message
    assert raised.value.exit_code == 2
    return message


SOUND = [
    {"item_id": "a", "image_path": "a.jpg", "fingerprint": None},
    {"item_id": "b", "image_path": "b.jpg", "fingerprint": None},
]


# --- columns


def test_other_columns_are_left_behind(read: Read) -> None:
    assert read(table(price=[1.0, None])) == SOUND


@pytest.mark.parametrize(
    "names", [("sku", "url"), ("item id", "image.path"), ("Ärtikel", "a-b"), ("image_path", "item_id")]
)
def test_columns_may_have_other_names(read: Read, names: tuple[str, str]) -> None:
    source = pa.table({names[1]: ["a.jpg", "b.jpg"], "other": [1, 2], names[0]: ["a", "b"]})
    assert read(source, item_id_column=names[0], image_path_column=names[1]) == SOUND


@pytest.mark.parametrize("kept", [("price", "in stock"), ("a.b",), ("tags",), ("price", "price")])
def test_kept_columns_are_carried_with_their_values(read: Read, kept: tuple[str, ...]) -> None:
    extra: Rows = {"price": [1.5, None], "in stock": [True, False], "a.b": ["x", "y"], "tags": [["s"], []]}
    rows = read(table(**extra), keep_columns=kept)
    assert rows == [{**row, **{name: extra[name][number] for name in kept}} for number, row in enumerate(SOUND)]


def test_group_column_is_carried_once_with_its_nulls(read: Read) -> None:
    rows = read(table(kind=["shoe", None]), keep_columns=("kind",), similar={"group_by": "kind"})
    assert [row["kind"] for row in rows] == ["shoe", None]
    assert [list(row) for row in rows] == [["item_id", "image_path", "fingerprint", "kind"]] * 2


MISSING = [
    # columns of the table, keys, words of the message
    ({"item_id": None, "sku": ["a", "b"]}, {}, ["'item_id'", "image_path, sku", "catalogue.item_id_column"]),
    ({"image_path": None, "url": ["a", "b"]}, {}, ["'image_path'", "item_id, url", "catalogue.image_path_column"]),
    ({}, {"item_id_column": "sku"}, ["'sku'", "item_id, image_path", "catalogue.item_id_column"]),
    ({}, {"image_path_column": "url"}, ["'url'", "item_id, image_path", "catalogue.image_path_column"]),
    ({}, {"image_path_column": ""}, ["''", "item_id, image_path", "catalogue.image_path_column"]),
    ({}, {"keep_columns": ["colour"]}, ["'colour'", "item_id, image_path", "catalogue.keep_columns"]),
    ({}, {"keep_columns": "kind,colour"}, ["'kind'", "item_id, image_path", "catalogue.keep_columns"]),
    ({"a": [{"b": 1}] * 2}, {"keep_columns": ["a.b"]}, ["'a.b'", "item_id, image_path, a", "catalogue.keep_columns"]),
    ({"a": [{"b": "x"}] * 2}, {"item_id_column": "a.b"}, ["'a.b'", "catalogue.item_id_column"]),
]


@pytest.mark.parametrize(("columns", "keys", "words"), MISSING)
def test_missing_column_is_named_with_those_there_are_and_the_key(
    read: Read, columns: dict[str, Any], keys: dict[str, object], words: list[str]
) -> None:
    message = refusal(lambda: read(table(**columns), **keys))
    assert [word for word in words if word not in message] == []


def test_missing_group_column_is_named_with_its_key(read: Read) -> None:
    message = refusal(lambda: read(table(), similar={"group_by": "kind"}))
    assert message == "similar.group_by names 'kind', which the catalogue lacks; it has: item_id, image_path"


@pytest.mark.parametrize(
    "name",
    [
        *("item_id", "image_path", "embedding", "norm", "Width", "fixes", "embedded_at", "reason", "Fingerprint"),
    ],
)
def test_kept_column_with_a_name_of_the_embeddings_table_is_refused(read: Read, name: str) -> None:
    source = table(**({} if name in ("item_id", "image_path") else {name: [1, 2]}))
    assert f"catalogue.keep_columns names '{name}'" in refusal(lambda: read(source, keep_columns=[name]))
    assert f"similar.group_by names '{name}'" in refusal(lambda: read(source, similar={"group_by": name}))


# --- fingerprints

FINGERPRINTS: dict[str, tuple[pa.Array, list[str | None]]] = {
    "text": (pa.array(["v1", ""]), ["seen=v1", "seen="]),
    "numbers": (pa.array([7, -1]), ["seen=7", "seen=-1"]),
    "a null": (pa.array(["v1", None]), ["seen=v1", None]),
    "days": (pa.array([datetime.date(2026, 1, 2)] * 2), ["seen=2026-01-02"] * 2),
    "booleans": (pa.array([True, False]), ["seen=true", "seen=false"]),
}


@pytest.mark.parametrize("case", FINGERPRINTS)
def test_fingerprint_is_the_column_s_name_and_value_as_text(read: Read, case: str) -> None:
    values, expected = FINGERPRINTS[case]
    rows = read(table(seen=values), change_detection="column", fingerprint_column="seen")
    assert [row["fingerprint"] for row in rows] == expected
    assert list(rows[0]) == ["item_id", "image_path", "fingerprint"]


def test_fingerprint_column_may_be_kept_and_group_too(read: Read) -> None:
    keys = {"change_detection": "column", "fingerprint_column": "a.b", "keep_columns": ["a.b"]}
    rows = read(table(**{"a.b": ["x", None]}), similar={"group_by": "a.b"}, **keys)
    assert [(row["fingerprint"], row["a.b"]) for row in rows] == [("a.b=x", "x"), (None, None)]


def test_missing_fingerprint_column_is_named_with_its_key(read: Read) -> None:
    message = refusal(lambda: read(table(), change_detection="column", fingerprint_column="seen"))
    assert message == (
        "catalogue.fingerprint_column names 'seen', which the catalogue lacks; it has: item_id, image_path"
    )


@pytest.mark.parametrize(
    ("values", "kind"),
    [([b"a", b"b"], "binary"), ([["a"], []], "array<string>"), ([{"x": 1}, {"x": 2}], "struct<x:bigint>")],
)
def test_fingerprint_of_no_plain_value_is_refused(read: Read, values: list[object], kind: str) -> None:
    message = refusal(lambda: read(table(seen=values), change_detection="column", fingerprint_column="seen"))
    assert message == f"catalogue.fingerprint_column names 'seen', which is {kind}; take a text, number or time"


# --- types


@pytest.mark.parametrize("kind", [pa.int8(), pa.int16(), pa.int32(), pa.int64()], ids=str)
def test_integer_ids_become_strings(read: Read, kind: pa.DataType) -> None:
    low, high = {8: (-128, 127), 16: (-32768, 32767)}.get(kind.bit_width, (0, 2**31 - 1))
    rows = read(table(item_id=pa.array([low, high], kind)))
    assert {row["item_id"] for row in rows} == {str(low), str(high)}


def test_long_integer_ids_keep_every_digit(read: Read) -> None:
    ids = [9_007_199_254_740_993, 9_223_372_036_854_775_807]  # not exact as doubles
    assert [row["item_id"] for row in read(table(item_id=ids))] == [str(number) for number in ids]


REFUSED_IDS = [
    pa.array([1.0, 2.0]),
    pa.array([decimal.Decimal("1.0"), decimal.Decimal("2.5")]),
    pa.array([True, False]),
    pa.array([b"a", b"b"]),
    pa.array([datetime.date(2026, 1, 1), datetime.date(2026, 1, 2)]),
    pa.array([["a"], ["b"]]),
    pa.array([{"x": "a"}, {"x": "b"}]),
]


@pytest.mark.parametrize("ids", REFUSED_IDS, ids=lambda ids: str(ids.type))
def test_ids_of_other_types_are_refused(read: Read, ids: pa.Array) -> None:
    message = refusal(lambda: read(table(item_id=ids)))
    assert message.startswith("catalogue.item_id_column 'item_id' is ")
    assert message.endswith("; use strings or integers")


@pytest.mark.parametrize("paths", [[1, 2], [b"a", b"b"], [["a"], ["b"]], [1.0, 2.0]], ids=repr)
def test_paths_of_other_types_are_refused(read: Read, paths: list[object]) -> None:
    message = refusal(lambda: read(table(image_path=paths)))
    assert message.startswith("catalogue.image_path_column 'image_path' is ")


def test_dictionary_encoded_strings_are_strings(read: Read) -> None:
    assert read(table(item_id=pa.array(["a", "b"]).dictionary_encode())) == SOUND


# --- rows


def test_ids_are_kept_as_they_are(read: Read) -> None:
    ids = ["A", "a", " a", "a ", "ä", "a\u0308", "0", "00", "null", "é" * 128, "x" * 256]
    rows = read(table(item_id=ids, image_path=["p"] * len(ids)))
    assert sorted(str(row["item_id"]) for row in rows) == sorted(ids)


def test_empty_path_is_an_item_whose_picture_will_fail(read: Read) -> None:
    assert read(table(image_path=["", "b.jpg"]))[0] == {**SOUND[0], "image_path": ""}


BROKEN_ROWS = [
    # ids, paths, words of the message
    (["a", None], ["p", "p"], ["1 of 2 rows", "null or empty 'item_id'"]),
    (["a", ""], ["p", "p"], ["1 of 2 rows", "null or empty 'item_id'"]),
    ([None, "", None], ["p", None, "p"], ["3 of 3 rows", "null or empty 'item_id'"]),
    (["a", "b", "c"], ["p", None, None], ["2 of 3 rows", "null 'image_path'"]),
    (["a", "x" * 257], ["p", "p"], ["1 values of 'item_id'", "longer than 256 bytes"]),
    (["a", "é" * 129], ["p", "p"], ["1 values of 'item_id'", "longer than 256 bytes"]),
    (["a", "b", "a"], ["p", "p", "q"], ["'item_id' is not unique", "for example a;"]),
    (["b", "a", "b", "a", "c"], ["p"] * 5, ["for example a, b;"]),
    (list("dcbadcba"), ["p"] * 8, ["for example a, b, c;"]),
    ([7, 7], ["p", "p"], ["for example 7;"]),
    ([], [], ["has no rows"]),
]


@pytest.mark.parametrize(("ids", "paths", "words"), BROKEN_ROWS)
def test_broken_rows_are_counted_and_named(
    read: Read, ids: list[object], paths: list[object], words: list[str]
) -> None:
    source = pa.table(
        {"item_id": ids if ids else pa.array([], pa.string()), "image_path": pa.array(paths, pa.string())}
    )
    message = refusal(lambda: read(source))
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize("ids", [["a", None], ["a", "a"], ["a", "x" * 300]], ids=["null", "twice", "long"])
def test_broken_rows_are_told_in_the_users_own_column_names(read: Read, ids: list[object]) -> None:
    source = pa.table({"sku": ids, "url": ["p", "p"]})
    assert "'sku'" in refusal(lambda: read(source, item_id_column="sku", image_path_column="url"))


# --- places


@pytest.fixture
def open_path(spark: SparkSession, settings: Build) -> Open:
    """Rows of the catalogue at a path or of a table's name."""

    def run(path: object) -> Items:
        items = read_catalogue(spark, settings(catalogue={"path": str(path)}))
        return [row.asDict() for row in items.orderBy("item_id").collect()]

    return run


def test_folder_of_parquet_files_is_one_catalogue(open_path: Open, tmp_path: Path) -> None:
    folder = tmp_path / "items"
    folder.mkdir()
    for number in range(2):
        pq.write_table(table().slice(number, 1), folder / f"part-{number}.parquet")
    (folder / "_SUCCESS").write_text("")
    (folder / ".part-1.parquet.part").write_text("half of it")
    assert open_path(folder) == SOUND


def test_file_name_and_folder_name_do_not_matter(open_path: Open, tmp_path: Path) -> None:
    folder = tmp_path / "a folder (1)"
    folder.mkdir()
    pq.write_table(table(), folder / "items without suffix")
    assert open_path(folder / "items without suffix") == SOUND
    assert open_path(folder) == SOUND
    assert open_path(f"file://{folder}") == SOUND


def test_partition_column_of_a_folder_may_be_kept(spark: SparkSession, settings: Build, tmp_path: Path) -> None:
    for kind, number in (("shoe", 0), ("bag", 1)):
        (tmp_path / f"kind={kind}").mkdir()
        pq.write_table(table().slice(number, 1), tmp_path / f"kind={kind}" / "part.parquet")
    chosen = settings(catalogue={"path": str(tmp_path)}, similar={"group_by": "kind"})
    rows = read_catalogue(spark, chosen).orderBy("item_id").collect()
    assert [row["kind"] for row in rows] == ["shoe", "bag"]


@pytest.fixture
def tables(spark: SparkSession, tmp_path: Path) -> Iterator[None]:
    """The two sound items as a temporary view, a global one and a saved table."""
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
    assert open_path(name) == SOUND


def test_relative_path_that_could_be_a_table_name_is_a_path(
    open_path: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the JVM keeps the folder it started in, so a name that is nowhere must say so
    monkeypatch.chdir(tmp_path)
    assert "no file, folder or table 'items'" in refusal(lambda: open_path("items"))


@pytest.mark.parametrize(
    "name", ["{folder}/gone.parquet", "gone.parquet", "file://{folder}/gone", "no_such_db.items", "x" * 200]
)
def test_place_that_is_not_there_is_named(open_path: Open, name: str, tmp_path: Path) -> None:
    path = name.format(folder=tmp_path)
    message = refusal(lambda: open_path(path))
    assert message == f"catalogue.path: there is no file, folder or table '{path}'"


def parquet_bytes(rows: int = 2) -> bytes:
    sink = pa.BufferOutputStream()
    ids = [f"item-{number:06d}" for number in range(rows)]
    pq.write_table(table(item_id=ids, image_path=ids), sink, compression="none", use_dictionary=False)
    return bytes(sink.getvalue())


NOT_PARQUET: dict[str, bytes] = {
    "csv": b"item_id,image_path\na,a.jpg\nb,b.jpg\n",
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
    path = tmp_path / ("items.csv" if case == "csv" else "items.parquet")
    path.write_bytes(NOT_PARQUET[case])
    message = refusal(lambda: open_path(path))
    assert str(path) in message
    assert "as Parquet" in message or "to its end" in message


def test_pages_damaged_behind_a_sound_footer_are_refused(open_path: Open, tmp_path: Path) -> None:
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
    refusal(lambda: open_path(folder))


@pytest.mark.parametrize("files", [[], ["_SUCCESS"], [".hidden.parquet"]], ids=repr)
def test_folder_without_parquet_files_is_refused(open_path: Open, files: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "items"
    folder.mkdir()
    for name in files:
        (folder / name).write_bytes(parquet_bytes())
    refusal(lambda: open_path(folder))


@pytest.mark.parametrize("path", ["nope://host/items", "s3a://bucket/items", " ", "a:b", "file://host/items"])
def test_path_that_no_file_system_knows_is_refused(open_path: Open, path: str) -> None:
    refusal(lambda: open_path(path))


def test_timestamps_of_pandas_in_a_column_nobody_asked_for_do_not_matter(read: Read) -> None:
    source = table(seen=pa.array([1, 2], pa.timestamp("ns")))
    assert len(read(source)) == 2


def test_bytes_that_are_no_text_are_refused(spark: SparkSession, settings: Callable[..., config.Settings]) -> None:
    spark.sql("SELECT 'a' AS item_id, CAST(X'FF2E6A7067' AS STRING) AS image_path").createOrReplaceTempView("odd_text")
    with pytest.raises(CatalogueError, match="1 rows have a 'item_id' or 'image_path' that is not UTF-8 text"):
        read_catalogue(spark, settings(catalogue={"path": "odd_text"}))


def test_id_with_a_nul_is_refused(read: Read) -> None:
    assert "holds a NUL" in refusal(lambda: read(table(item_id=["a", "a\0"])))


def test_group_by_bytes_is_refused(read: Read) -> None:
    message = refusal(lambda: read(table(code=[b"a", b"b"]), similar={"group_by": "code"}))
    assert message == "similar.group_by names 'code', which is binary; take a column of plain values"


def test_group_column_with_a_value_an_item_is_refused_before_anything_is_embedded(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lookalike.catalogue.read.MAX_GROUPS", 5)
    many = table(item_id=list("abcdef"), image_path=["a.jpg"] * 6, kind=list("uvwxyz"), dept=["x", "y"] * 3)
    assert "'kind' has 6 values, 5 at most are groups" in refusal(lambda: read(many, {"group_by": "kind"}))
    monkeypatch.setattr("lookalike.catalogue.read.MAX_CELLS", 5)
    wider = {"group_by": "dept", "group_fallback": ["kind"]}
    assert "similar.group_fallback: its columns and 'dept' have 6 combinations, 5 at" in refusal(
        lambda: read(many, wider)
    )
