"""The lock that lets one run at a time write to a warehouse; the lock of a run that died does not last long.

    <warehouse>/LOCK.<n>    {"host": …, "pid": …, "started_at": …, "kernel": …}, touched every quarter of `lock_ttl`

A lock file is created and never replaced. A run that finds the LOCK.<n> of a dead one creates LOCK.<n + 1>, which only
one run can do.

Where `kernel` is this machine's, the kernel tells whether its holder lives, whatever the clocks say. A host name would
not do: containers on two machines may share one, and so may a process id. Of all other holders heartbeat.py tells.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Protocol

from lookalike.errors import LockError, WarehouseError
from lookalike.storage.disk import advice
from lookalike.warehouse.heartbeat import heartbeat, is_silent

_NAME = re.compile(r"LOCK\.([0-9]+)")
# How a file is opened that may have become a FIFO or a link, and how much of it is read.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MOST_BYTES = 1 << 16
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class LockHolder:
    """The run that wrote a lock."""

    host: str
    pid: int
    started_at: str
    kernel: str | None = None  # that locks the file for it; None where the file system has no such locks

    @classmethod
    def this_run(cls, kernel: str | None = None) -> LockHolder:
        """Return this process as a holder."""
        return cls(socket.gethostname(), os.getpid(), datetime.now(UTC).isoformat(timespec="seconds"), kernel)

    @classmethod
    def parsed(cls, data: bytes) -> LockHolder | None:
        """Return the holder that wrote `data`, None when that cannot be read."""
        try:
            raw = json.loads(data)
            return cls(raw["host"], raw["pid"], raw["started_at"], raw.get("kernel"))
        except (ValueError, TypeError, KeyError, RecursionError):
            return None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, started at {self.started_at}"


class WriteLock(Protocol):
    """The right to write, which only one run has."""

    def check(self) -> None:
        """Raise LockError when another run has taken the lock."""


class FolderLock:
    """The lock that this process holds on a folder; call `check` before anything that cannot be undone."""

    def __init__(self, path: Path, handle: int) -> None:
        self._path, self._handle = path, handle

    def check(self) -> None:
        """Raise LockError when another run has taken the lock: this one did not touch it for the time to live.

        Raises WarehouseError when the folder cannot be read any more.
        """
        successors = [path for path in _locks(self._path.parent) if _number(path) > _number(self._path)]
        if successors or not self._is_mine():
            holder = _holder(successors[-1]) if successors else None
            raise LockError(
                f"{self._path.parent}: this run did not touch its lock for longer than warehouse.lock_ttl, and "
                f"{holder or 'another run'} took the lock; nothing is published, run again when that one has ended"
            )

    def touch(self) -> None:
        """Show that this run lives."""
        with suppress(OSError):  # a file system that fails, or a file that is gone: `check` will tell
            os.utime(self._handle)

    def release(self) -> None:
        """Give the lock back."""
        # What cannot be removed is a lock that the kernel knows to be free. If the file is not this run's, a later run
        # has removed it, and may have made another of that name.
        try:
            with suppress(OSError, WarehouseError):
                mine = self._is_mine()
                for path in _locks(self._path.parent):
                    if mine and _number(path) <= _number(self._path):
                        path.unlink(missing_ok=True)
        finally:
            os.close(self._handle)

    def _is_mine(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._handle), self._path.stat())
        except OSError:
            return False


@contextmanager
def hold(folder: Path, ttl: float) -> Iterator[FolderLock]:
    """Hold the lock of the warehouse `folder` while the context lasts; raises LockError when another run holds it.

    Of a run of this machine the kernel tells at once whether it lives. A run of another machine counts as dead when it
    did not touch its lock for `ttl` seconds, of which this run was the witness.
    """
    lock = _take(folder, ttl)
    with heartbeat(lock, ttl):
        yield lock


def _take(folder: Path, ttl: float) -> FolderLock:
    left = _locks(folder)
    dead = {_need_dead(path, ttl) for path in reversed(left)}  # a run that lives has most likely the newest
    path = folder / f"LOCK.{_number(left[-1]) + 1 if left else 0}"
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise _taken(path) from None
    except OSError as error:
        raise _unusable(folder, error, "written") from None
    lock = FolderLock(path, handle)
    try:
        _write_holder(folder, handle)
        # Two runs that saw different leftovers have taken different names: each sees the other's lock here.
        for other in _locks(folder):
            if other != path and _sign(other) not in dead:
                _need_dead(other, 0)
    except BaseException:
        lock.release()
        raise
    return lock


def _write_holder(folder: Path, handle: int) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # waits for a run that is just testing it
        kernel = _kernel(handle)
    except OSError:  # a file system without locks
        kernel = None
    try:
        os.write(handle, json.dumps(asdict(LockHolder.this_run(kernel))).encode())
    except OSError as error:
        # On a full disk the lock holds without its holder's name, so that the leftovers that fill it can be swept.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise _unusable(folder, error, "written") from None


def _kernel(handle: int) -> str:
    """Return what names the kernel's lock on an open file: two mounts of one share have two, on one machine too."""
    try:
        boot = _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:  # not Linux
        boot = socket.gethostname()
    return f"{boot}/{os.fstat(handle).st_dev}"


