"""TIFF: which of its pages is the picture, what of it Pillow reads wrongly, and which kinds it does not read."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import ImageFile, TiffImagePlugin

from lookalike.failures import ImageError

ORIENTATION = 274
# Tags and values of TIFF 6.0, its technical notes and DNG
_KIND, _OLD_KIND, _WIDTH, _LENGTH, _BITS, _COMPRESSION, _COLOURS = 254, 255, 256, 257, 258, 259, 262
_STRIPS, _SAMPLES, _ROWS, _STRIP_LENGTHS, _PLANES, _TILES, _TILE_LENGTHS = 273, 277, 278, 279, 284, 324, 325
_SUB_PAGES, _EXTRA, _FORMAT = 330, 338, 339
_REDUCED, _MASK, _OLD_REDUCED = 1, 4, 2
_WHITE_IS_ZERO = 0
_FAX = (2, 3, 4)
_SIGNED = 2
_SEPARATE = 2
_KNOWN_COLOURS = frozenset({0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 32803, 32844, 32845, 34892})
_KNOWN_BITS = frozenset({1, 2, 4, 6, 8, 10, 12, 14, 16, 24, 32, 64})
# Old JPEG, ThunderScan, LogLuv, WebP: this libtiff has no decoder for them, or one for some. Fax, NeXT, IT8, JPEG 2000,
# JBIG, LERC, JPEG XL: Pillow knows none.
_RARE_COMPRESSIONS = frozenset({6, 32809, 34676, 34677, 50001})
_RARE_COMPRESSIONS |= {9, 10, 32766, 32895, 32896, 32897, 32898, 33003, 33005, 34661, 34712, 34887, 34892, 50002, 52546}
MOST_SAMPLES = 16

# The picture stands among the first pages; a hostile file links millions. No tag asked for here has more numbers.
MOST_PAGES = 100
MOST_TAGS = 4096
MOST_NUMBERS = 1 << 20

# Numbers of a tag, by its type: bytes, shorts, longs, and the 8 bytes of a BigTIFF
_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
# Bytes of a value, by its type, where it is not 1
_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


@dataclass(frozen=True)
class _Page:
    """A page's tags: tag -> (type, count, where its numbers lie)."""

    data: bytes
    order: str
    at: int
    tags: dict[int, tuple[int, int, int]]
    next: int

    def numbers(self, tag: int) -> tuple[int, ...]:
        """Return the numbers of `tag`; none where it is missing, broken or no number."""
        kind, count, at = self.tags.get(tag, (0, 0, 0))
        if kind not in _NUMBERS or not 0 < count <= MOST_NUMBERS:
            return ()
        try:
            return struct.unpack_from(f"{self.order}{count}{_NUMBERS[kind]}", self.data, at)
        except (struct.error, OverflowError):
            return ()

    def number(self, tag: int, default: int) -> int:
        """Return the first number of `tag`."""
        return next(iter(self.numbers(tag)), default)

    @property
    def is_picture(self) -> bool:
        """Whether the page is neither a smaller copy of another one nor a mask."""
        if self.number(_KIND, 0) & (_REDUCED | _MASK):
            return False
        return self.number(_OLD_KIND, 0) != _OLD_REDUCED

    @property
    def area(self) -> int:
        """How many pixels the page has."""
        return self.number(_WIDTH, 0) * self.number(_LENGTH, 0)


def _pages(data: bytes) -> Iterator[_Page]:
    order, large = ("<" if data[:2] == b"II" else ">"), b"+" in data[2:4]
    seen: set[int] = set()
    try:
        (at,) = struct.unpack_from(order + "Q" if large else order + "I", data, 8 if large else 4)
        while at and at not in seen and len(seen) < MOST_PAGES:
            seen.add(at)
            page = _page(data, order, at, large)
            yield page
            at = page.next
    except (struct.error, OverflowError):
        return


def _page(data: bytes, order: str, at: int, large: bool) -> _Page:
    """Read the tags at `at`; raise struct.error where the file ends before they do."""
    entry = struct.Struct(order + ("HHQQ" if large else "HHII"))
    (count,) = struct.unpack_from(order + ("Q" if large else "H"), data, at)
    first = at + (8 if large else 2)
    room = 8 if large else 4
    tags: dict[int, tuple[int, int, int]] = {}
    for number in range(min(count, MOST_TAGS)):
        start = first + number * entry.size
        tag, kind, values, offset = entry.unpack_from(data, start)
        fits = values * _SIZES.get(kind, 1) <= room
        tags.setdefault(tag, (kind, values, start + entry.size - room if fits else offset))
    (following,) = struct.unpack_from(order + ("Q" if large else "I"), data, first + count * entry.size)
    return _Page(data, order, at, tags, following)


def prepared(data: bytes) -> tuple[bytes, list[str]]:
    """Return `data` so that its first page is the picture, not a preview or a mask, and what was done for that.

    Raise ImageError where the picture is a camera's raw one, kept next to its preview.
    """
    pages = []
    for page in _pages(data):
        pages.append(page)
        if page.is_picture:
            break
    if not pages or pages[0].is_picture:
        return data, []
    if not pages[-1].is_picture and pages[0].numbers(_SUB_PAGES):
        raise ImageError("unsupported_format", "a camera's raw picture, next to a preview that is not taken for it")
    chosen = max(pages, key=lambda page: (page.is_picture, page.area))
    return _starting_at(data, chosen.at), ["preview_skipped"] if chosen is not pages[0] else []


