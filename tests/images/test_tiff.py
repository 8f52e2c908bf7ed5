"""TIFF: samples of every kind end as the picture that they stand for, or as a kind that is not read."""

from __future__ import annotations

import io
import itertools
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from lookalike import config
from lookalike.failures import ImageError
from lookalike.images.decode import decode
from lookalike.images.tiff import MOST_PAGES

LIMITS = config.ImageSettings(resize="stretch")
WIDTH, HEIGHT, SIZE = 38, 26, 20
Y, X = np.mgrid[0:HEIGHT, 0:WIDTH]
# Red, green and blue from 0 to 1, and alpha or black
RAMPS = np.stack([X / (WIDTH - 1), Y / (HEIGHT - 1), (X + Y) % 29 / 28, 1 - X / WIDTH / 2], -1)

BLACK_IS_ZERO, WHITE_IS_ZERO, RGB, CMYK = 1, 0, 2, 5
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
RAW, DEFLATE = 1, 8


def tiff(pages: list[dict[int, list[int]]], bodies: list[list[bytes]], order: str = "<", *, big: bool = False) -> bytes:
    """A file of pages, each with its tags and its strips."""
    out = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    out += struct.pack(order + "HHQ", 8, 0, 16) if big else struct.pack(order + "I", 8)
    number, entry, room = ("Q", "HHQQ", 8) if big else ("I", "HHII", 4)
    for page, (tags, strips) in enumerate(zip(pages, bodies, strict=True)):
        tags = {**tags, 273: [0] * len(strips), 279: [len(strip) for strip in strips]}
        start = len(out)
        entries = start + (8 if big else 2)
        after = entries + struct.calcsize("<" + entry) * len(tags) + room
        long = {tag for tag, values in tags.items() if 4 * len(values) > room}
        data = after + sum(4 * len(tags[tag]) for tag in long)
        tags[273] = [data + sum(map(len, strips[:index])) for index in range(len(strips))]
        directory, extra = b"", b""
        for tag, values in sorted(tags.items()):
            raw = struct.pack(f"{order}{len(values)}I", *values)
            if tag in long:
                directory += struct.pack(order + entry, tag, 4, len(values), after + len(extra))
                extra += raw
            else:
                directory += struct.pack(order + entry[:-1], tag, 4, len(values)) + raw.ljust(room, b"\0")
        end = data + sum(map(len, strips))
        following = 0 if page == len(pages) - 1 else end
        out += (
            struct.pack(order + ("Q" if big else "H"), len(tags)) + directory + struct.pack(order + number, following)
        )
        out += extra + b"".join(strips)
    return out


def picture(samples: np.ndarray, colours: int, planes: bool, compression: int, order: str, **more: list[int]) -> bytes:
    """A TIFF of one page; `samples` [height, width, bands] in the machine's byte order."""
    height, width, bands = samples.shape
    kind = {"u": UNSIGNED, "i": SIGNED, "f": FLOAT}[samples.dtype.kind]
    stored = samples.astype(samples.dtype.newbyteorder(order))
    strips = [stored[..., band].tobytes() for band in range(bands)] if planes else [stored.tobytes()]
    if compression == DEFLATE:
        strips = [zlib.compress(strip) for strip in strips]
    tags = {256: [width], 257: [height], 258: [8 * samples.dtype.itemsize] * bands, 259: [compression], 262: [colours]}
    tags |= {277: [bands], 278: [height], 284: [2 if planes else 1], 339: [kind] * bands}
    return tiff([tags | {int(tag[1:]): values for tag, values in more.items()}], [strips], order)


def stored(bands: int, dtype: str, colours: int) -> np.ndarray:
    """The ramps as samples of a type: of whole numbers up to their greatest, of floats up to 1."""
    levels = RAMPS[..., :bands] if colours != WHITE_IS_ZERO else 1 - RAMPS[..., :bands]
    if np.dtype(dtype).kind == "f":
        return levels.astype(dtype)
    return np.rint(levels * np.iinfo(dtype).max).astype(dtype)


def expected(bands: int, colours: int) -> np.ndarray:
    levels = np.rint(RAMPS[..., :bands] * 255).astype(np.uint8)
    image = Image.fromarray(levels[..., 0] if bands == 1 else levels, "CMYK" if colours == CMYK else None)
    return np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)).astype(int)


KINDS = [
    *itertools.product([BLACK_IS_ZERO], [1], ["u1", "u2", "u4", "i2", "i4", "f4"]),
    *itertools.product([WHITE_IS_ZERO], [1], ["u1", "u2", "f4"]),
    *itertools.product([RGB], [3], ["u1", "u2"]),
    *itertools.product([CMYK], [4], ["u1", "u2"]),
]


@pytest.mark.parametrize(("colours", "bands", "dtype"), KINDS)
def test_samples_end_as_what_they_stand_for(colours: int, bands: int, dtype: str) -> None:
    samples = stored(bands, dtype, colours)
    for planes, compression, order in itertools.product([False, True][:bands], [RAW, DEFLATE], "<>"):
        data = picture(samples, colours, planes, compression, order)
        found = decode(data, SIZE, LIMITS).pixels.astype(int)
        assert np.abs(found - expected(bands, colours)).mean() < 1.5, (planes, compression, order)


