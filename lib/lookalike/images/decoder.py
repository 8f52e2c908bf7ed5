"""Decode pictures in another process, so that a picture that crashes or hangs its decoder costs only itself."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from functools import lru_cache
from typing import IO

import numpy as np

from lookalike import config, forks
from lookalike.errors import DecoderError
from lookalike.failures import REASONS, ImageError, OutOfMemoryError
from lookalike.images import messages
from lookalike.images.picture import Picture

# The most that Linux gives a user who is not root.
PIPE_BYTES = 1 << 20

# Beyond images.decode_timeout, which the process itself holds to: after this it is damaged, and is ended.
GRACE_SECONDS = 30
# The process is tried again after these pauses when it ends while it starts: the kernel ends it when memory is short.
START_PAUSES = (0.2, 1, 3)
START_SECONDS = 120
# A process that keeps more address space than this after a picture is replaced (0.3 s): what it may take for the next
# picture must not depend on those before. 4,400 public odd files leave up to 38 MB, hostile ones have left 700.
MOST_KEPT = 96 << 20


class Decoder:
    """A process that decodes one picture at a time; it starts with the first picture, and again after a crash.

    Threads may share a decoder. A forked child starts a process of its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False
        self._asked = False

    def decode(self, data: bytes, size: int, limits: config.ImageSettings) -> Picture:
        """Do what `images.decode.decode` does, in the other process; raise ImageError or DecoderError."""
        forks.register(self)  # before the lock is taken, which a child could not open
        with self._lock:
            # A second try: the kernel may have killed the process because others needed memory, and a picture before
            # this one may have damaged it or taken its memory.
            for last in (False, True):
                fresh = not (self._process and self._asked)
                try:
                    return self._ask(data, size, limits)
                except _LostError as lost:
                    if last or lost.is_final:
                        raise lost.reason from None
                except OutOfMemoryError:
                    if last or fresh:
                        raise
                    self._end()
        raise AssertionError  # the loop returns or raises

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
            assert pipe
            pipe.close()
        process.returncode = 0  # Popen warns of a process that nobody has waited for; the parent does

    def _ask(self, data: bytes, size: int, limits: config.ImageSettings) -> Picture:
        process = self._started()
        self._asked = True
        try:
            answer = self._answer(process, _question(size, limits), data, limits.decode_timeout)
            picture, kept = _picture(*answer, size) if answer else (None, 0)
        except _DAMAGE as error:
            self._end()
            raise _LostError(ImageError("decoder_crashed", f"the decoder gave a damaged answer: {error}")) from None
        except BaseException:  # an interrupt between question and answer: the next picture would get this answer
            self._end()
            raise
        if picture is None:
            code = process.wait()
            self._end()
            raise _died(-code, limits)
        if kept > MOST_KEPT:
            self._end()
        if isinstance(picture, ImageError):
            raise picture
        return picture

    def _answer(
        self, process: subprocess.Popen[bytes], question: bytes, data: bytes, seconds: float
    ) -> tuple[bytes, bytes] | None:
        """Send a question and return the answer; None where the process ends. Raise what _DAMAGE names."""
        assert process.stdin
        assert process.stdout
        self._to.deadline = self._from.deadline = time.monotonic() + seconds + GRACE_SECONDS
        try:
            messages.send(self._to, question, data)
            return messages.receive(self._from)
        except (BrokenPipeError, ConnectionResetError):
            return None

    def _started(self) -> subprocess.Popen[bytes]:
        """Return the process, ready; raise DecoderError where it does not start."""
        for pause in (*START_PAUSES, None):
            try:
                process = self._running()
                if self._ready or self._becomes_ready():
                    return process
                problem = f"ended with {process.wait()} before it was ready"
            except (OSError, *_DAMAGE) as error:
                problem = f"does not start: {error}"
            self._end()
            if pause is not None:
                time.sleep(pause)
        raise DecoderError(
            f"the process that decodes pictures {problem}; try {sys.executable} -m lookalike.images.process </dev/null"
        )

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            with forks.held_back():  # a child would keep the pipes of a process that it does not know yet
                self._process, self._ready, self._asked = _start(), False, False
            self._finalizer = weakref.finalize(self, _kill, self._process)  # also when this process exits
            assert self._process.stdin
            assert self._process.stdout
            self._to = messages.Patient(self._process.stdin.fileno())
            self._from = messages.Patient(self._process.stdout.fileno())
        return self._process

    def _becomes_ready(self) -> bool:
        self._from.deadline = time.monotonic() + START_SECONDS
        self._ready = messages.receive(self._from) is not None
        return self._ready

    def _end(self) -> None:
        if self._process is not None:
            self._process = None
            self._finalizer()


# What reading the answer of a damaged process raises.
_DAMAGE = (messages.BrokenMessageError, TimeoutError, ValueError, KeyError, TypeError, AttributeError)


class _LostError(Exception):
    """A question without an answer: the reason if there is none from another process either, or at once."""

    def __init__(self, reason: ImageError, *, is_final: bool = False) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.is_final = is_final


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
    # The answers have a pipe of their own: whatever else in the process prints would damage them.
    receiving, sending = os.pipe()
    try:
        process = subprocess.Popen(  # noqa: S603 - this Python, and a number
            [sys.executable, "-m", "lookalike.images.process", str(sending)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # libtiff and libpng talk about every bad picture
            env=environment,
            pass_fds=(sending,),
            bufsize=0,
        )
    except BaseException:
        os.close(receiving)
        raise
    finally:
        os.close(sending)
    process.stdout = open(receiving, "rb", buffering=0)  # noqa: SIM115 - closed with the process
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


def _died(number: int, limits: config.ImageSettings) -> _LostError:
    if number == signal.SIGALRM:
        said = f"not decoded within images.decode_timeout, {limits.decode_timeout:g} s"
        return _LostError(ImageError("decode_timeout", said), is_final=True)
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"exit code {-number}"
    return _LostError(ImageError("decoder_crashed", f"the decoder ended with {name}"))


def _picture(text: bytes, pixels: bytes, size: int) -> tuple[Picture | ImageError, int]:
    """Return the picture of an answer, or the error that it carries, and the address space that the process keeps."""
    answer = json.loads(text)
    kept = int(answer["kept"])
    if "reason" in answer:
        kind = OutOfMemoryError if answer["out_of_memory"] is True else ImageError
        if answer["reason"] not in REASONS:
            raise ValueError("a reason that there is not")
        return kind(answer["reason"], str(answer["detail"])), kept
    shaped = np.frombuffer(pixels, dtype=np.uint8).reshape(size, size, 3)
    fixes = tuple(str(fix) for fix in answer["fixes"])
    return Picture(shaped, int(answer["width"]), int(answer["height"]), fixes, answer["sideways"] is True), kept


@lru_cache(maxsize=4)  # the same for every picture of a step
def _question(size: int, limits: config.ImageSettings) -> bytes:
    return json.dumps({"size": size, "limits": limits.model_dump(mode="json")}).encode()
