"""The lock of a warehouse in an object store, where no file can be locked: each run writes its own, then lists all.

    <warehouse>/LOCK/<name>    {"host": …, "pid": …, "started_at": …}, written again every quarter of `lock_ttl`

The stores list whatever was written before. So of two runs at once, the one that lists later sees the lock of the
other, and gives up; when each sees the other's, both give up. Ages are differences of the store's own times.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime

from lookalike.errors import LockError, WarehouseError
from lookalike.storage.prefix import Prefix
from lookalike.warehouse.lock import LockHolder, heartbeat

_FOLDER = "LOCK"


class StoreLock:
    """The lock that this process holds in a store; call `check` before anything that cannot be undone."""

    def __init__(self, prefix: Prefix, ttl: float) -> None:
        self._prefix, self._ttl = prefix, ttl
        self._name = f"{_FOLDER}/{secrets.token_hex(8)}"
        holder = LockHolder(socket.gethostname(), os.getpid(), datetime.now(UTC).isoformat(timespec="seconds"))
        self._body = json.dumps(asdict(holder)).encode()

    def take(self) -> None:
        """Take the lock; raises LockError when another run holds the warehouse."""
        self._prefix.write(self._name, self._body)
        try:
            for other in self._others():
                raise LockError(
                    f"{self._prefix.uri} is being written by {self._holder(other)}; wait for it to end, or stop it"
                )
        except BaseException:
            self.release()
            raise

    def check(self) -> None:
        """Raise LockError when another run has taken the lock: this one did not touch it for the time to live."""
        other = next(iter(self._others()), None)
        if other or self._prefix.find(self._name) is None:
            raise LockError(
                f"{self._prefix.uri}: this run did not touch its lock for longer than warehouse.lock_ttl, and "
                f"{self._holder(other) if other else 'another run'} took the lock; nothing is published, run again "
                "when that one has ended"
            )

    def touch(self) -> None:
        """Show that this run lives, unless another has taken the lock."""
        with suppress(WarehouseError):  # `check` tells later
            if self._prefix.find(self._name) is not None:
                self._prefix.write(self._name, self._body)

    def release(self) -> None:
        """Give the lock back."""
        with suppress(WarehouseError):  # it ends by its time to live
            self._prefix.remove(self._name)

    def _others(self) -> Iterator[str]:
        """Yield the locks of other runs that live; remove those of dead runs."""
        found = self._prefix.objects(_FOLDER)
        mine = found.pop(self._name, None)
        now = mine.modified if mine else datetime.now(UTC)
        for name, lock in found.items():
            if (now - lock.modified).total_seconds() < self._ttl:
                yield name
            else:
                self._prefix.remove(name)

    def _holder(self, name: str) -> str:
        try:
            return str(LockHolder(**json.loads(self._prefix.read(name) or b"")))
        except (WarehouseError, ValueError, TypeError):
            return "another run"


@contextmanager
def hold(prefix: Prefix, ttl: float) -> Iterator[StoreLock]:
    """Hold the lock of the warehouse at `prefix` while the context lasts; raises LockError when another run holds it.

    A run counts as dead when it has not touched its lock for `ttl` seconds.
    """
    lock = StoreLock(prefix, ttl)
    lock.take()
    with heartbeat(lock, ttl):
        yield lock
