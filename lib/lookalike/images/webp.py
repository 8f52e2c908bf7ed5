"""WebP: where the picture is whole, and only the length in the header, or what follows the picture, is wrong."""

from __future__ import annotations

from collections.abc import Iterator

_HEADER = 12  # RIFF, a length, WEBP
_PICTURE = (b"VP8 ", b"VP8L", b"ANMF")
_KINDS = (*_PICTURE, b"VP8X", b"ALPH", b"ANIM", b"ICCP", b"EXIF", b"XMP ")


def prepared(data: bytes) -> tuple[bytes, list[str]]:
    """Return `data` with the length that it has, where all of a picture is in it; a chunk cut short is left out."""
    if len(data) == _HEADER - 4 + int.from_bytes(data[4:8], "little"):
        return data, []
    chunks = list(_whole_chunks(data))
    if not any(kind in _PICTURE for kind, _ in chunks):
        return data, []
    body = b"WEBP" + b"".join(kind + _padded(payload) for kind, payload in chunks)
    return b"RIFF" + len(body).to_bytes(4, "little") + body, []


def _padded(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "little") + payload + bytes(len(payload) % 2)


def _whole_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and the payload of each chunk up to the first that is cut short or none."""
    at = _HEADER
    while at + 8 <= len(data):
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if kind not in _KINDS or at + 8 + length > len(data):
            return
        yield kind, data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
