"""Files with something wrong: what is sound is read, what is cut short or broken is told, whatever the format."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile, PngImagePlugin

from lookalike import config
from lookalike.failures import ImageError
from lookalike.images import formats
from lookalike.images.decode import decode
from lookalike.images.formats import PROFILE_BYTES

LIMITS = config.ImageSettings(resize="stretch")
SIZE = 24
END = b"\xff\xd9"

Y, X = np.mgrid[0:150, 0:200]
SMOOTH = Image.fromarray(np.stack([X * 255 // 199, Y * 255 // 149, (X + Y) % 256], -1).astype(np.uint8))
NOISE = Image.fromarray(np.random.default_rng(5).integers(0, 256, (150, 200, 3), dtype=np.uint8))
HALF_GREY = SMOOTH.copy()
HALF_GREY.paste((128, 128, 128), (0, 70, 200, 150))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    formats.readable()
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def end_of(data: bytes, **settings: Any) -> str:
    """`picture`, or the reason."""
    try:
        decode(data, SIZE, LIMITS.model_copy(update=settings))
    except ImageError as error:
        return error.reason
    return "picture"


def assert_same(data: bytes, whole: bytes) -> None:
    np.testing.assert_array_equal(decode(data, SIZE, LIMITS).pixels, decode(whole, SIZE, LIMITS).pixels)


def renumbered(data: bytes, before: bytes, after: bytes) -> bytes:
    assert data.count(before) == 1
    return data.replace(before, after)


# --- JPEG: it has no checksum, and libjpeg fills up what is missing ---

JPEGS = [
    encoded(image.convert(mode), "JPEG", quality=90, **options)
    for image in (SMOOTH, NOISE, HALF_GREY)
    for mode in ("RGB", "L", "CMYK")
    for options in ({}, {"progressive": True}, {"restart_marker_rows": 2}, {"restart_marker_blocks": 3})
]
BASELINE = [data for data in JPEGS if b"\xff\xc0" in data]


def test_jpeg_without_its_end_marker_is_whole() -> None:
    for data in JPEGS:
        assert_same(data.removesuffix(END), data)
        assert_same(data.removesuffix(END) + b"\xff", data)


def test_jpeg_with_something_behind_its_end_is_whole() -> None:
    for data in JPEGS:
        assert_same(data + b"trailer" * 9, data)


@pytest.mark.parametrize("draft", [False, True])
def test_jpeg_that_claims_more_rows_than_it_has_is_cut(draft: bool) -> None:
    for data in JPEGS:
        for rows in (170, 300):  # 150 take 160 in blocks of 16
            claiming = renumbered(data, struct.pack(">HH", 150, 200), struct.pack(">HH", rows, 200))
            with pytest.raises(ImageError, match=r"^truncated"):
                decode(claiming, SIZE, LIMITS, draft=draft)


def test_jpeg_cut_in_its_rows_is_cut_with_an_end_marker_or_without() -> None:
    for data in BASELINE:
        for part in (0.6, 0.99):
            cut = data[: int(len(data) * part)]
            assert end_of(cut) == end_of(cut + END) == "truncated"


def test_picture_that_is_grey_at_its_end_is_whole() -> None:
    grey = Image.new("RGB", (200, 150), (128, 128, 128))
    for image in (grey, HALF_GREY):
        assert end_of(encoded(image, "JPEG")) == end_of(encoded(image, "JPEG", progressive=True)) == "picture"


@pytest.mark.parametrize("frame", [0xC3, 0xC5, 0xC7, 0xCB, 0xCF])
def test_jpeg_of_a_kind_that_is_not_read_is_no_broken_one(frame: int) -> None:
    assert end_of(BASELINE[0].replace(b"\xff\xc0", bytes([0xFF, frame]), 1)) == "unsupported_format"


def test_jpeg_of_twelve_bits_is_no_broken_one() -> None:
    assert end_of(BASELINE[0].replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c", 1)) == "unsupported_format"


# --- PNG ---


def chunk(kind: bytes, body: bytes, *, wrong: int = 0) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) ^ wrong)


def png(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


HEADER = struct.pack(">IIBBBBB", 200, 150, 8, 2, 0, 0, 0)
ROWS = zlib.compress(b"".join(b"\0" + row.tobytes() for row in np.asarray(NOISE)), 0)
THIRDS = [ROWS[at : at + len(ROWS) // 3 + 1] for at in range(0, len(ROWS), len(ROWS) // 3 + 1)]
FRONT, BACK = chunk(b"IHDR", HEADER), chunk(b"IEND", b"")
WHOLE = png(FRONT, *(chunk(b"IDAT", part) for part in THIRDS), BACK)
DATA = chunk(b"IDAT", ROWS)
MEGABYTES = bytes(3 << 20)


@pytest.mark.parametrize(
    "data",
    [
        png(FRONT, chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(MEGABYTES)), DATA, BACK),
        png(FRONT, chunk(b"zTXt", b"Comment\0\0" + zlib.compress(MEGABYTES)), DATA, BACK),
        png(FRONT, chunk(b"tEXt", b"Comment\0" + MEGABYTES), DATA, BACK),
        png(FRONT, *(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 20))) for _ in range(70)), DATA, BACK),
        png(FRONT, chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(MEGABYTES)), DATA, BACK),
        png(FRONT, chunk(b"iCCP", b"a\0\0" + zlib.compress(MEGABYTES)), DATA, BACK),
        png(FRONT, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(PROFILE_BYTES + 1))), DATA, BACK),
        png(FRONT, chunk(b"iCCP", b"a\0\5broken"), DATA, BACK),
        *(
            png(FRONT, chunk(kind, b"whatever", wrong=1), DATA, BACK)
            for kind in (b"tEXt", b"gAMA", b"pHYs", b"iCCP", b"eXIf", b"tIME", b"prIv", b"acTL")
        ),
        png(FRONT, chunk(b"cHRM", b""), chunk(b"gAMA", b""), chunk(b"pHYs", b""), DATA, BACK),
        png(FRONT, DATA, chunk(b"tEXt", b"a\0b", wrong=1), BACK),
        png(FRONT, DATA),
        png(FRONT, DATA)[:-3],
        WHOLE + b"trailer",
        WHOLE[:-5],
    ],
)
def test_png_with_something_wrong_beside_its_picture_is_whole(data: bytes) -> None:
    assert_same(data, WHOLE)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (png(FRONT, chunk(b"IDAT", THIRDS[0]), chunk(b"IDAT", THIRDS[2]), BACK), "truncated"),
        (png(FRONT, chunk(b"IDAT", THIRDS[0]), chunk(b"IDAT", THIRDS[1]), BACK), "truncated"),
        (png(FRONT, chunk(b"IDAT", ROWS, wrong=1), BACK), "corrupt"),
        (WHOLE.replace(THIRDS[1][100:2100], bytes(2000)), "corrupt"),
        (png(FRONT, chunk(b"IDAT", ROWS[:20_000] + bytes(2000) + ROWS[22_000:]), BACK), "corrupt"),
        (png(FRONT, chunk(b"IDAT", ROWS[:-4] + b"sums"), BACK), "corrupt"),
        (png(chunk(b"IHDR", HEADER, wrong=1), DATA, BACK), "corrupt"),
        (png(FRONT, chunk(b"tRNS", bytes(6), wrong=1), DATA, BACK), "corrupt"),
        (png(FRONT, BACK), "truncated"),
        (WHOLE[: len(WHOLE) // 2], "truncated"),
        (WHOLE[:40], "truncated"),
        (png(chunk(b"CgBI", bytes(4)), FRONT, DATA, BACK), "unsupported_format"),
    ],
)  # fmt: skip
def test_png_whose_picture_is_damaged_is_not_taken(data: bytes, reason: str) -> None:
    assert end_of(data) == reason


def test_interlaced_png_is_counted_by_its_passes() -> None:
    rows = b"".join(
        (b"\0" + bytes(3 * -(-(9 - left) // across))) * -(-(7 - top) // down)
        for left, top, across, down in (
            *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
            *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
        )
    )
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 7, 8, 2, 0, 0, 1))
    assert end_of(png(header, chunk(b"IDAT", zlib.compress(rows)), BACK)) == "picture"
    assert end_of(png(header, chunk(b"IDAT", zlib.compress(rows[:-1])), BACK)) == "truncated"


@pytest.mark.parametrize(("depth", "clear", "others"), [(1, 0, 1), (1, 1, 0), (2, 1, 2), (4, 5, 9), (8, 100, 30)])
def test_transparent_grey_of_any_depth_lies_on_the_background(depth: int, clear: int, others: int) -> None:
    row = "".join(f"{level:0{depth}b}" * 8 for level in (clear, others))
    rows = zlib.compress((b"\0" + int(row, 2).to_bytes(len(row) // 8, "big")) * 8)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 8, depth, 0, 0, 0, 0))
    data = png(header, chunk(b"tRNS", struct.pack(">H", clear)), chunk(b"IDAT", rows), BACK)
    pixels = decode(data, 16, LIMITS).pixels
    assert (pixels[:, :8] == 255).all()
    assert (pixels[:, 8:] == others * 255 // (2**depth - 1)).all()


def test_large_profile_of_a_png_is_used() -> None:
    assert PngImagePlugin.MAX_TEXT_CHUNK >= PROFILE_BYTES


# --- the others ---


def riff(data: bytes, more: int) -> bytes:
    return data[:4] + struct.pack("<I", len(data) - 8 + more) + data[8:]


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": Image.Exif().tobytes() + bytes(301)}])
def test_webp_with_a_wrong_length_is_whole(options: dict[str, Any]) -> None:
    data = encoded(SMOOTH, "WEBP", **options)
    for more in (1, -1, 100, -20, 8 - len(data)):
        assert_same(riff(data, more), data)
    assert_same(data + b"\0trailer", data)


def test_webp_cut_in_its_metadata_is_whole() -> None:
    exif = Image.Exif()
    exif[0x010E] = "description " * 40
    data = encoded(SMOOTH, "WEBP", exif=exif)
    assert_same(data[:-50], encoded(SMOOTH, "WEBP"))


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "AVIF", "HEIF"])
def test_something_behind_the_picture_does_no_harm(kind: str) -> None:
    data = encoded(SMOOTH, kind)
    assert_same(data + b"\0trailer", data)


def gif(width: int, height: int, first: int, rows: int) -> bytes:
    """A GIF whose data end properly after `rows` rows of a colour."""
    whole = encoded(Image.new("P", (width, rows), first), "GIF", optimize=False)
    return whole.replace(struct.pack("<HH", width, rows), struct.pack("<HH", width, height))


def test_gif_with_fewer_rows_than_its_header_says_is_cut() -> None:
    for colour in (0, 3):
        assert end_of(gif(20, 30, colour, 30)) == "picture"
        assert end_of(gif(20, 30, colour, 15)) == "truncated"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_picture_of_which_a_third_is_gone_is_not_taken(kind: str) -> None:
    data = encoded(NOISE, kind)
    assert end_of(data[: len(data) // 3] + data[2 * len(data) // 3 :]) in {"truncated", "corrupt"}


@pytest.mark.parametrize("kind", ["AVIF", "HEIF", "WEBP", "GIF"])
def test_format_with_a_broken_body_is_told_by_its_magic(kind: str) -> None:
    data = encoded(SMOOTH, kind)
    assert end_of(data[:24] + bytes(len(data) - 24)) in {"truncated", "corrupt"}


@pytest.mark.parametrize(
    "broken",
    [lambda data: data[: len(data) * 9 // 10], lambda data: data[: len(data) // 2] + END],
)
def test_what_is_cut_is_taken_where_that_is_allowed(broken: Callable[[bytes], bytes]) -> None:
    assert end_of(broken(BASELINE[0])) == "truncated"
    assert end_of(broken(BASELINE[0]), accept_truncated=True) == "picture"
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
