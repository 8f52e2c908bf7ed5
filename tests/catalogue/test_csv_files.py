"""CSV as spreadsheets and exports write it: what is read, and how what is damaged is named. Without Spark."""

from __future__ import annotations

import bz2
import gzip
import lzma
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from lookalike.catalogue.formats import csv_files
from support.catalogue_files import converted, rows_of
from support.items_table import refusal

HEADER = "item_id,image_path,kind\n"
GOOD = [("007", "a.jpg", "shoe"), ("b", "b.jpg", None)]


def read(folder: Path, name: str, data: bytes, encoding: str = "utf-8") -> list[tuple[str | None, ...]]:
    """The values of the three columns, by id."""
    path = folder / name
    path.write_bytes(data)
    found = converted(path, folder / "work" / "rows", keep_columns=["kind"], encoding=encoding)
    return [tuple(row.values()) for row in rows_of(found, "item_id", "image_path", "kind")]


ZSTD = partial(pa.compress, codec="zstd", asbytes=True)
PLAIN = HEADER + "007,a.jpg,shoe\nb,b.jpg,\n"

SAME: dict[str, tuple[str, bytes]] = {
    "plain": ("x.csv", PLAIN.encode()),
    "line ends of Windows": ("x.csv", PLAIN.replace("\n", "\r\n").encode()),
    "line ends of an old Mac": ("x.csv", PLAIN.replace("\n", "\r").encode()),
    "mixed line ends": ("x.csv", PLAIN.replace("\n", "\r\n", 1).encode()),
    "no line end at the end": ("x.csv", PLAIN[:-1].encode()),
    "UTF-8 with a mark": ("x.csv", b"\xef\xbb\xbf" + PLAIN.encode()),
    "UTF-16, little end": ("x.csv", b"\xff\xfe" + PLAIN.encode("utf-16-le")),
    "UTF-16, big end": ("x.csv", b"\xfe\xff" + PLAIN.encode("utf-16-be")),
    "Excel's text": ("x.txt", b"\xff\xfe" + PLAIN.replace(",", "\t").encode("utf-16-le")),
    "semicolons": ("x.csv", PLAIN.replace(",", ";").encode()),
    "tabs": ("x.tsv", PLAIN.replace(",", "\t").encode()),
    "bars": ("X.CSV", PLAIN.replace(",", "|").encode()),
    "a separator that is named": ("x.csv", ("sep=;\r\n" + PLAIN.replace(",", ";")).encode()),
    "UTF-32": ("x.csv", PLAIN.encode("utf-32")),
    "packed": ("x.csv.gz", gzip.compress(PLAIN.encode())),
    "packed by bzip2": ("x.csv.bz2", bz2.compress(PLAIN[:30].encode()) + bz2.compress(PLAIN[30:].encode())),
    "packed by xz": ("x.csv.xz", lzma.compress(PLAIN.encode())),
    "packed by zstd": ("X.CSV.ZST", ZSTD(PLAIN[:30].encode()) + ZSTD(PLAIN[30:].encode())),
    "packed in two parts": ("x.csv.gz", gzip.compress(PLAIN[:30].encode()) + gzip.compress(PLAIN[30:].encode())),
    "packed, without a suffix": ("x.csv", gzip.compress(PLAIN.encode())),
    "a column named as bzip2 begins": ("x.csv", b"BZh9,item_id,image_path,kind\n1,007,a.jpg,shoe\n2,b,b.jpg,\n"),
    "all quoted": ("x.csv", b'"item_id","image_path","kind"\n"007","a.jpg","shoe"\n"b","b.jpg",""\n'),
    "a header with blanks": ("x.csv", PLAIN.replace("image_path", " image_path\u00a0").encode()),
    "blank lines": ("x.csv", ("\n\n" + PLAIN + "\n\n").encode()),
    "rows of separators alone": ("x.csv", (PLAIN + ",,\n,,\n").encode()),
    "a separator at each end": ("x.csv", PLAIN.replace("\n", ",\n").encode()),
    "other columns twice": ("x.csv", b"item_id,x,image_path,x,kind\n007,1,a.jpg,2,shoe\nb,,b.jpg,,\n"),
    "more columns": ("x.csv", b'item_id,text,image_path,kind\n007,"1;2 ""x""\n3",a.jpg,shoe\nb,;,b.jpg,\n'),
}


@pytest.mark.parametrize("case", SAME)
def test_table_is_the_same_however_it_is_written(tmp_path: Path, case: str) -> None:
    assert read(tmp_path, *SAME[case]) == GOOD


