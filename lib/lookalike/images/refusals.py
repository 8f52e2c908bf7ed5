"""What is wrong with a picture that its decoder does not take: too large, cut short, of a kind not read, or broken.

`corrupt` sends a person to upload the picture again, so it is said only where another copy may help.
"""

from __future__ import annotations

import re

from lookalike.failures import ImageError, OutOfMemoryError
from lookalike.images import jpeg, png, tiff

# What the decoders say of a sound file of a kind that they do not read.
_UNSUPPORTED = re.compile(
    r"^unsupported bmp (?:bitfields layout|compression \((?:4|5|6|11|12|13)\)"
    r"|header type \((?:16|2[48]|3[26]|4[48]|60)\)|pixel depth \((?:2|64)\))"
    r"|windows media photo|not implemented|unsupported (?:codec|feature|file-type|color conversion|image type)"
    r"|no (?:decoding|decoder) plugin|no codec available|cannot handle \d+-",
    re.IGNORECASE,
)

# libheif's words; its limits on numbers of boxes and the like are passed by broken files only.
_NO_MEMORY = re.compile(r"memory allocation error(?!.*number of)", re.IGNORECASE)


def undecodable(error: Exception, data: bytes, name: str) -> ImageError:
    """Return the reason that the decoder's `error` over `data`, a file of the format `name`, stands for."""
    detail = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, MemoryError) or _NO_MEMORY.match(detail):
        return OutOfMemoryError("too_many_pixels", "decoding it takes more memory than images.max_decoded_bytes allows")
    if _is_unsupported(detail, data, name):
        return ImageError("unsupported_format", f"a kind of {name} that is not read: {detail}")
    return ImageError("truncated" if _is_cut(detail, data, name) else "corrupt", f"{name}: {detail}")


def _is_unsupported(detail: str, data: bytes, name: str) -> bool:
    if name == "JPEG":
        return jpeg.is_unsupported(data)
    if name == "TIFF":
        return tiff.is_unsupported(data) and not tiff.is_short(data)
    if name == "BMP" and data[28:34] in (b"\0\0\4\0\0\0", b"\0\0\5\0\0\0"):  # no depth of its own: a JPEG or PNG inside
        return True
    return bool(_UNSUPPORTED.search(detail))


def _is_cut(detail: str, data: bytes, name: str) -> bool:
    said = detail.lower()
    return "truncated" in said or "end of file" in said or _is_short(data, name)


def _is_short(data: bytes, name: str) -> bool:
    """Return whether there are fewer bytes than the header says."""
    if name == "WEBP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if name == "BMP":
        return len(data) < int.from_bytes(data[2:6], "little")
    if name in ("AVIF", "HEIF"):
        return _boxes_end(data) > len(data)
    if name == "PNG":
        return png.is_short(data)
    return name == "TIFF" and tiff.is_short(data)


def _boxes_end(data: bytes) -> int:
    """Return where the boxes of an ISO media file end, by what they say of their lengths."""
    at = 0
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if length == 1:
            length = int.from_bytes(data[at + 8 : at + 16], "big")
        if length < 8:  # 0: to the end of the file
            return len(data)
        at += length
    return at
