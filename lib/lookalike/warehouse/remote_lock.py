"""The lock of a warehouse in an object store, where no file can be locked: each run writes its own, then lists all.

    <warehouse>/LOCK/<name>    {"host": …, "pid": …, "started_at": …, "took": [<name>, …]}, written again every quarter
                               of `lock_ttl`

The stores list whatever was written before. So of two runs at once, the one that lists later sees the lock of the
other, and gives up; when each sees the other's, both give up.

A run that has watched the lock of a dead one, see heartbeat.py, first writes its name under `took` and then removes
it. So a run that was only paused learns that it lost its lock, whatever it wrote at the moment of the removal; and a
run that announces itself and gives up again takes no lock from anyone.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime

from lookalike.errors import LockError, WarehouseError
from lookalike.storage.prefix import Prefix, StoredObject
from lookalike.warehouse.heartbeat import heartbeat, is_silent
from lookalike.warehouse.lock import LockHolder

_FOLDER = "LOCK"


class StoreLock:
    """The lock that this process holds in a store; call `check` before anything that cannot be undone."""

    def __init__(self, prefix: Prefix, ttl: float) -> None:
        self._prefix, self._ttl = prefix, ttl
        self._name = f"{_FOLDER}/{secrets.token_hex(8)}"
        self._holder = LockHolder.this_run()
        self._took: list[str] = []

    def take(self) -> None:
        """Take the lock; raises LockError when another run holds the warehouse."""
        self._write()
        try:
            others = self._prefix.objects(_FOLDER)
            mine = others.pop(self._name, None)
            for name, other in others.items():
                self._need_dead(name, other, mine)
            if others:
                self._took = sorted(others)
                self._write()
            for name in others:
                self._prefix.remove(name)
        except BaseException:
            self.release()
            raise

    def check(self) -> None:
        """Raise LockError when another run has taken the lock: this one did not touch it for the time to live."""
        others = [name for name in self._prefix.objects(_FOLDER) if name != self._name]
        taker = next((name for name in others if self._name in _took(self._prefix.read(name))), None)
        if taker or self._prefix.find(self._name) is None:
            raise LockError(
                f"{self._prefix.uri}: this run did not touch its lock for longer than warehouse.lock_ttl, and "
                f"{self._holder_of(taker) if taker else 'another run'} took the lock; nothing is published, run again "
                "when that one has ended"
            )

    def touch(self) -> None:
        """Show that this run lives, unless another has taken the lock."""
        with suppress(WarehouseError):  # `check` tells later
            if self._prefix.find(self._name) is not None:
                self._write()

    def release(self) -> None:
        """Give the lock back."""
        with suppress(WarehouseError):  # it ends by its time to live
            self._prefix.remove(self._name)

    def _write(self) -> None:
        self._prefix.write(self._name, json.dumps({**asdict(self._holder), "took": self._took}).encode())

    def _need_dead(self, name: str, found: StoredObject, mine: StoredObject | None) -> None:
        """Raise LockError when the run with that lock lives. Both times are the store's."""

        def written() -> datetime | None:
            there = self._prefix.find(name)
            return there.modified if there else None

        age = (mine.modified - found.modified).total_seconds() if mine else 0
        if 0 <= age < self._ttl or not is_silent(f"{self._prefix.uri}/{name}", written, self._ttl):
            raise LockError(
                f"{self._prefix.uri} is being written by {self._holder_of(name)}; wait for it to end, or stop it"
            )

    def _holder_of(self, name: str) -> str:
        try:
            return str(LockHolder.parsed(self._prefix.read(name) or b"") or "another run")
        except WarehouseError:
            return "another run"


def _took(data: bytes | None) -> list[str]:
    """Return the names of the locks that a lock was taken from."""
    try:
        took = json.loads(data or b"{}").get("took", [])
    except (ValueError, AttributeError, RecursionError):
        return []
    return took if isinstance(took, list) else []


@contextmanager
def hold(prefix: Prefix, ttl: float) -> Iterator[StoreLock]:
    """Hold the lock of the warehouse at `prefix` while the context lasts; raises LockError when another run holds it.

    A run counts as dead when it did not touch its lock for `ttl` seconds, of which this run was the witness.
    """
    lock = StoreLock(prefix, ttl)
    lock.take()
    with heartbeat(lock, ttl):
        yield lock
