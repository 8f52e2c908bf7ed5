"""Catalogues as the field has them: each file below the folder is read, or refused by its name. Without Spark."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike.catalogue import opening, scan
from support.catalogue_files import ids, opened, values, write
from support.items_table import refusal

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
    assert opening.open_files(str(tmp_path / "no" / pattern)) is None


def test_folders_of_a_pattern_give_their_columns(tmp_path: Path) -> None:
    write(tmp_path / "kind=x" / "d.parquet", "d")
    assert values(tmp_path / "kind=*", "kind") == values(tmp_path / "*" / "*.parquet", "kind") == ["x"]


FOLDERS: dict[str, tuple[list[str], list[str | None]]] = {
    "percent-encoded": (["kind=M%C3%B6bel", "kind=a%2Fb"], ["Möbel", "a/b"]),
    "plain": (["kind=Möbel", "kind=01"], ["Möbel", "01"]),
    "no value": (["kind=__HIVE_DEFAULT_PARTITION__", "kind=x"], [None, "x"]),
    "a loose file": (["", "kind=z"], [None, "z"]),
    "deeper": (["kind=y/day=1", "day=1"], ["y", None]),
    "named as a picture": (["kind=x.jpg", "photos.png"], ["x.jpg", None]),
    "named as a marker": (["kind=x.crc", "kind=y$folder$"], ["x.crc", "y$folder$"]),
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
    "in a hidden folder": ("_old/k=1/x.parquet", lambda path: write(path, "x"), "/_old holds Parquet, and is hidden"),
    "in a folder with a dot": (".kind=x/x.parquet", lambda path: write(path, "x"), "/.kind=x holds Parquet"),
    "in a folder named as a marker": ("_metadata/x.parquet", lambda path: write(path, "x"), "/_metadata holds Parquet"),
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
    "Iceberg, packed": ("metadata/v1.metadata.json.gz", lambda path: write(path, "x"), "is an Iceberg table"),
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


@pytest.mark.parametrize("target", ["table/kind=a", "table/kind=a/x.parquet"])
def test_link_into_a_table_of_another_format_is_refused_too(tmp_path: Path, target: str) -> None:
    write(tmp_path / "table" / "_delta_log" / "0.json", "x")
    write(tmp_path / "table" / "kind=a" / "x.parquet", "x")
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "link").symlink_to(tmp_path / target)
    for path in (tmp_path / "near", tmp_path / "near" / "link"):
        assert "table is a Delta table" in refusal(lambda path=path: opened(path))  # type: ignore[misc]


@pytest.mark.parametrize("files", [[], ["_SUCCESS"], [".a.crc"]], ids=repr)
def test_folder_without_data_is_refused(tmp_path: Path, files: list[str]) -> None:
    for name in files:
        (tmp_path / name).touch()
    assert "holds no Parquet file" in refusal(lambda: opened(tmp_path))


# --- between the footer and the pages


def test_file_that_changes_while_it_is_read_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", "ab")
    tasks, schema = opened(tmp_path).tasks([("item_id", "item_id")], cores=1)
    write(tmp_path / "a.parquet", "xyz")
    assert "a.parquet has changed since" in refusal(lambda: list(scan.read_rows(tasks[0], schema)))
    (tmp_path / "a.parquet").unlink()
    assert "a.parquet is gone, or not seen on" in refusal(lambda: list(scan.read_rows(tasks[0], schema)))


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
