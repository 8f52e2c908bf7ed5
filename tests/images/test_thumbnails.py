"""Thumbnails: the right shape, upright, and never an exception."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from lookalike.images import thumbnails
from lookalike.storage.image_reader import ImageReader

READER = ImageReader()


def opened(thumbnail: thumbnails.Thumbnail) -> Image.Image:
    assert thumbnail.uri is not None
    return Image.open(io.BytesIO(base64.b64decode(thumbnail.uri.partition(",")[2])))


@pytest.mark.parametrize(
    ("size", "expected"),
    [((60, 80), (84, 112)), ((400, 100), (112, 28)), ((1, 3000), (1, 112)), ((10, 10), (112, 112))],
)
def test_thumbnail_keeps_the_proportions(tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]) -> None:
    Image.new("RGB", size).save(tmp_path / "a.png")
    thumbnail = thumbnails.make(str(tmp_path / "a.png"), READER)
    assert (thumbnail.width, thumbnail.height) == expected
    assert opened(thumbnail).size == expected


# EXIF 2.32, table 6: 3 is upside down, 6 and 8 lie on their sides
@pytest.mark.parametrize(("orientation", "expected"), [(1, (112, 56)), (3, (112, 56)), (6, (56, 112))])
def test_thumbnail_stands_upright(tmp_path: Path, orientation: int, expected: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (200, 100)).save(tmp_path / "a.jpg", exif=exif)
    assert opened(thumbnails.make(str(tmp_path / "a.jpg"), READER)).size == expected


@pytest.mark.parametrize(
    ("data", "problem"),
    [(None, "not_found"), (b"", "empty"), (b"<html>", "not_an_image"), (b"\xff\xd8\xff", "not_an_image")],
)
def test_bad_picture_is_a_thumbnail_without_uri(tmp_path: Path, data: bytes | None, problem: str) -> None:
    path = tmp_path / "a.jpg"
    if data is not None:
        path.write_bytes(data)
    thumbnail = thumbnails.make(str(path), READER)
    assert thumbnail.uri is None
    assert thumbnail.problem.startswith(f"{problem}: ")
