"""Odd paths of the field: what is said of them, and the names that they may stand for."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookalike.failures import ImageError
from lookalike.storage import names
from lookalike.storage.image_reader import ImageReader


@pytest.mark.parametrize("path", [None, "", " ", "\t\r\n", "\u00a0\u3000", "\u200b\ufeff", "\0", " " * 1_000_000])
def test_item_without_a_path_has_a_reason_of_its_own(path: str | None) -> None:
    for ask in (ImageReader().read, ImageReader().version):
        with pytest.raises(ImageError) as raised:
            ask(path)
        assert (raised.value.reason, raised.value.permanent) == ("no_path", True)


HINTS = [
    # the file, the path in the catalogue, what is said of the path
    ("a.jpg", " a.jpg", "begins with ' '; did you mean 'a.jpg'?"),
    ("a.jpg", "a.jpg\r", "ends with '\\r'; did you mean 'a.jpg'?"),
    ("a.jpg", "\ufeffa.jpg\u00a0", "begins with '\\ufeff' and ends with '\\xa0'; did you mean 'a.jpg'?"),
    ("a.jpg", "a\u200b.jpg", "holds '\\u200b'; did you mean 'a.jpg'?"),
    ("a.jpg", "a.jpg\0", "ends with '\\x00'; did you mean 'a.jpg'?"),
    ("a b.jpg", "a\u00a0b.jpg", "holds '\\xa0'; did you mean 'a b.jpg'?"),
    ("M\u00f6bel.jpg", "Mo\u0308bel.jpg", "no such file; did you mean 'M\u00f6bel.jpg'?"),
    ("Mo\u0308bel.jpg", "M\u00f6bel.jpg", "no such file; did you mean 'Mo\u0308bel.jpg'?"),
    ("M\u00f6bel.jpg", "M\u00c3\u00b6bel.jpg", "no such file; did you mean 'M\u00f6bel.jpg'?"),
    ("M\u00f6bel 1.jpg", "M%C3%B6bel%201.jpg", "no such file; did you mean 'M\u00f6bel 1.jpg'?"),
    ("sub/a.jpg", "sub\\a.jpg", "no such file; did you mean 'sub/a.jpg'?"),
    ("sub/a.jpg", "/sub/a.jpg", "no such file; did you mean 'sub/a.jpg'?"),
    ("a.jpg", '"a.jpg"', "no such file; did you mean 'a.jpg'?"),
    ("a & b.jpg", "a &amp; b.jpg", "no such file; did you mean 'a & b.jpg'?"),
    ("a.JPG", "a.jpg", "no such file; did you mean 'a.JPG'?"),
    ("b.jpg", "a.jpg", "no such file"),
    ("b.jpg", "a\ufffd.jpg", "no such file; the path holds '\ufffd'"),
    ("b.jpg", "a\n" * 30 + ".jpg", "the path holds '" + "\\n" * 20 + "…'"),
]


@pytest.mark.parametrize(("name", "path", "said"), HINTS)
def test_path_of_no_file_is_shown_with_the_name_that_may_be_meant(
    tmp_path: Path, name: str, path: str, said: str
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"picture")
    with pytest.raises(ImageError) as raised:
        ImageReader(root=str(tmp_path)).read(path)
    assert raised.value.reason in ("not_found", "bad_uri")
    assert raised.value.detail.endswith(said)


@pytest.mark.parametrize("path", ["%2e%2e/secret.jpg", "..\\secret.jpg", "x/\u200b../../secret.jpg"])
def test_name_outside_the_root_is_not_tried(tmp_path: Path, path: str) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"picture")
    with pytest.raises(ImageError) as raised:
        ImageReader(root=str(tmp_path / "pictures")).read(path)
    assert "did you mean" not in raised.value.detail


def test_longest_path_costs_no_look() -> None:
    assert list(names.near_names("x" * 1_000_000 + " ")) == []
    assert list(names.near_names("images/a.jpg")) == ["images/a.JPG"]
