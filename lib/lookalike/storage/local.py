"""Read pictures from local files: only regular files, and never more bytes than allowed."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lookalike import config
from lookalike.failures import ImageError

# Bytes read at once: the clock is checked after each MiB.
CHUNK_BYTES = 1 << 20


def read(path: str, limits: config.ImageSettings) -> bytes:
    """Return the bytes of a regular file; raises ImageError."""
    with as_image_errors():
        _check_kind(os.stat(path))
        # O_NONBLOCK: opening a FIFO that has replaced the file meanwhile would wait for a writer without end.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            _check_kind(status)
            check_size(status.st_size, limits)
            return read_limited(file.read, limits, status.st_size)


def version(path: str) -> str:
    """Return size and modification time in ns; raises ImageError."""
    with as_image_errors():
        status = os.stat(path)
        _check_kind(status)
    return f"{status.st_size}-{status.st_mtime_ns}"


def check_size(size: int, limits: config.ImageSettings) -> None:
    """Raise ImageError if `size` is more than images.max_bytes."""
    if size > limits.max_bytes:
        raise ImageError("too_large", f"{size:,} bytes; images.max_bytes is {limits.max_bytes:,}")


def read_limited(read_some: Callable[[int], bytes | None], limits: config.ImageSettings, expected: int = 0) -> bytes:
    """Call `read_some(most)` until it returns nothing, and return all bytes; checks size and time after each call.

    Raises ImageError past images.max_bytes or images.read_timeout.
    """
    deadline = time.monotonic() + limits.read_timeout
    most = max(CHUNK_BYTES, expected + 1)  # a file of known size in one call, with its end
    parts: list[bytes] = []
    total = 0
    while part := read_some(min(most, limits.max_bytes + 1 - total)):
        parts.append(part)
        total += len(part)
        if total > limits.max_bytes:
            raise ImageError("too_large", f"more than images.max_bytes, {limits.max_bytes:,}")
        if total == expected:
            break
        if time.monotonic() > deadline:
            raise ImageError("timeout", f"{total:,} bytes in images.read_timeout, {limits.read_timeout:g} s")
        most = CHUNK_BYTES
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _check_kind(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ImageError("not_found", "not a regular file")


@contextmanager
def as_image_errors() -> Iterator[None]:
    """Turn an error of the file system into an ImageError."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError("not_found", "no such file") from None
    except PermissionError:
        raise ImageError("forbidden", "no permission to read it") from None
    except TimeoutError:
        raise ImageError("timeout", "the file system does not answer") from None
    except ValueError as error:  # an embedded NUL
        raise ImageError("bad_uri", str(error)) from None
    except OSError as error:
        reason = "bad_uri" if error.errno in _BAD_PATH else "server_error"
        raise ImageError(reason, error.strerror or type(error).__name__) from None


_BAD_PATH = {errno.ENAMETOOLONG, errno.ELOOP}