def test_values_are_the_texts_that_another_reader_finds(tmp_path: Path) -> None:
    values = [
        "1",
        "01",
        "1.0",
        "1e3",
        "true",
        "NULL",
        "NA",
        " a ",
        "2026-01-02",
        'a "b", c',
        "a\r\nb",
        "ä\u2028ö",
        "0x1",
        "-0",
    ]
    text = "item_id,image_path,kind\n" + "".join(
        f'{at},p,"{one.replace(chr(34), 2 * chr(34))}"\n' for at, one in enumerate(values)
    )
    found = read(tmp_path, "x.csv", text.encode())
    other = pl.read_csv(tmp_path / "x.csv", infer_schema=False).sort("item_id").rows()
    assert found == other
    assert sorted(row[2] or "" for row in found) == sorted(values)


def test_text_of_other_encodings_is_read_by_the_setting_and_a_mark_says_more(tmp_path: Path) -> None:
    text = HEADER + "a,Müller €.jpg,x\n"
    assert read(tmp_path, "x.csv", text.encode("cp1252"), "cp1252") == [("a", "Müller €.jpg", "x")]
    assert read(tmp_path, "x.csv", text.encode("utf-16-le"), "utf-16-le") == [("a", "Müller €.jpg", "x")]
    assert read(tmp_path, "x.csv", text.encode("utf-8-sig"), "cp1252") == [("a", "Müller €.jpg", "x")]


def test_setting_that_needs_a_mark_is_named_where_there_is_none(tmp_path: Path) -> None:
    message = refusal(lambda: read(tmp_path, "x.csv", PLAIN.encode("utf-16-le"), "utf-16"))
    assert "x.csv is not utf-16 (UTF-16 stream does not start with BOM); correct catalogue.encoding" in message


