"""Signs of life of the run that holds a lock: how it gives them, and how another run finds that there are none.

No clock is believed that a server or NTP can set: a run is dead when another one has watched its lock for the time to
live, by its own monotonic clock, and nothing changed. The holder's changes it four times meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from lookalike.progress import say

# Seconds from one look at a lock to the next; of a short time to live a twentieth.
_LOOK_SECONDS = 5.0


class HeartbeatLock(Protocol):
    """A lock that other runs believe to be a dead run's unless it is touched."""

    def touch(self) -> None:
        """Show that this run lives."""

    def release(self) -> None:
        """Give the lock back."""


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


def is_silent(lock: str, sign: Callable[[], object], ttl: float) -> bool:
    """Watch a lock for `ttl` seconds; return whether `sign()` stayed the same, or the lock went (`sign()` is None).

    `lock` names it on the line that says why the run waits.
    """
    say(f"{lock} seems to be a dead run's; watching it for {ttl:g} s (warehouse.lock_ttl)")
    first, deadline = sign(), time.monotonic() + ttl
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, ttl / 20, _LOOK_SECONDS))
        now = sign()
        if now != first:
            return now is None
    return True
