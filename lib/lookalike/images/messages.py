"""The messages between the decoder's process and its parent: a JSON text and bytes, over a pipe."""

from __future__ import annotations

import os
import select
import struct
import time
from typing import Protocol

_LENGTHS = struct.Struct("<IQ")  # of the JSON text, of the bytes after it

# No text here has more, and no bytes: a picture of 64 MiB or pixels of a few thousand across. More comes of damage.
MOST_TEXT = 1 << 20
MOST_BYTES = 1 << 31


class Readable(Protocol):
    """An end of a pipe that gives as many bytes as are asked for, or fewer where the pipe ends."""

    def read(self, length: int, /) -> bytes:
        """Read `length` bytes."""


class Writable(Protocol):
    """An end of a pipe that takes bytes."""

    def write(self, data: bytes | memoryview, /) -> object:
        """Write all of `data`."""

    def flush(self) -> None:
        """Send what is held back."""


class BrokenMessageError(Exception):
    """What came is no message: the process at the other end is damaged."""


class Patient:
    """An end of a pipe, read or written until `deadline` (of time.monotonic), as a damaged process may never answer."""

    def __init__(self, file: int) -> None:
        self.deadline = float("inf")
        self._file = file
        os.set_blocking(file, False)

    def read(self, length: int, /) -> bytes:
        """Read `length` bytes, or fewer where the pipe ends; raise TimeoutError after the deadline."""
        found = bytearray()
        while len(found) < length:
            self._wait(select.POLLIN)
            part = os.read(self._file, length - len(found))
            if not part:
                break
            found += part
        return bytes(found)

    def write(self, data: bytes | memoryview, /) -> None:
        """Write all of `data`; raise TimeoutError after the deadline."""
        rest = memoryview(data)
        while rest:
            self._wait(select.POLLOUT)
            try:
                rest = rest[os.write(self._file, rest) :]
            except BlockingIOError:  # less room than the kernel lets a write begin with
                time.sleep(0.001)

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def _wait(self, event: int) -> None:
        poll = select.poll()
        poll.register(self._file, event)
        left = self.deadline - time.monotonic()
        if not poll.poll(None if left == float("inf") else max(0, left * 1000)):
            raise TimeoutError("no answer")


def send(pipe: Writable, text: bytes, body: bytes | memoryview = b"") -> None:
    """Write one message."""
    pipe.write(_LENGTHS.pack(len(text), len(body)) + text)
    pipe.write(body)
    pipe.flush()


def receive(pipe: Readable) -> tuple[bytes, bytes] | None:
    """Read one message; None where the pipe ends, also in the middle of a message. Raise BrokenMessageError."""
    lengths = pipe.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    text_length, body_length = _LENGTHS.unpack(lengths)
    if text_length > MOST_TEXT or body_length > MOST_BYTES:
        raise BrokenMessageError(f"lengths of {text_length:,} and {body_length:,} bytes")
    text, body = pipe.read(text_length), pipe.read(body_length)
    return (text, body) if len(text) == text_length and len(body) == body_length else None
