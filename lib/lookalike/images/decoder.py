"""Decode pictures in another process, so that a picture that crashes or hangs its decoder costs only itself."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from functools import lru_cache
from typing import IO

import numpy as np

from lookalike import config, forks
from lookalike.errors import DecoderError
from lookalike.failures import ImageError
from lookalike.images import messages
from lookalike.images.picture import Picture

# The most that Linux gives a user who is not root.
PIPE_BYTES = 1 << 20


class Decoder:
    """A process that decodes one picture at a time; it starts with the first picture, and again after a crash.

    Threads may share a decoder. A forked child starts a process of its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False

    def decode(self, data: bytes, size: int, limits: config.ImageSettings) -> Picture:
        """Do what `images.decode.decode` does, in the other process; raise ImageError or DecoderError."""
        forks.register(self)  # before the lock is taken, which a child could not open
        with self._lock:
            # A second try: the kernel may have killed the process because others needed memory.
            for last in (False, True):
                answer = self._ask(data, size, limits)
                if isinstance(answer, Picture):
                    return answer
                if last or -answer == signal.SIGALRM:
                    raise _died(-answer, limits)
        raise AssertionError  # the loop returns or raises

    def start(self) -> None:
        """Start the process, so that it is ready when the first picture comes: 0.3 s."""
        forks.register(self)
        with self._lock:
            self._running()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def drop_parents(self) -> None:
        """Forget the parent's process and lock, in a forked child; leave that process as it is."""
        self._lock = threading.Lock()
        process, self._process = self._process, None
        if process is None:
            return
        self._finalizer.detach()
        for pipe in (process.stdin, process.stdout):
            # Closed below its buffer: half a question in there would be written into the parent's conversation.
            assert isinstance(pipe, io.BufferedWriter | io.BufferedReader)
            pipe.raw.close()
        process.returncode = 0  # Popen warns of a process that nobody has waited for; the parent does

    def _ask(self, data: bytes, size: int, limits: config.ImageSettings) -> Picture | int:
        """Return the picture, or the exit code of the process that it has ended."""
        process = self._running()
        assert process.stdin
        assert process.stdout
        if not self._ready:
            self._wait_until_ready(process)
        try:
            messages.send(process.stdin, _question(size, limits), data)
            answer = messages.receive(process.stdout)
        except (BrokenPipeError, ConnectionResetError):
            answer = None
        except BaseException:  # an interrupt between question and answer: the next picture would get this answer
            self._end()
            raise
        if answer is None:
            code = process.wait()
            self._end()
            return code
        return _picture(*answer)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            with forks.held_back():  # a child would keep the pipes of a process that it does not know yet
                self._process, self._ready = _start(), False
            self._finalizer = weakref.finalize(self, _kill, self._process)  # also when this process exits
        return self._process

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout
        self._ready = messages.receive(process.stdout) is not None
        if not self._ready:
            self._end()
            raise DecoderError(
                f"the process that decodes pictures ended with {process.wait()} before it was ready; "
                f"try {sys.executable} -m lookalike.images.process </dev/null"
            )

    def _end(self) -> None:
        if self._process is not None:
            self._process = None
            self._finalizer()


_shared = Decoder()


def shared() -> Decoder:
    """Return the decoder of this process."""
    return _shared


def _start() -> subprocess.Popen[bytes]:
    """Start the process; it says when it is ready."""
    # What this process can import, the other one can too, also from an archive that Spark has sent.
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        # numpy's threads would take address space, which is limited, and never work.
        "OPENBLAS_NUM_THREADS": "1",
        # It takes and gives back up to 192 MiB at a time, which glibc otherwise keeps. What a common picture takes, it
        # may keep: asked of the system each time, a photo of 224 px costs 0.35 ms more, one of 1,500 x 2,000 2 ms. (Not
        # so in Spark's workers: to map each of their blocks again would double the time of the neighbour search.)
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
    """Let a picture's pixels through at once, where the system does: with 64 KiB, both sides would wake three times."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):  # more than the user's share of all pipes
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with contextlib.suppress(OSError):
                pipe.close()
    process.wait()


def _died(number: int, limits: config.ImageSettings) -> ImageError:
    if number == signal.SIGALRM:
        return ImageError("decode_timeout", f"not decoded within images.decode_timeout, {limits.decode_timeout:g} s")
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"exit code {-number}"
    return ImageError("decoder_crashed", f"the decoder ended with {name}")


def _picture(text: bytes, pixels: bytes) -> Picture:
    """Return the picture of an answer; raise the ImageError that it carries."""
    answer = json.loads(text)
    if "reason" in answer:
        raise ImageError(answer["reason"], answer["detail"])
    size = answer["size"]
    shaped = np.frombuffer(pixels, dtype=np.uint8).reshape(size, size, 3)
    return Picture(shaped, answer["width"], answer["height"], tuple(answer["fixes"]), answer["sideways"])


@lru_cache(maxsize=4)  # the same for every picture of a step
def _question(size: int, limits: config.ImageSettings) -> bytes:
    return json.dumps({"size": size, "limits": limits.model_dump(mode="json")}).encode()
