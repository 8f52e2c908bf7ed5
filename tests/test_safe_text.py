"""Text of strangers, made safe to print and to store."""

from __future__ import annotations

import json

import pytest

from lookalike import safe_text
from lookalike.errors import CatalogueError, GateError
from lookalike.failures import LONGEST_DETAIL, ImageError

MOVES = [
    "\x1b",
    "\x9b",
    "\x07",
    "\r",
    "\b",
    "\x7f",
    "\u202e",
    "\u2066",
    "\u200f",
    "\u2028",
    "\ud800",
    "\U000e0041",
    "\ufeff",
]


@pytest.mark.parametrize("character", MOVES)
def test_what_moves_or_hides_text_is_escaped(character: str) -> None:
    escape = safe_text.escaped(character)
    assert escape.isascii()
    assert escape.isprintable()
    assert escape.encode("ascii").decode("unicode_escape") == character
    text = safe_text.json_text({"id": f"é{character}"})
    assert text.replace("\n", "").isprintable()
    assert json.loads(text) == {"id": f"é{character}"}


def test_letters_and_blanks_of_any_language_stay() -> None:
    text = "Möbel 10\xa0000\u3000家具 🪑"
    assert safe_text.escaped(text) == text
    assert text in safe_text.json_text([text])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("what\n  happened\r\n\n to 'a  b'", "what happened to 'a  b'"),
        ("no file '\x1b[31m' at https://u:p@h/x", "no file '\\x1b[31m' at https://…@h/x"),
        ("", ""),
    ],
)
def test_line_for_a_person(text: str, line: str) -> None:
    assert safe_text.one_line(text) == line


def test_stack_keeps_its_lines_and_tabs_alone() -> None:
    assert safe_text.escaped_lines("a\r\n\tat \x1bb\u2028") == "a\\r\n\tat \\x1bb\\u2028"


@pytest.mark.parametrize("size", [500, 501, 1_000_000])
def test_long_line_keeps_its_start_and_its_end(size: int) -> None:
    line = safe_text.one_line("start" + "x" * (size - 8) + "end")
    assert len(line) == 500
    assert line.startswith("startx")
    assert line.endswith("xend")


def test_errors_and_details_are_short_lines_of_utf_8() -> None:
    text = "\ud800\x1bhttps://u:secret@h/\n" + "x" * 1_000_000
    for error, longest in ((CatalogueError(text), 500), (GateError(text), 4000)):
        assert len(str(error)) == longest
    detail = ImageError("bad_uri", text).detail
    assert len(detail) == LONGEST_DETAIL
    for line in (str(CatalogueError(text)), detail):
        assert line.encode().decode().isprintable()
        assert "secret" not in line


def test_secrets_are_cut_from_all_texts_of_a_record() -> None:
    record = {"hub": "https://u:pw@h/p?id=1", "groups": ("a", {"sig": "x?sig=ab"}), "items": 3, "none": None}
    assert safe_text.without_secrets(record) == {
        "hub": "https://…@h/p?id=1",
        "groups": ["a", {"sig": "x?sig=…"}],
        "items": 3,
        "none": None,
    }