def _unusable(folder: Path, error: OSError, verb: str) -> WarehouseError:
    return WarehouseError(f"warehouse.path: {folder} cannot be {verb} ({error.strerror}); {advice(error)}")


def _locks(folder: Path) -> list[Path]:
    """Return all lock files, the newest last; raises WarehouseError."""
    try:
        found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    except OSError as error:
        raise _unusable(folder, error, "read") from None
    return sorted(found, key=_number)


def _number(path: Path) -> int:
    return int(path.name.partition(".")[2])


Sign = tuple[int, int, int]


def _sign(path: Path) -> Sign | None:
    """Return what a touch changes, None when the lock is gone; raises WarehouseError for what is no file."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WarehouseError(f"{path} cannot be read ({error.strerror}); remove it if no run writes") from None
    if not stat.S_ISREG(status.st_mode):
        raise WarehouseError(f"{path} is not a file, so no run wrote it as its lock; remove it")
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _need_dead(path: Path, patience: float) -> Sign | None:
    """Return the sign of a lock of which the run is dead, or has given it back; raises LockError if that run lives.

    Where the kernel cannot tell, watch the lock for `patience` seconds, the time to live; with 0 there is no time.
    """
    sign = _sign(path)
    if sign is None or _kernel_says_dead(path):
        return sign
    age = time.time() - sign[-1] / 1e9  # where a clock is wrong, this refuses a run or lets it watch, no more
    if 0 <= age < patience or not patience or not is_silent(str(path), partial(_sign, path), patience):
        raise _taken(path)
    return sign


def _kernel_says_dead(path: Path) -> bool:
    """Return whether the kernel knows the lock to be free; raises LockError when it knows that its holder lives."""
    try:
        handle = os.open(path, _READ)
    except OSError:  # released since it was listed, or another user's
        return False
    try:
        holder = LockHolder.parsed(os.read(handle, _MOST_BYTES))
        known = holder is not None and holder.kernel == _kernel(handle)
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: several runs may test it at once
    except BlockingIOError:
        if known:
            raise _taken(path) from None
        return False
    except OSError:
        return False
    finally:
        os.close(handle)
    return known


def _holder(path: Path) -> LockHolder | None:
    try:
        with open(os.open(path, _READ), "rb") as file:
            return LockHolder.parsed(file.read(_MOST_BYTES))
    except OSError:
        return None


def _taken(path: Path) -> LockError:
    return LockError(
        f"{path.parent} is being written by {_holder(path) or 'another run'}; wait for it to end, or stop it"
    )
