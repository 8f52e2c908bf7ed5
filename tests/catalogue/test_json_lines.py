"""JSON Lines: types stay as they are, and each damaged line is counted and named. Without Spark."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lookalike.catalogue.formats import json_lines
from support.catalogue_files import converted, rows_of
from support.items_table import refusal

A, B = {"item_id": "007", "image_path": "a.jpg", "x": 1}, {"image_path": "b.jpg", "item_id": "b", "x": None}
TEXT = f"{json.dumps(A)}\n{json.dumps(B)}\n"


def read(folder: Path, data: bytes | str, name: str = "x.jsonl") -> list[tuple[Any, ...]]:
    """The values of three columns, by id."""
    path = folder / name
    path.write_bytes(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)
    found = converted(path, folder / "work" / "rows", keep_columns=["x"])
    return [tuple(row.values()) for row in rows_of(found, "item_id", "image_path", "x")]


SAME: dict[str, tuple[str, bytes]] = {
    "plain": ("x.jsonl", TEXT.encode()),
    "of another suffix": ("x.ndjson", TEXT.encode()),
    "of a third suffix": ("x.JSON", TEXT.encode()),
    "packed": ("x.jsonl.gz", gzip.compress(TEXT.encode())),
    "with a mark": ("x.jsonl", b"\xef\xbb\xbf" + TEXT.encode()),
    "UTF-16": ("x.jsonl", TEXT.encode("utf-16")),
    "line ends of Windows": ("x.jsonl", TEXT.replace("\n", "\r\n").encode()),
    "blank lines": ("x.jsonl", ("\n" + TEXT.replace("\n", "\n \n")).encode()),
    "no line end at the end": ("x.jsonl", TEXT[:-1].encode()),
}


@pytest.mark.parametrize("case", SAME)
def test_objects_are_the_same_however_they_are_written(tmp_path: Path, case: str) -> None:
    name, data = SAME[case]
    assert read(tmp_path, data, name) == [("007", "a.jpg", 1), ("b", "b.jpg", None)]


VALUES: dict[str, list[Any]] = {
    "texts": ["2026-01-02", "1", "", "ä\u2028\U0001f600"],
    "whole numbers": [1, -(2**63), 2**63 - 1, None],
    "numbers": [1.5, 2, None, 1e300],
    "truths": [True, False, None],
    "lists": [["a"], [], None, ["b", None]],
    "objects": [{"a": 1}, {"a": None, "b": ["x"]}, None],
}


@pytest.mark.parametrize("kind", VALUES)
def test_values_have_the_types_that_another_reader_finds(tmp_path: Path, kind: str) -> None:
    lines = [json.dumps({"item_id": f"{at}", "image_path": "p", "x": value}) for at, value in enumerate(VALUES[kind])]
    found = read(tmp_path, "\n".join(lines))
    other = pl.read_ndjson(tmp_path / "x.jsonl").sort("item_id")
    assert [row[2] for row in found] == other["x"].to_list()


def test_column_that_lines_lack_is_null_in_any_part_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "_LINES", 2)
    rows = [{"item_id": f"{at}"} for at in range(7)]
    rows[4] |= {"image_path": "p", "x": 1.5}
    rows[6] |= {"x": 2}
    assert [row[1:] for row in read(tmp_path, "\n".join(map(json.dumps, rows)))] == [
        *[(None, None)] * 4,
        ("p", 1.5),
        (None, None),
        (None, 2.0),
    ]


def test_types_that_change_in_the_middle_follow_the_rules_of_several_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lines, "_LINES", 1)
    rows = [{"item_id": at, "image_path": "p", "x": value} for at, value in enumerate([1, None, 2.5, 3])]
    assert [row[2] for row in read(tmp_path, "\n".join(map(json.dumps, rows)))] == [1.0, None, 2.5, 3.0]
    assert len(list((tmp_path / "work" / "rows").iterdir())) == 2  # and not one for each change
    rows[2]["item_id"] = "two"
    message = refusal(lambda: read(tmp_path, "\n".join(map(json.dumps, rows))))
    assert f"'item_id' is int64 in {tmp_path}/x.jsonl and string in {tmp_path}/x.jsonl from line 3, and" in message


DAMAGED: dict[str, tuple[bytes | str, str]] = {
    "broken": (TEXT + '{"item_id": "c"\n', "1 line cannot be read, as in {path}: line 3 is no JSON"),
    "several": (TEXT + "x\n[1]\n7\nnull\n", "4 lines cannot be read, as in {path}: line 3 is no JSON"),
    "no object": (TEXT + "[1]\n", "line 3 is no object"),
    "deep": (TEXT + "[" * 100_000 + "\n", "line 3 is nested too deep"),
    "two in a line": (TEXT + TEXT.replace("\n", " "), "line 3 is no JSON (extra data)"),
    "a number of 5,000 digits": (TEXT + f'{{"x": {"9" * 5000}}}', "line 3 is no JSON"),
    "Latin-1": (TEXT.encode() + b'{"item_id": "\xfc"}', "line 3 is not UTF-8 in column 'item_id'"),
    "Latin-1 in a name": (TEXT.encode() + b'{"\xfc": 1}', "line 3 is not UTF-8 in the name of a column"),
    "half a character in a name": (TEXT + '{"\\ud800": 1}', "line 3 is not UTF-8 in the name of a column"),
    "deep in a column that is kept": (
        f'{{"item_id": "c", "x": {"[" * 500}1{"]" * 500}}}',
        "in column 'x' values nested more than 32 deep, which no table holds; drop them",
    ),
    "no colon": (TEXT + '{"item_id"\n', "line 3 is no JSON (expecting ':' delimiter)"),
    "half a character": (TEXT + '{"item_id": "\\ud800"}', "line 3 is not UTF-8 in column 'item_id'"),
    "more than 64 bits": (TEXT + f'{{"x": {2**70}}}', "a whole number of more than 64 bits in 'x' in line 3"),
    "a number and a text": (
        TEXT + '{"item_id": 7}',
        "in column 'item_id' a text in line 1 and a whole number in line 3",
    ),
    "an object of nothing in a list": (TEXT + '{"x": [{}]}', "in column 'x'"),
    "only objects of nothing in lists": (
        '{"item_id": "a", "image_path": "p", "x": [{}]}',
        "objects without a key within",
    ),
    "a list": (b'[{"item_id": "a"}]', "is one JSON list; write one object a line"),
    "pretty": (json.dumps(A, indent=1), "has objects of several lines; write one object a line"),
    "empty": (b"", "is empty"),
    "blank": (b" \n\n", "is empty"),
    "cut while packed": (gzip.compress(TEXT.encode())[:-9], "is cut short or damaged"),
    "no such column": ('{"item_id": "a"}', "has no column 'image_path'; it has: item_id"),
    "objects of nothing": ("{}\n{}", "has no column 'item_id'"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_what_is_damaged_is_counted_and_named(tmp_path: Path, case: str) -> None:
    data, said = DAMAGED[case]
    assert said.format(path=tmp_path / "x.jsonl") in refusal(lambda: read(tmp_path, data))


def test_column_that_is_not_asked_for_may_hold_anything(tmp_path: Path) -> None:
    lines = [
        '{"item_id": "a", "image_path": "p", "x": 1, "y": 1}',
        '{"item_id": "b", "image_path": "p", "y": "\\ud800"}',
    ]
    assert read(tmp_path, "\n".join(lines)) == [("a", "p", 1), ("b", "p", None)]


def test_file_may_lack_a_column_that_another_has(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"item_id": 1, "image_path": "p"}\n')
    (tmp_path / "b.jsonl").write_text('{"item_id": 2, "x": "y", "image_path": "q"}\n')
    found = converted(tmp_path, tmp_path / "work" / "rows", keep_columns=["x"])
    assert [row["x"] for row in rows_of(found, "item_id", "x")] == [None, "y"]
