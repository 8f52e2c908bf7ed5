"""The decoder's own process: it reads pictures from stdin and writes pixels to another pipe, until stdin ends.

A picture that crashes it, hangs it or takes it over stays in here: what goes out is numbers and JSON, never a pickle.
Run it as a module, with the number of that pipe; `decoder.py` starts it and talks to it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any, cast

from PIL import Image

from lookalike.failures import ImageError, OutOfMemoryError
from lookalike.images import decode, formats, messages

if TYPE_CHECKING:
    from lookalike import config

# What the process may take on top of the picture: a resize's intermediate rows, a strip, the file's own bytes.
HEADROOM = 256 << 20


def serve(questions: IO[bytes], answers: IO[bytes]) -> None:
    """Say that the process is ready, then answer every question; return when the questions end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    # The alarm ends the process also in the middle of C code, and also when the parent is gone.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    # The limit is ours (images.max_pixels), read from the header; over its own, Pillow would warn and refuse.
    Image.MAX_IMAGE_PIXELS = None
    formats.readable()  # Pillow's decoders are loaded before their memory is counted
    space = _AddressSpace(_used_address_space())
    messages.send(answers, b"{}")
    while (question := messages.receive(questions)) is not None:
        text, data = question
        size, limits = _parsed(text)
        space.allow(limits.max_decoded_bytes + len(data) + HEADROOM)
        signal.setitimer(signal.ITIMER_REAL, limits.decode_timeout)
        answer, pixels = _answer(data, size, limits)
        signal.setitimer(signal.ITIMER_REAL, 0)
        answer["kept"] = space.kept()
        messages.send(answers, json.dumps(answer).encode(), pixels)


@dataclass
class _AddressSpace:
    """The address space of this process: what it had at its start, and a limit on what it may add."""

    start: int

    def allow(self, extra: int) -> None:
        """Set the limit where the system has one; past it, decoders raise MemoryError."""
        if self.start:
            import resource

            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_AS, (self.start + extra, resource.RLIM_INFINITY))

    def kept(self) -> int:
        """Return how much more the process has than at its start."""
        return _used_address_space() - self.start if self.start else 0


def _used_address_space() -> int:
    """Return the bytes of this process; 0 where there is no /proc."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@lru_cache(maxsize=4)  # the same for every picture of a step
def _parsed(text: bytes) -> tuple[int, config.ImageSettings]:
    """Return the size and the limits; these without pydantic, whose import was 0.1 s of the 0.3 in which it starts."""
    question = json.loads(text)
    return question["size"], cast("config.ImageSettings", SimpleNamespace(**question["limits"]))


def _answer(data: bytes, size: int, limits: config.ImageSettings) -> tuple[dict[str, Any], bytes]:
    try:
        picture = decode.decode(data, size, limits)
    except ImageError as error:
        return {
            "reason": error.reason,
            "detail": error.detail,
            "out_of_memory": isinstance(error, OutOfMemoryError),
        }, b""
    except MemoryError as error:  # outside of Pillow
        detail = f"decoding it takes too much memory {error}".strip()
        return {"reason": "too_many_pixels", "detail": detail, "out_of_memory": True}, b""
    said = {name: getattr(picture, name) for name in ("width", "height", "fixes", "sideways")}
    return {"size": size, **said}, picture.pixels.tobytes()


if __name__ == "__main__":
    with open(int(sys.argv[1]) if len(sys.argv) > 1 else 1, "wb") as to_parent:
        serve(sys.stdin.buffer, to_parent)
