"""What is printed for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lookalike.cli import output, release_text


def test_section_keeps_control_characters_from_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.section("Items", ["a\x1b[31mb", "é"])
    assert capsys.readouterr().out == "Items\n  a\\x1b[31mb\n  é\n\n"


def test_columns_are_as_wide_as_their_widest_cell_and_rows_may_be_short() -> None:
    assert output.aligned([("a", "bbb", "c"), ("aaaa", "b"), ("", "", "c")]) == [
        "a     bbb  c",
        "aaaa  b",
        "           c",
    ]
    assert output.aligned([]) == []


def test_json_is_one_object_with_other_types_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"path": Path("/a"), "name": "é", "none": None})
    out = capsys.readouterr().out
    assert json.loads(out) == {"path": "/a", "name": "é", "none": None}
    assert "é" in out


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "-"),
        ("x", "x"),
        (True, "True"),
        (1234567, "1,234,567"),
        (1234.5, "1,234.5"),
        ({}, "-"),
        ({"a": 1, "b": None, "c": {"d": 2000}, "e": {}}, "a 1, c (d 2,000)"),
    ],
    ids=repr,
)
def test_value_of_a_record_as_text(value: Any, said: str) -> None:
    assert output.text(value) == said


@pytest.mark.parametrize(
    ("size", "said"),
    [(0, "0 B"), (999, "999 B"), (999.6, "1 kB"), (2_500_000, "2.5 MB"), (1.5e9, "1.5 GB"), (2.25e15, "2,250.0 TB")],
)
def test_size_has_three_digits_and_a_unit(size: float, said: str) -> None:
    assert output.size(size) == said


def test_moment_is_cut_to_seconds() -> None:
    assert output.moment("2026-11-22T17:14:23.482913+00:00") == "2026-11-22 17:14:23"
    assert output.moment(None) == "-"


def test_groups_of_a_release_are_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    worst = [
        {"group": name, "sampled": 5, "items": 1000, "estimate": 0.98, "low": 0.9, "high": 1.0}
        for name in ("coat", None)
    ]
    record = {"counts": {"items": 3, "recall_groups": worst}}
    release_text.print_release(
        {"release_id": "r1", "record": record, "state": "earlier", "current_until": None, "sizes": {}}
    )
    printed = capsys.readouterr().out
    assert "counts   items 3\n" in printed
    assert "  coat      0.9800  0.9000 to 1.0000  5 of 1,000\n  no value  0.9800" in printed
