"""The formats that are read, and what is wrong with bytes that none of their decoders takes."""

from __future__ import annotations

from functools import cache

from PIL import Image, UnidentifiedImageError

from lookalike.failures import ImageError

# Formats that product pictures come in; every other decoder of Pillow's stays shut. (A phone's MPO is a JPEG.)
WANTED = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")


@cache
def readable() -> tuple[str, ...]:
    """Return the formats that this Pillow can read of those; the first call loads all of Pillow's decoders."""
    Image.init()
    return tuple(name for name in WANTED if name in Image.OPEN)


def undecodable(error: Exception, data: bytes) -> ImageError:
    """Return the reason that Pillow's `error` over `data` stands for."""
    known = next((name for magic, name in _MAGIC.items() if data.startswith(magic)), None)
    if isinstance(error, MemoryError):
        return ImageError("too_many_pixels", "decoding it takes more memory than images.max_decoded_bytes allows")
    if isinstance(error, UnidentifiedImageError):
        # A header of a few bytes says nothing yet.
        if known and len(data) >= 32:
            return ImageError("truncated" if _is_short(data) else "corrupt", f"a {known} with a broken header")
        other = _other_format(data)
        if other:
            return ImageError("unsupported_format", f"{other}; the formats are {', '.join(readable())}")
        return ImageError("not_an_image", f"starts with {data[:8]!r}")
    detail = " ".join(str(error).split()) or type(error).__name__
    cut = "truncated" in detail.lower() or "end of file" in detail.lower() or _is_short(data)
    return ImageError("truncated" if cut else "corrupt", detail)


def _is_short(data: bytes) -> bool:
    """Return whether there are fewer bytes than the header says."""
    if data[:4] == b"RIFF":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    return data[:2] == b"BM" and len(data) < int.from_bytes(data[2:6], "little")


_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"RIFF": "WebP",
}

# Pictures of other kinds that people upload, by their first bytes.
_OTHERS = {
    b"8BPS": "a Photoshop document",
    b"\0\0\0\x0cjP  ": "a JPEG 2000",
    b"\xff\x4f\xff\x51": "a JPEG 2000",
    b"\0\0\0\x0cJXL ": "a JPEG XL",
    b"\xff\x0a": "a JPEG XL",
    b"%PDF": "a PDF",
    b"%!PS": "an EPS",
    b"\0\0\1\0": "an icon",
    b"II\x2b\0": "a BigTIFF",
}
_HEIF = (b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1")


def _other_format(data: bytes) -> str | None:
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF:
        return "a HEIC"
    if b"<svg" in data[:1000].lower():
        return "an SVG"
    return next((name for magic, name in _OTHERS.items() if data.startswith(magic)), None)
