"""One writer a warehouse in an object store, where nothing can be locked: each says that it is there, and then looks.

    <warehouse>/LOCK/<name>    {"host": …, "pid": …, "started_at": …}, written again every quarter of `lock_ttl`

The stores list what was written before, so of two runs at once the later one to look sees the earlier one's lock. Both
give way where each was there when the other looked. Ages are differences of the store's own times.
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
from lookalike.warehouse.lock import Holder, kept_alive

_FOLDER = "LOCK"


class StoreLock:
    """This process's hold on a warehouse; `check` before anything that cannot be undone."""

    def __init__(self, prefix: Prefix, ttl: float) -> None:
        self._prefix, self._ttl = prefix, ttl
        self._name = f"{_FOLDER}/{secrets.token_hex(8)}"
        holder = Holder(socket.gethostname(), os.getpid(), datetime.now(UTC).isoformat(timespec="seconds"))
        self._body = json.dumps(asdict(holder)).encode()

    def take(self) -> None:
        """Raises LockError when another run holds the warehouse."""
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
        """Raises LockError when another run took over, because this one was silent for longer than the time to live."""
        taken = next(iter(self._others()), None)
        if taken or self._prefix.find(self._name) is None:
            raise LockError(
                f"{self._prefix.uri}: this run was silent for longer than warehouse.lock_ttl and "
                f"{self._holder(taken) if taken else 'another run'} took over; nothing is published, run again when "
                "that one has ended"
            )

    def touch(self) -> None:
        """Say that this run lives, unless another has taken over."""
        with suppress(WarehouseError):  # `check` will tell
            if self._prefix.find(self._name) is not None:
                self._prefix.write(self._name, self._body)

    def release(self) -> None:
        """Let the next run in."""
        with suppress(WarehouseError):  # the time to live will
            self._prefix.remove(self._name)

    def _others(self) -> Iterator[str]:
        """Locks of runs that live; those of dead runs are removed."""
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
            return str(Holder(**json.loads(self._prefix.read(name) or b"")))
        except (WarehouseError, ValueError, TypeError):
            return "another run"


@contextmanager
def hold(prefix: Prefix, ttl: float) -> Iterator[StoreLock]:
    """The lock of the warehouse at `prefix` while the context lasts; raises LockError when another run holds it.

    `ttl` are the seconds without a sign of life after which a run counts as dead.
    """
    lock = StoreLock(prefix, ttl)
    lock.take()
    with kept_alive(lock, ttl):
        yield lock
