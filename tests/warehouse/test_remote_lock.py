"""The lock of a warehouse in a store: two runs, one of them paused, and a store with a clock of its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from lookalike.errors import LockError
from lookalike.storage.prefix import Prefix, StoredObject
from lookalike.warehouse.remote_lock import StoreLock

TTL = 0.2


class Store:
    """Objects in memory, with the times of a clock that a test sets."""

    uri = "s3://bucket/wh"

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.found: dict[str, tuple[bytes, datetime]] = {}

    def write(self, name: str, data: bytes) -> None:
        self.now += timedelta(milliseconds=1)
        self.found[name] = data, self.now

    def objects(self, below: str) -> dict[str, StoredObject]:
        return {name: StoredObject(len(data), time) for name, (data, time) in self.found.items()}

    def find(self, name: str) -> StoredObject | None:
        return self.objects("").get(name)

    def read(self, name: str) -> bytes | None:
        return self.found.get(name, (None, None))[0]

    def remove(self, name: str) -> None:
        self.found.pop(name, None)


@pytest.fixture
def store() -> Store:
    return Store()


def lock(store: Store, **more: Any) -> StoreLock:
    return StoreLock(cast(Prefix, store), more.get("ttl", TTL))


def held(store: Store, **more: Any) -> StoreLock:
    one = lock(store, **more)
    one.take()
    return one


def test_two_that_start_together_never_both_write(store: Store) -> None:
    one = lock(store)
    one._write()  # has said that it is there, and has not looked yet
    with pytest.raises(LockError, match="is being written by process"):
        held(store)
    one.check()


@pytest.mark.parametrize("hours", [-24, 24])
def test_clock_of_the_store_that_jumps_takes_no_live_lock(
    store: Store, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = held(store)
    store.now += timedelta(hours=hours)
    monkeypatch.setattr("lookalike.warehouse.heartbeat.time.sleep", lambda _: alive.touch())
    with pytest.raises(LockError, match="is being written by process"):
        held(store, ttl=60)
    alive.check()


def test_lock_of_a_dead_run_is_followed_and_a_run_that_was_only_paused_learns_it(store: Store) -> None:
    paused = held(store)
    store.now += timedelta(hours=1)
    following = held(store)
    paused.touch()  # does not come back
    assert list(store.found) == [following._name]
    with pytest.raises(LockError, match=r"took the lock; nothing is published"):
        paused.check()
    paused._write()  # it was paused in the middle of a touch
    with pytest.raises(LockError, match=r"and process .* took the lock"):
        paused.check()
    following.check()


def test_run_that_announces_itself_and_gives_up_takes_no_lock(store: Store) -> None:
    running = held(store)
    newcomer = lock(store)
    newcomer._write()
    running.check()
    store.write("LOCK/left", b"[]")
    running.check()


def test_lock_that_is_gone_is_lost(store: Store) -> None:
    one = held(store)
    store.found.clear()
    with pytest.raises(LockError, match="another run took the lock"):
        one.check()
