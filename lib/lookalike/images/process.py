"""Decode pictures in a process of its own, so that one that crashes or hangs the decoder costs itself alone. No Spark.

Run as a module it is that process: it reads pictures from stdin and writes pixels to stdout, until stdin ends.
What comes back is numbers and JSON, never a pickle: a picture that takes over its decoder stays in there.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Any

import numpy as np

from lookalike import config
from lookalike.errors import DecoderError
from lookalike.failures import ImageError
from lookalike.images import decode as images
from lookalike.images.decode import Picture

_LENGTHS = struct.Struct("<IQ")  # of the JSON, of the bytes behind it

# What the process may take beside the picture: a resize's intermediate rows, a strip, the file's own bytes.
HEADROOM = 256 << 20

# The most that Linux gives a user who is not root.
PIPE_BYTES = 1 << 20


class Decoder:
    """One process that decodes one picture at a time; it starts with the first, and anew after a crash."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False

    def decode(self, data: bytes, size: int, limits: config.ImageSettings) -> Picture:
        """As `images.decode`, which runs in the other process; raises ImageError."""
        with self._lock:
            # Twice: the kernel may have killed it for another's hunger for memory.
            for last in (False, True):
                answer = self._ask(data, size, limits)
                if isinstance(answer, Picture):
                    return answer
                if last or -answer == signal.SIGALRM:
                    raise _died(-answer, limits)
        raise AssertionError  # the loop returns or raises

    def start(self) -> None:
        """Let the process begin, so that it is ready when the first picture comes: 0.3 s."""
        with self._lock:
            self._running()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _ask(self, data: bytes, size: int, limits: config.ImageSettings) -> Picture | int:
        """The picture, or the exit code of the process that it has ended."""
        process = self._running()
        assert process.stdin
        assert process.stdout
        if not self._ready:
            self._wait_until_ready(process)
        try:
            _send(process.stdin, _question(size, limits), data)
            answer = _receive(process.stdout)
        except (BrokenPipeError, ConnectionResetError):
            answer = None
        except BaseException:  # an interrupt between question and answer: the next one would get this answer
            self._end()
            raise
        if answer is None:
            code = process.wait()
            self._end()
            return code
        return _picture(*answer)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process, self._ready = _start(), False
        return self._process

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout
        self._ready = _receive(process.stdout) is not None
        if not self._ready:
            self._end()
            raise DecoderError(
                f"the process that decodes pictures ended with {process.wait()} before it was ready; "
                f"try {sys.executable} -m lookalike.images.process </dev/null"
            )

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()
        process.wait()


_shared = Decoder()
atexit.register(_shared.close)


def shared() -> Decoder:
    """This process's decoder."""
    return _shared


def _start() -> subprocess.Popen[bytes]:
    """The process; it says when it is ready."""
    # What this process can import, the other one can too, also from an archive that Spark has sent.
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        # numpy's threads would take address space, which is limited, and never work.
        "OPENBLAS_NUM_THREADS": "1",
        # It takes and gives back up to 192 MiB at a time, which glibc otherwise keeps. What a common picture takes it
        # may keep: asked of the system anew, a photo of 224 px costs 0.35 ms more, one of 1,500 x 2,000 2 ms. (Not so
        # in the workers: mapping each of their blocks anew would double the time of the neighbour search.)
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_MMAP_THRESHOLD_": str(4 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(16 << 20),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "lookalike.images.process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # libtiff and libpng talk about every bad picture
        env=environment,
    )
    for pipe in (process.stdin, process.stdout):
        assert pipe
        _widen(pipe)
    return process


def _widen(pipe: IO[bytes]) -> None:
    """Let a picture's pixels through at once, where the system does: by 64 KiB, both sides would wake three times."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):  # over the user's share of all pipes
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _died(number: int, limits: config.ImageSettings) -> ImageError:
    if number == signal.SIGALRM:
        return ImageError("decode_timeout", f"not decoded within images.decode_timeout, {limits.decode_timeout:g} s")
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"exit code {-number}"
    return ImageError("decoder_crashed", f"the decoder ended with {name}")


def _picture(text: bytes, pixels: bytes) -> Picture:
    head = json.loads(text)
    if "reason" in head:
        raise ImageError(head["reason"], head["detail"])
    size = head["size"]
    shaped = np.frombuffer(pixels, dtype=np.uint8).reshape(size, size, 3)
    return Picture(shaped, head["width"], head["height"], tuple(head["fixes"]), head["sideways"])


@lru_cache(maxsize=4)  # the same for every picture of a step
def _question(size: int, limits: config.ImageSettings) -> bytes:
    return json.dumps({"size": size, "limits": limits.model_dump(mode="json")}).encode()


@lru_cache(maxsize=4)
def _asked(text: bytes) -> tuple[int, config.ImageSettings]:
    head = json.loads(text)
    return head["size"], config.ImageSettings.model_validate_json(json.dumps(head["limits"]))


def _send(pipe: IO[bytes], text: bytes, body: bytes | memoryview = b"") -> None:
    pipe.write(_LENGTHS.pack(len(text), len(body)) + text)
    pipe.write(body)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> tuple[bytes, bytes] | None:
    """None at the end of the pipe, also in the middle of a message."""
    lengths = pipe.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    text, body = _LENGTHS.unpack(lengths)
    head, rest = pipe.read(text), pipe.read(body)
    return (head, rest) if len(head) == text and len(rest) == body else None


# --- the other process ---


@dataclass
class _Limited:
    """How much address space the process has beyond what it started with."""

    start: int

    def allow(self, extra: int) -> None:
        """Set a limit, where the system has them; over it, decoders raise MemoryError."""
        if self.start:
            import resource

            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_AS, (self.start + extra, resource.RLIM_INFINITY))


def _address_space() -> int:
    """Bytes of this process; 0 where /proc is not."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _serve(questions: IO[bytes], answers: IO[bytes]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to hear
    # The alarm ends the process also in the midst of C, and also when the parent is gone.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    space = _Limited(_address_space())
    _send(answers, b"{}")
    while (question := _receive(questions)) is not None:
        text, data = question
        size, limits = _asked(text)
        space.allow(limits.max_decoded_bytes + len(data) + HEADROOM)
        signal.setitimer(signal.ITIMER_REAL, limits.decode_timeout)
        answer, pixels = _answer(data, size, limits)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _send(answers, json.dumps(answer).encode(), pixels)


def _answer(data: bytes, size: int, limits: config.ImageSettings) -> tuple[dict[str, Any], bytes]:
    try:
        picture = images.decode(data, size, limits)
    except ImageError as error:
        return {"reason": error.reason, "detail": error.detail}, b""
    except MemoryError as error:  # outside of Pillow
        return {"reason": "too_many_pixels", "detail": f"decoding it takes too much memory {error}".strip()}, b""
    facts = {name: getattr(picture, name) for name in ("width", "height", "fixes", "sideways")}
    return {"size": size, **facts}, picture.pixels.tobytes()


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)