def test_pattern_of_texts_is_csv(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(PLAIN.replace("007", name).replace("\nb,", f"\n{name}2,").replace(",", "\t"))
    found = converted(tmp_path / "*.txt", tmp_path / "work" / "rows")
    assert [row["item_id"] for row in rows_of(found, "item_id")] == ["a.txt", "a.txt2", "b.txt", "b.txt2"]


def test_bytes_of_no_text_do_not_matter_in_a_column_that_is_not_asked_for(tmp_path: Path) -> None:
    assert read(tmp_path, "x.csv", b"item_id,image_path,kind,note\na,p,x,\xfc\n") == [("a", "p", "x")]


DAMAGED: dict[str, tuple[bytes, str]] = {
    "too few": (
        PLAIN.encode() + b"c,d\n",
        "1 line cannot be read, as in {path}: line 4 has 2 fields, and the header 3",
    ),
    "too many": (PLAIN.encode() + b'"x\ny",d,e\nc,d,"a\r\nb",f\n', "line 6 has 4 fields, and the header 3"),
    "several": (PLAIN.encode() + b"c\n" * 9, "9 lines cannot be read, as in {path}: line 4 has 1 fields"),
    "a quote that is not closed": (PLAIN.encode() + b'c,d,"e\nf,g,h\n', "is no CSV (unexpected end of data)"),
    "a quote in a quoted field": (PLAIN.encode() + b'c,d,"12" screen"\n', "line 4 is no CSV (',' expected after '\"')"),
    "Latin-1": (PLAIN.encode() + b"c,M\xfcller.jpg,\xfc\n", "line 4 is not in its encoding in column '"),
    "another encoding in the header": (b"item_id,image_path,\xfc\n", "has a header that is not in its encoding"),
    "UTF-16 without a mark": (PLAIN.encode("utf-16-le"), "begins with a NUL: is it UTF-16?"),
    "cut in UTF-16": (b"\xff\xfe" + PLAIN.encode("utf-16-le")[:-1], "is not utf-16"),
    "empty": (b"", "is empty; write it again, or remove it"),
    "blank": (b"\n \n\n", "is empty; write it again, or remove it"),
    "a mark alone": (b"\xef\xbb\xbf", "is empty; write it again, or remove it"),
    "a workbook": (b"PK\x03\x04" + bytes(99), "is an Excel workbook or a ZIP file"),
    "cut while packed": (gzip.compress(PLAIN.encode())[:-9], "is cut short or damaged"),
    "cut while packed by bzip2": (bz2.compress(PLAIN.encode())[:-9], "is cut short or damaged"),
    "cut while packed by xz": (lzma.compress(PLAIN.encode())[:-9], "is cut short or damaged"),
    "cut while packed by zstd": (ZSTD(PLAIN.encode())[:-9], "is cut short or damaged"),
    "damaged while packed by xz": (lzma.compress(PLAIN.encode())[:40] + b"x" * 99, "is cut short or damaged"),
    "one column": (b"item_id\na\nb\n", "has no column 'image_path'"),
    "no header": (b"a,a.jpg,x\nb,b.jpg,y\n", "has no column 'item_id'; it has: a, a.jpg, x. Set"),
    "a column in use twice": (
        b"item_id,image_path,kind,kind\na,b,c,d\n",
        "column 'kind' is there twice in {path}, which cannot be read; rename one of the two",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_what_is_damaged_is_counted_and_named(tmp_path: Path, case: str) -> None:
    data, said = DAMAGED[case]
    message = refusal(lambda: read(tmp_path, "x.csv", data))
    assert said.format(path=tmp_path / "x.csv") in message
    assert message.startswith("catalogue.path")


def test_damaged_lines_of_all_files_are_counted(tmp_path: Path) -> None:
    for name, text in {"a": PLAIN, "b": PLAIN + "c\n", "c": PLAIN + "c,d\nd\n"}.items():
        (tmp_path / f"{name}.csv").write_text(text)
    message = refusal(lambda: converted(tmp_path, tmp_path / "work" / "rows"))
    assert f"3 lines of 2 files cannot be read, as in {tmp_path}/b.csv: line 4" in message


def test_line_of_damage_is_found_far_behind_fields_with_line_breaks(tmp_path: Path) -> None:
    text = HEADER + '"a\nb",p,"x\r\ny"\n' * csv_files._RECORDS + "c\n"
    line = 2 + 3 * csv_files._RECORDS
    assert f"line {line:,} has 1 fields" in refusal(lambda: read(tmp_path, "x.csv", text.encode()))


def test_file_that_is_written_to_meanwhile_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = csv_files._Table.batches

    def slowly(self, text):  # type: ignore[no-untyped-def]
        with (tmp_path / "x.csv").open("a") as file:
            file.write("c,d,e\n")
        yield from taken(self, text)

    monkeypatch.setattr(csv_files._Table, "batches", slowly)
    assert "was written to while the run read it" in refusal(lambda: read(tmp_path, "x.csv", PLAIN.encode()))


def test_header_alone_is_no_row(tmp_path: Path) -> None:
    assert read(tmp_path, "x.csv", HEADER.encode()) == []


def test_files_of_a_folder_may_have_other_columns_and_folders_give_one(tmp_path: Path) -> None:
    (tmp_path / "kind=x").mkdir()
    (tmp_path / "kind=x" / "part-0.csv").write_text("image_path;item_id;price\np;1;2\n")
    (tmp_path / "loose.csv").write_text("item_id,image_path,kind\n2,q,y\n")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "a.jpg").touch()
    found = converted(tmp_path, tmp_path.parent / "work" / "rows", keep_columns=["kind", "price"])
    assert [tuple(row.values()) for row in rows_of(found, "item_id", "image_path", "kind", "price")] == [
        ("1", "p", "x", "2"),
        ("2", "q", "y", None),
    ]


@pytest.mark.parametrize(("name", "said"), [("_b.csv", "_b.csv is hidden"), (".old/b.csv", "/.old holds data, and is")])
def test_hidden_file_is_named(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "a.csv").write_text(PLAIN)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(PLAIN)
    assert said in refusal(lambda: converted(tmp_path, tmp_path / "work" / "rows"))


def test_files_of_two_formats_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(PLAIN)
    (tmp_path / "b.jsonl").write_text("{}")
    message = refusal(lambda: converted(tmp_path, tmp_path / "work" / "rows"))
    assert f"{tmp_path}/a.csv is CSV, and {tmp_path}/b.jsonl is JSON Lines; remove it, or set" in message
    (tmp_path / "b.jsonl").rename(tmp_path / "a.csv~")
    message = refusal(lambda: converted(tmp_path, tmp_path / "work" / "rows"))
    assert f"{tmp_path}/a.csv is CSV, and {tmp_path}/a.csv~ is of no format that is known; remove it" in message


@pytest.mark.parametrize("name", ["items.xlsx", "items.XLS", "items.ods"])
def test_workbook_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04")
    assert f"{name} is a workbook; save its sheet as" in refusal(lambda: converted(tmp_path, tmp_path / "rows"))