@pytest.mark.parametrize(
    ("colours", "bands", "dtype"),
    [(BLACK_IS_ZERO, 1, "f2"), (BLACK_IS_ZERO, 1, "f8"), (BLACK_IS_ZERO, 1, "i1"), (RGB, 3, "f4"), (RGB, 3, "u4"),
     (WHITE_IS_ZERO, 1, "i2"), (CMYK, 4, "f4"), (32845, 3, "u2"), (32803, 1, "u2")],
)  # fmt: skip
def test_kind_that_is_not_read_is_no_broken_file(colours: int, bands: int, dtype: str) -> None:
    with pytest.raises(ImageError, match=r"^unsupported_format"):
        decode(picture(stored(bands, dtype, colours), colours, False, RAW, "<"), SIZE, LIMITS)


@pytest.mark.parametrize("compression", [6, 34661, 34712, 34887, 50001])
def test_compression_that_is_not_read_is_no_broken_file(compression: int) -> None:
    data = picture(stored(1, "u1", BLACK_IS_ZERO), BLACK_IS_ZERO, False, compression, "<")
    with pytest.raises(ImageError, match=r"^unsupported_format"):
        decode(data, SIZE, LIMITS)


def test_white_is_not_zero_where_no_tag_says_so() -> None:
    data = picture(stored(1, "u1", BLACK_IS_ZERO), BLACK_IS_ZERO, False, RAW, "<")
    unsaid = data.replace(struct.pack("<HHII", 262, 4, 1, 1), struct.pack("<HHII", 65000, 4, 1, 1))
    assert np.abs(decode(unsaid, SIZE, LIMITS).pixels.astype(int) - expected(1, BLACK_IS_ZERO)).max() <= 1


@pytest.mark.parametrize(("extra", "opaque"), [({}, True), ({"_338": [2]}, False)])
def test_fourth_sample_of_zeros_is_alpha_only_where_a_tag_says_so(extra: dict[str, list[int]], opaque: bool) -> None:
    samples = stored(4, "u1", RGB)
    samples[..., 3] = 0
    pixels = decode(picture(samples, RGB, False, RAW, "<", **extra), SIZE, LIMITS).pixels
    assert np.abs(pixels.astype(int) - (expected(3, RGB) if opaque else 255)).max() <= 1


def page(level: int, side: int, kind: dict[int, list[int]]) -> tuple[dict[int, list[int]], list[bytes]]:
    tags = {256: [side], 257: [side], 258: [8], 259: [RAW], 262: [BLACK_IS_ZERO], 277: [1], 278: [side], **kind}
    return tags, [bytes([level]) * side * side]


PREVIEW, OLD_PREVIEW, MASK, PLAIN = {254: [1]}, {255: [2]}, {254: [4]}, {254: [0]}


@pytest.mark.parametrize(
    ("pages", "level", "fixes"),
    [
        ([(10, 8, PREVIEW), (200, 40, PLAIN)], 200, ("preview_skipped", "grey_expanded")),
        ([(10, 8, OLD_PREVIEW), (200, 40, {})], 200, ("preview_skipped", "grey_expanded")),
        ([(10, 8, MASK), (20, 9, PREVIEW), (200, 40, {})], 200, ("preview_skipped", "grey_expanded")),
        ([(200, 40, PLAIN), (10, 8, PREVIEW)], 200, ("first_frame", "grey_expanded")),
        ([(200, 8, {}), (10, 40, {})], 200, ("first_frame", "grey_expanded")),
        ([(10, 8, PREVIEW), (200, 40, PREVIEW)], 200, ("preview_skipped", "grey_expanded")),
    ],
)
@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
def test_page_that_is_the_picture_is_taken(
    pages: list[tuple[int, int, dict[int, list[int]]]], level: int, fixes: tuple[str, ...], order: str, big: bool
) -> None:
    tags, bodies = zip(*(page(*one) for one in pages), strict=True)
    found = decode(tiff(list(tags), list(bodies), order, big=big), SIZE, LIMITS)
    assert (found.pixels == level).all()
    assert found.fixes == fixes


def test_camera_picture_next_to_its_preview_is_not_read() -> None:
    tags, body = page(10, 8, {**PREVIEW, 330: [8]})
    with pytest.raises(ImageError, match=r"^unsupported_format: a camera's raw picture"):
        decode(tiff([tags], [body]), SIZE, LIMITS)


def test_pages_far_behind_the_end_are_a_cut_file() -> None:
    with pytest.raises(ImageError, match=r"^truncated"):
        decode(b"II+\0\x08\0\0\0" + b"\xff" * 30, SIZE, LIMITS)


def test_pages_without_end_cost_little() -> None:
    tags, bodies = zip(*(page(7, 4, PREVIEW) for _ in range(5 * MOST_PAGES)), strict=True)
    assert decode(tiff(list(tags), list(bodies)), SIZE, LIMITS).width == 4


@pytest.mark.parametrize("part", [0.2, 0.6, 0.95])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "jpeg"])
def test_file_that_ends_too_early_is_cut_and_not_broken(part: float, compression: str) -> None:
    buffer = io.BytesIO()
    image = Image.fromarray(np.random.default_rng(3).integers(0, 256, (60, 50, 3), dtype=np.uint8))
    image.save(buffer, "TIFF", compression=compression)
    with pytest.raises(ImageError, match=r"^truncated"):
        decode(buffer.getvalue()[: int(len(buffer.getvalue()) * part)], SIZE, LIMITS)
