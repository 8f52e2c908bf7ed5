"""JPEG: whether all rows are there, which its decoder does not say, and which kinds are not read."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from PIL import ImageFile, JpegImagePlugin

_END = b"\xff\xd9"
# A marker that ends the picture's data: neither a stuffed zero nor a restart.
_MARKER = re.compile(rb"\xff+([^\0\xd0-\xd7\xff])")
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_BARE = frozenset({0x01, 0xD8})  # markers without a length
_SCAN = 0xDA
_PROGRESSIVE = frozenset({0xC2, 0xCA})
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
# Lossless and hierarchical kinds, which no common reader takes
_UNSUPPORTED = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF})

# libjpeg's colour for what is missing: blocks of zeros, and their inverse in ink
_MISSING = (127, 128)
# Rows that are compared at a time, and bytes that are searched for the last restart marker
_ROWS = 256
_RECENT = 1 << 20


def is_unsupported(data: bytes) -> bool:
    """Return whether the frame's header names a kind that is not read: lossless, 12 bits, its rows told at the end."""
    for kind, at in _segments(data):
        if kind in _FRAMES:
            header = data[at + 4 : at + 10]
            odd = header[:1] in (b"\x0c", b"\x10") or header[1:3] == b"\0\0" or header[5:] == b"\2"
            return kind in _UNSUPPORTED or (len(header) == 6 and odd)
    return False


def prepared(data: bytes) -> tuple[bytes, list[str]]:
    """Return `data` with the end marker where it lacks that; `lacks_rows` tells whether the rows are there."""
    if data.endswith(_END):
        return data, []
    segments = list(_segments(data))
    kinds = {kind for kind, _ in segments}
    if _END[1] in kinds or _SCAN not in kinds or not _has_all_scans(data, segments):
        return data, []
    return data.rstrip(b"\xff") + _END, []


def lacks_rows(image: ImageFile.ImageFile, data: bytes, least: int, *, ended: bool) -> bool:
    """Return whether rows of the decoded `image` are missing in `data`, and were filled with grey.

    libjpeg warns of that, and Pillow does not pass it on. So noise is put where the first scan ends: a decoder that
    still wants rows takes it for them, and one that has them all does not look at it. `least` is what `image` was
    drafted with; data that had their end (`ended`) are tried only where the last pixel is that grey.
    """
    last = image.getpixel((image.width - 1, image.height - 1))
    values = last if isinstance(last, tuple) else (last,)
    if ended and not all(value in _MISSING for value in values):
        return False
    # The last scans of a progressive picture are seen at full scale only.
    scale = least if ended else 0
    return _sums(data, scale) != _sums(_with_noise(data, ended), scale)


def _sums(data: bytes, least: int) -> list[int]:
    """Decode `data`, drafted if `least`, and return a sum of each strip: to hold two pictures takes too much."""
    with JpegImagePlugin.JpegImageFile(io.BytesIO(data)) as image:
        if least:
            image.draft(None, (least, least))
        image.load()
        boxes = ((0, top, image.width, min(top + _ROWS, image.height)) for top in range(0, image.height, _ROWS))
        return [zlib.crc32(image.crop(box).tobytes()) for box in boxes]


def _with_noise(data: bytes, ended: bool) -> bytes:
    """Return `data` with noise behind the first scan, and also behind the last one where an end marker was lacking."""
    following = (at for (before, _), (_, at) in pairwise(_segments(data)) if before == _SCAN)
    end = next(following, len(data))
    noisy = data[:end] + _noise(data[:end]) + data[end:]
    return noisy if ended else noisy[: -len(_END)] + _noise(data) + _END


def _noise(before: bytes) -> bytes:
    """Return data for some blocks, and for the intervals that would come next where `before` has restart markers."""
    values = np.random.default_rng(1).integers(1, 255, 2048, dtype=np.uint8).tobytes()
    restarts = _RESTART.findall(before, max(0, len(before) - _RECENT))
    if not restarts:
        return values
    following = (b"\xff" + bytes([0xD0 + (restarts[-1][0] + number) % 8]) + values[:256] for number in range(1, 17))
    return values[:256] + b"".join(following)


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the kind of each marker outside the picture's data, and where it begins."""
    at = 2
    while found := _MARKER.search(data, at):
        kind = found[1][0]
        yield kind, found.end() - 2
        if kind == _END[1]:
            return
        length = int.from_bytes(data[found.end() : found.end() + 2], "big")
        at = found.end() + (length if kind not in _BARE else 0)


def _has_all_scans(data: bytes, segments: list[tuple[int, int]]) -> bool:
    """Return whether the scans begin to give all bits of all coefficients; a progressive picture may lack the last."""
    frame = next((data[at : at + 10 + 3 * 4] for kind, at in segments if kind in _FRAMES), b"")
    if len(frame) < 10 or frame[1] not in _PROGRESSIVE:
        return len(frame) >= 10
    missing = {(component, number) for component in frame[10 : 10 + 3 * frame[9] : 3] for number in range(64)}
    for at in (at for kind, at in segments if kind == _SCAN):
        header = data[at : at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")]
        if len(header) > 8 and not header[-1] & 15:
            first, last = header[-3], header[-2]
            missing -= {(component, number) for component in header[5:-3:2] for number in range(first, last + 1)}
    return not missing