def _starting_at(data: bytes, at: int) -> bytes:
    order, large = ("little" if data[:2] == b"II" else "big"), b"+" in data[2:4]
    start, width = (8, 8) if large else (4, 4)
    return data[:start] + at.to_bytes(width, order) + data[start + width :]  # type: ignore[arg-type]


def put_right(image: ImageFile.ImageFile, sideways: bool) -> None:
    """Correct how Pillow is about to read `image`; raise ImageError for samples that it takes for others.

    libtiff gives numbers in this machine's byte order, where Pillow expects the file's. And Pillow would turn the
    picture at full size, with a second copy of up to 200 MB; decode.py turns the small one.
    """
    image.getexif()[ORIENTATION] = 1
    if sideways:
        image._size = image.size[::-1]  # Pillow gives the turned size
    for number, tile in enumerate(image.tile):
        raw = str(tile.args[0]) if isinstance(tile.args, tuple) else ""
        if raw in ("I;16BS", "I;32BS", "F;32BF", "I;16S", "I;32S", "F;32F"):
            native = raw.replace("B", "")[:4] + "N" + raw[-1]
            image.tile[number] = tile._replace(args=(native, *tile.args[1:]))  # type: ignore[index]
    if image.mode == "L" and _tag(image, _FORMAT, 1) == _SIGNED:
        raise ImageError("unsupported_format", "a TIFF of signed 8-bit samples")
    if image.mode in ("LA", "La") and _tag(image, _PLANES, 1) == _SEPARATE:
        raise ImageError("unsupported_format", "a TIFF of grey and alpha in separate planes")


def is_inverted(image: ImageFile.ImageFile) -> bool:
    """Return whether the samples that Pillow gives are inverted.

    It leaves pictures of more than 8 bits with 0 as white as they are, and takes 0 for white where no tag says so, as
    only fax does.
    """
    if image.format != "TIFF":
        return False
    colours = _tag(image, _COLOURS, -1)
    if image.mode in ("1", "L"):
        return colours == -1 and _tag(image, _COMPRESSION, 1) not in _FAX
    return colours == _WHITE_IS_ZERO


def is_unsigned(image: ImageFile.ImageFile) -> bool:
    """Return whether the samples of mode I, which Pillow takes for signed ones, are unsigned."""
    return image.format == "TIFF" and _tag(image, _FORMAT, 1) == 1


def bits(image: ImageFile.ImageFile) -> int:
    """Return how many bits a sample of mode I;16 has: 12 in some TIFFs."""
    return _tag(image, _BITS, 16) if image.format == "TIFF" else 16


def names_no_alpha(image: ImageFile.ImageFile) -> bool:
    """Return whether no tag says that the fourth sample is alpha."""
    return image.format == "TIFF" and _EXTRA not in image.tag_v2  # type: ignore[attr-defined]


def strip_bytes_a_pixel(image: ImageFile.ImageFile) -> float:
    """Return the memory that libtiff takes for a strip, which may be the whole picture, in bytes a pixel of it."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    share = 0 if _TILES in tags else min(1.0, _tag(image, _ROWS, image.height) / image.height)
    samples = 1 if _tag(image, _PLANES, 1) == _SEPARATE else _tag(image, _SAMPLES, 1)
    return share * _tag(image, _BITS, 1) * samples / 8


def _tag(image: ImageFile.ImageFile, tag: int, default: int) -> int:
    value = image.tag_v2.get(tag, default)  # type: ignore[attr-defined]
    first = value[0] if isinstance(value, tuple) and value else value
    return int(first) if isinstance(first, int) else default


def is_unsupported(data: bytes) -> bool:
    """Return whether the first page is a sound one of a kind that is not read here."""
    page = next(_pages(data), None)
    if page is None or not page.area:
        return False
    if page.number(_COMPRESSION, 1) in _RARE_COMPRESSIONS:
        return True
    depths = page.numbers(_BITS) or (1,)
    if page.number(_COLOURS, 0) not in _KNOWN_COLOURS or not set(depths) <= _KNOWN_BITS:
        return False
    samples = page.number(_SAMPLES, len(depths))
    each = depths * samples if len(depths) == 1 and 0 < samples <= MOST_SAMPLES else depths
    return len(each) == samples and not _is_read(page, each)


def _is_read(page: _Page, depths: tuple[int, ...]) -> bool:
    """Return whether Pillow knows the kind of `page`, so that it must be the rest of the file that is broken."""
    kinds = {(key[0], key[1], key[2][0], key[4]) for key in TiffImagePlugin.OPEN_INFO}
    return (page.data[:2], page.number(_COLOURS, 0), page.number(_FORMAT, 1), depths) in kinds


def is_short(data: bytes) -> bool:
    """Return whether the first page, its strips or its tiles end behind the end of the file."""
    page = next(_pages(data), None)
    if page is None:
        return True
    if any(at + count * _SIZES.get(kind, 1) > len(data) for kind, count, at in page.tags.values()):
        return True
    starts = page.numbers(_STRIPS) or page.numbers(_TILES)
    lengths = page.numbers(_STRIP_LENGTHS) or page.numbers(_TILE_LENGTHS)
    return any(start + length > len(data) for start, length in zip(starts, lengths, strict=False))
