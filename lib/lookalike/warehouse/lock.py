"""The lock that lets one run at a time write to a warehouse; the lock of a run that died does not last long.

    <warehouse>/LOCK.<n>    {"host": …, "pid": …, "started_at": …}, touched every quarter of `lock_ttl`

A lock file is created and never replaced. A run that finds the LOCK.<n> of a dead one creates LOCK.<n + 1>, which only
one run can do.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from lookalike.errors import LockError, WarehouseError

_NAME = re.compile(r"LOCK\.(\d+)")


@dataclass(frozen=True)
class LockHolder:
    """The run that wrote a lock."""

    host: str
    pid: int
    started_at: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, started at {self.started_at}"


class WriteLock(Protocol):
    """The right to write, which only one run has."""

    def check(self) -> None:
        """Raise LockError when another run has taken the lock."""


class HeartbeatLock(Protocol):
    """A lock that other runs believe to be a dead run's unless it is touched."""

    def touch(self) -> None:
        """Show that this run lives."""

    def release(self) -> None:
        """Give the lock back."""


class FolderLock:
    """The lock that this process holds on a folder; call `check` before anything that cannot be undone."""

    def __init__(self, path: Path, handle: int) -> None:
        self._path, self._handle = path, handle

    def check(self) -> None:
        """Raise LockError when another run has taken the lock: this one did not touch it for the time to live."""
        successors = [path for path in _locks(self._path.parent) if _number(path) > _number(self._path)]
        if successors or not self._is_mine():
            holder = _holder(successors[-1]) if successors else None
            raise LockError(
                f"{self._path.parent}: this run did not touch its lock for longer than warehouse.lock_ttl, and "
                f"{holder or 'another run'} took the lock; nothing is published, run again when that one has ended"
            )

    def touch(self) -> None:
        """Show that this run lives."""
        with suppress(OSError):  # a full disk or a file that is gone: `check` will tell
            os.utime(self._handle)

    def release(self) -> None:
        """Give the lock back."""
        mine = self._is_mine()  # else a later run has removed it, and may have made another file of that name
        for path in _locks(self._path.parent):
            if mine and _number(path) <= _number(self._path):
                path.unlink(missing_ok=True)
        os.close(self._handle)

    def _is_mine(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._handle), self._path.stat())
        except OSError:
            return False


@contextmanager
def hold(folder: Path, ttl: float) -> Iterator[FolderLock]:
    """Hold the lock of the warehouse `folder` while the context lasts; raises LockError when another run holds it.

    A run of another machine counts as dead when it has not touched its lock for `ttl` seconds; of a run of this
    machine the kernel tells at once.
    """
    lock = _take(folder, ttl)
    with heartbeat(lock, ttl):
        yield lock


@contextmanager
def heartbeat(lock: HeartbeatLock, ttl: float) -> Iterator[None]:
    """Touch the lock every quarter of `ttl` seconds while the context lasts, then release it."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(ttl / 4):
            lock.touch()

    thread = threading.Thread(target=beat, name="lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        lock.release()


def _take(folder: Path, ttl: float) -> FolderLock:
    left = _locks(folder)
    for path in left:
        _refuse_if_alive(path, ttl)
    path = folder / f"LOCK.{_number(left[-1]) + 1 if left else 0}"
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise _taken(path) from None
    except OSError as error:
        raise _unwritable(folder, error) from None
    lock = FolderLock(path, handle)
    try:
        with suppress(OSError):  # a file system without locks: the time to live decides
            fcntl.flock(handle, fcntl.LOCK_EX)  # waits for a run that is just testing it
        holder = LockHolder(socket.gethostname(), os.getpid(), datetime.now(UTC).isoformat(timespec="seconds"))
        try:
            os.write(handle, json.dumps(asdict(holder)).encode())
        except OSError as error:
            # On a full disk the lock holds without its holder's name, so that the leftovers that fill it can be swept.
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise _unwritable(folder, error) from None
        # Two runs that saw different leftovers have taken different names: each sees the other's lock here.
        for other in _locks(folder):
            if other != path:
                _refuse_if_alive(other, ttl)
    except BaseException:
        path.unlink(missing_ok=True)
        os.close(handle)
        raise
    return lock


def _unwritable(folder: Path, error: OSError) -> WarehouseError:
    return WarehouseError(f"warehouse.path: {folder} cannot be written ({error.strerror}); give a folder that can")


def _locks(folder: Path) -> list[Path]:
    """Return all lock files, the newest last."""
    try:
        found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    except OSError:
        return []
    return sorted(found, key=_number)


def _number(path: Path) -> int:
    return int(path.name.partition(".")[2])


def _refuse_if_alive(path: Path, ttl: float) -> None:
    """Raise LockError unless the run that wrote the lock is dead or has given it back."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return  # released since it was listed
    try:
        silent = time.time() - os.fstat(handle).st_mtime
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: several runs may test it at once
    except OSError:
        dead = False
    else:
        # The lock is free, which is proof where its holder is of this machine. (A holder that has just created the
        # file has not yet written its name.)
        holder = _holder(path)
        dead = holder is not None and holder.host == socket.gethostname()
    finally:
        os.close(handle)
    if not dead and silent < ttl:
        raise _taken(path)


def _holder(path: Path) -> LockHolder | None:
    try:
        return LockHolder(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _taken(path: Path) -> LockError:
    return LockError(
        f"{path.parent} is being written by {_holder(path) or 'another run'}; wait for it to end, or stop it"
    )
