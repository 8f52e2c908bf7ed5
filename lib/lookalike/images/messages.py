"""The messages between the decoder's process and its parent: a JSON text and bytes, over a pipe."""

from __future__ import annotations

import struct
from typing import IO

_LENGTHS = struct.Struct("<IQ")  # of the JSON text, of the bytes after it


def send(pipe: IO[bytes], text: bytes, body: bytes | memoryview = b"") -> None:
    """Write one message."""
    pipe.write(_LENGTHS.pack(len(text), len(body)) + text)
    pipe.write(body)
    pipe.flush()


def receive(pipe: IO[bytes]) -> tuple[bytes, bytes] | None:
    """Read one message; None where the pipe ends, also in the middle of a message."""
    lengths = pipe.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    text_length, body_length = _LENGTHS.unpack(lengths)
    text, body = pipe.read(text_length), pipe.read(body_length)
    return (text, body) if len(text) == text_length and len(body) == body_length else None
