"""Read pictures from local files: only regular files, and never more bytes than allowed."""

from __future__ import annotations

import errno
import io
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from lookalike import config
from lookalike.failures import ImageError
from lookalike.storage import memory
from lookalike.storage.uri import Location

# Bytes read at once: the clock is checked after each MiB.
CHUNK_BYTES = 1 << 20


# With O_PATH a folder needs no more than the right to pass through it.
_FOLDER = os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
# O_NONBLOCK: opening a FIFO that has replaced the file meanwhile would wait for a writer without end.
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

# Bytes of the longest path that Linux opens. To follow the links of one of 1 MB would take minutes.
_LONGEST_PATH = 4095


def read(location: Location, limits: config.ImageSettings) -> bytes:
    """Return the bytes of a regular file; raises ImageError."""
    with as_image_errors(), _found(location) as (name, folder):
        _check_kind(_status(name, folder))
        flags = _FILE if folder is None else _FILE | os.O_NOFOLLOW
        with open(os.open(name, flags, dir_fd=folder), "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            _check_kind(status)
            check_size(status.st_size, limits)
            return read_limited(file.read, limits, status.st_size)


def version(location: Location) -> str:
    """Return size and modification time in ns; raises ImageError."""
    with as_image_errors(), _found(location) as (name, folder):
        status = _status(name, folder)
        _check_kind(status)
    return f"{status.st_size}-{status.st_mtime_ns}"


def real_path(path: str) -> str:
    """Return an absolute path with all links followed; raises ValueError for one that is too long."""
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise ValueError(os.strerror(errno.ENAMETOOLONG))
    return os.path.realpath(path) + "/" * path.endswith(("/", "/."))  # the name of a folder stays one


@contextmanager
def _found(location: Location) -> Iterator[tuple[str, int | None]]:
    """Give the name of a file, and the open folder in which it has that name; None if any path may be followed.

    The way from `top` follows no link. The links were followed before: one that was put there since leads nowhere.
    """
    if not location.top:
        yield location.path, None
        return
    top = location.top if location.path != location.top else os.path.dirname(location.top)
    *folders, name = location.path[len(top) :].removeprefix("/").split("/")
    handle = os.open(top, _FOLDER)
    try:
        for folder in folders:
            inner = os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=handle)
            os.close(handle)
            handle = inner
        yield name, handle
    finally:
        os.close(handle)


def _status(name: str, folder: int | None) -> os.stat_result:
    return os.stat(name, dir_fd=folder, follow_symlinks=folder is None)


def check_size(size: int, limits: config.ImageSettings) -> None:
    """Raise ImageError if `size` is more than images.max_bytes."""
    if size > limits.max_bytes:
        raise ImageError("too_large", f"{size:,} bytes; images.max_bytes is {limits.max_bytes:,}")


def read_limited(read_some: Callable[[int], bytes | None], limits: config.ImageSettings, expected: int = 0) -> bytes:
    """Call `read_some(most)` until it returns nothing, and return all bytes; checks size and time after each call.

    Raises ImageError past images.max_bytes or images.read_timeout.
    """
    deadline, waited = time.monotonic() + limits.read_timeout, memory.waiting_clock()
    reserved = expected if expected else memory.SMALL
    reserve(reserved)
    most = max(CHUNK_BYTES, expected + 1)  # a file of known size in one call, with its end
    content = io.BytesIO()  # a list of parts would be held twice while it is joined
    while part := read_some(min(most, limits.max_bytes + 1 - content.tell())):
        total = content.tell() + len(part)
        if total > limits.max_bytes:
            raise ImageError("too_large", f"more than images.max_bytes, {limits.max_bytes:,}")
        if total == expected and total == len(part):
            return part
        if total > reserved:
            reserved = limits.max_bytes
            reserve(reserved)
        content.write(part)
        if total == expected:
            break
        if time.monotonic() > deadline + waited():
            raise ImageError("timeout", f"{total:,} bytes in images.read_timeout, {limits.read_timeout:g} s")
        most = CHUNK_BYTES
    return content.getvalue()


def reserve(size: int) -> None:
    """Wait until the process may hold a picture of `size` bytes; raise ImageError if it may not for too long."""
    if not memory.reserve(size):
        raise ImageError("timeout", f"other large pictures are being read for {memory.LONGEST_WAIT:g} s")


def _check_kind(status: os.stat_result) -> None:
    """Raise ImageError for what is no file: a folder, a pipe, a device, or what the kernel makes when it is read."""
    if not stat.S_ISREG(status.st_mode) or status.st_dev in _kernel_devices():
        raise ImageError("not_found", "not a regular file")


@cache
def _kernel_devices() -> frozenset[int]:
    return frozenset(os.stat(folder).st_dev for folder in ("/proc", "/sys") if os.path.ismount(folder))


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
