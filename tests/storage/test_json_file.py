"""JSON with its checksum: read as it was written, or refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lookalike.storage import json_file

CONTENT: dict[str, Any] = {"items": 1_204, "share": 0.1, "names": ["Malmö", None], "nested": {"passed": True}}


def test_what_was_written_is_read_with_or_without_a_checksum() -> None:
    assert json_file.unsealed(json_file.sealed(CONTENT)) == CONTENT
    assert json_file.unsealed(b'{"items": 1}') == {"items": 1}  # as 0.2.0 wrote it


def test_no_flipped_bit_gives_other_values() -> None:
    sound = json_file.sealed(CONTENT)
    for bit in range(8 * len(sound)):
        damaged = bytearray(sound)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            found = json_file.unsealed(bytes(damaged))
        except ValueError:
            continue
        assert {name: found[name] for name in CONTENT} == CONTENT  # of the key of the checksum itself, or white space


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b"\xff", b'{"a": 1, "a": 2}', b'{"a": NaN}', b'{"a": ' + b"[" * 100_000, b"9" * 5_000],
    ids=["empty", "cut", "list", "null", "no text", "key twice", "NaN", "deep", "long number"],
)
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        json_file.unsealed(data)


def test_pipe_and_huge_file_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(json_file.MAX_BYTES + 1)
    for name in ("pipe", "huge"):
        with pytest.raises(OSError, match=name):
            json_file.read(tmp_path / name)
