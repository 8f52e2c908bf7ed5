"""PNG: the chunks that make the picture, and whether they are what was written: Pillow checks neither sum nor end."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from PIL import ImageFile

from lookalike.failures import ImageError
from lookalike.images.formats import PROFILE_BYTES

_START = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">IIBBBBB")

# Their sums must be right. Of the others, those with a wrong sum are left out.
_PICTURE = (b"IHDR", b"PLTE", b"IDAT", b"tRNS")
_USED = (*_PICTURE, b"iCCP", b"eXIf", b"acTL", b"fcTL", b"fdAT", b"IEND")
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")

# ImageMagick's way to keep EXIF; every other text is left out, however long it is.
_EXIF_TEXT = b"Raw profile type exif\0"
_MOST_TEXT = 100_000

# Depth and kind of colour -> what Pillow multiplies greys of few bits by, and forgets to do to the transparent one.
_GREY_SCALES = {b"\2\0": 85, b"\4\0": 17}

# Rows of up to this many bytes are inflated once, here, and given to Pillow as they are: to inflate a photo of 1,200 x
# 1,500 twice took 185 ms, this takes 124, and no check at all 91 to 103. Larger ones would take too much memory.
MOST_INFLATED = 32 << 20

# Inflated at a time: 16 MB at most, as deflate makes nothing more than 1,032 times as small.
_PART = 16 << 10

_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Adam7: where each pass begins, and its steps, across and down
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


class Chunk(NamedTuple):
    """A chunk of a file: where it begins and its body ends, and whether all of it is there, with the right sum."""

    kind: bytes
    start: int
    end: int
    whole: bool
    right: bool


def prepared(data: bytes) -> tuple[bytes, list[str]]:
    """Return `data` without what is neither the picture nor about its colours, and the fixes; raise ImageError."""
    chunks = list(_chunks(data))
    if any(chunk.kind == b"CgBI" for chunk in chunks[:1]):
        raise ImageError("unsupported_format", "a PNG of Apple's own kind (CgBI)")
    for chunk in chunks:
        if chunk.kind in _PICTURE and chunk.whole and not chunk.right:
            raise ImageError("corrupt", f"a PNG with a wrong checksum in {chunk.kind.decode()}")
    dropped = {chunk.kind for chunk in chunks if not chunk.right}
    animated = not dropped.intersection(_ANIMATION)
    kept = [chunk for chunk in chunks if _is_kept(data, chunk) and (animated or chunk.kind not in _ANIMATION)]
    fixes = ["profile_ignored"] if _profiles(chunks) > _profiles(kept) else []
    scale = _GREY_SCALES.get(data[24:26], 1)
    rows = None if ImageFile.LOAD_TRUNCATED_IMAGES else _checked(data, chunks, MOST_INFLATED)
    if rows is not None:
        first = next(chunk for chunk in kept if chunk.kind == b"IDAT")
        kept = [chunk for chunk in kept if chunk.kind != b"IDAT" or chunk is first]
    elif len(kept) == len(chunks) and scale == 1:
        return data, fixes
    return _START + b"".join(_written(data, chunk, scale, rows) for chunk in kept), fixes


def check(data: bytes) -> None:
    """Raise ImageError unless the compressed picture of a large file is whole; `prepared` has checked the others."""
    _checked(data, list(_chunks(data)), 0)


def _checked(data: bytes, chunks: list[Chunk], most: int) -> list[bytes] | None:
    """Return the rows of the compressed picture, or None if they have more bytes than `most`, where `most` is not 0.

    Raise ImageError unless the rows are all there, and their own sum is right.
    """
    if not chunks or chunks[0].kind != b"IHDR":
        raise ImageError("truncated" if is_short(data) else "corrupt", "a PNG without a header")
    wanted = _bytes_of_rows(data[chunks[0].start + 8 : chunks[0].end])
    if (most and wanted > most) or (not most and wanted <= MOST_INFLATED):
        return None
    rows: list[bytes] | None = [] if most else None
    try:
        bodies = (data[chunk.start + 8 : chunk.end] for chunk in chunks if chunk.kind == b"IDAT")
        found, ended = _inflated(bodies, wanted, rows)
    except zlib.error as error:
        raise ImageError("corrupt", f"a PNG with broken data: {error}") from None
    if found < wanted:
        raise ImageError("truncated", f"a PNG with {found:,} of the {wanted:,} bytes that its header says")
    if not ended and chunks[-1].kind == b"IEND":
        raise ImageError("corrupt", "a PNG of which data are missing")
    return rows


def is_short(data: bytes) -> bool:
    """Return whether the file ends before its last chunk does."""
    chunks = list(_chunks(data))
    if not chunks:
        return len(data) < len(_START) + 8
    last = chunks[-1]
    return not last.whole or (last.kind != b"IEND" and len(data) < last.end + 4 + 8)


def _chunks(data: bytes) -> Iterator[Chunk]:
    at = len(_START)
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if not kind.isalpha():
            return
        end = at + 8 + length
        whole = end + 4 <= len(data)
        right = whole and zlib.crc32(memoryview(data)[at + 4 : end]) == int.from_bytes(data[end : end + 4], "big")
        yield Chunk(kind, at, min(end, len(data)), whole, right)
        if kind == b"IEND" or not whole:
            return
        at = end + 4


def _is_kept(data: bytes, chunk: Chunk) -> bool:
    body = memoryview(data)[chunk.start + 8 : chunk.end]
    if chunk.kind in (b"tEXt", b"zTXt"):
        return chunk.right and bytes(body[: len(_EXIF_TEXT)]) == _EXIF_TEXT and _is_short(chunk.kind, body)
    if chunk.kind == b"iCCP":
        return chunk.right and _is_short(chunk.kind, body)
    return chunk.kind in _PICTURE or (chunk.kind in _USED and chunk.right)


def _is_short(kind: bytes, body: memoryview) -> bool:
    """Return whether a text or profile, inflated, is no longer than what is used of its kind."""
    if kind == b"tEXt":
        return len(body) <= _MOST_TEXT
    most = PROFILE_BYTES if kind == b"iCCP" else _MOST_TEXT
    name = bytes(body[:100]).find(b"\0")
    if bytes(body[name + 1 : name + 2]) != b"\0":  # another compression, which Pillow refuses
        return False
    stream = zlib.decompressobj()
    try:
        stream.decompress(body[name + 2 :], most)
    except zlib.error:
        return kind == b"iCCP"  # Pillow leaves a broken profile out
    return not stream.unconsumed_tail


def _profiles(chunks: list[Chunk]) -> int:
    return sum(chunk.kind == b"iCCP" for chunk in chunks)


def _written(data: bytes, chunk: Chunk, scale: int, rows: list[bytes] | None) -> bytes:
    """Return a chunk with its sum, a transparent grey scaled; a last one that was cut short keeps what is there."""
    if rows is not None and chunk.kind == b"IDAT":
        return _stored(rows)
    kind, body = chunk.kind, data[chunk.start + 8 : chunk.end]
    if kind == b"tRNS" and scale > 1:
        body = bytes((0, body[1] * scale & 255)) if len(body) > 1 else b""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def _inflated(bodies: Iterator[bytes], wanted: int, rows: list[bytes] | None) -> tuple[int, bool]:
    """Return how many bytes the picture has, and whether its end is there; add them to `rows`. Raise zlib.error.

    Of data behind all rows, no more than one part is looked at.
    """
    stream, found = zlib.decompressobj(), 0
    for body in bodies:
        for start in range(0, len(body), _PART):
            part = stream.decompress(body[start : start + _PART])
            found += len(part)
            if rows is not None:
                rows.append(part)
            if stream.eof or found > wanted:
                return found, True
    return found, False


def _stored(rows: list[bytes]) -> bytes:
    """Return a chunk of the inflated rows, not compressed again: Pillow then copies them. It looks at no sum of it."""
    store = zlib.compressobj(0)
    body = b"".join([*map(store.compress, rows), store.flush()])
    return struct.pack(">I", len(body)) + b"IDAT" + body + bytes(4)


def _bytes_of_rows(header: bytes) -> int:
    """Return how many bytes the rows of all passes have, with the byte of each that names its filter."""
    width, height, depth, colours, _, _, interlaced = _HEADER.unpack(header[: _HEADER.size].ljust(_HEADER.size, b"\0"))
    bits = depth * _SAMPLES.get(colours, 1)
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    sizes = ((-(-(width - left) // across), -(-(height - top) // down)) for left, top, across, down in passes)
    return sum(down * (1 + (across * bits + 7) // 8) for across, down in sizes if across > 0 and down > 0)
