"""Bound the bytes of pictures that a process holds at the same time: small ones are free, large ones wait their turn.

Without it, each of the threads that read in advance may hold images.max_bytes: eight of them and endless answers took
886 MB of a worker.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache

# A picture up to this size is read without waiting: of 6,000 photos of a shop none has more than 1 MB.
SMALL = 4 << 20

# All larger pictures of a process together, from their first byte until they are decoded or hashed.
LARGE = 128 << 20

# The 64 threads that images.fetch_threads allows wait for each other's reads and decodes, minutes at most.
LONGEST_WAIT = 3600.0


class _Budget:
    """Bytes that threads share, in the order in which they asked."""

    def __init__(self, total: int) -> None:
        self._free = total
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()

    def take(self, amount: int, seconds: float) -> bool:
        """Wait until `amount` bytes are free and take them; return False after `seconds`."""
        turn = object()
        with self._changed:
            self._queue.append(turn)
            taken = self._changed.wait_for(lambda: self._queue[0] is turn and self._free >= amount, seconds)
            self._queue.remove(turn)
            self._free -= amount if taken else 0
            self._changed.notify_all()
        return taken

    def give_back(self, amount: int) -> None:
        """Let others have `amount` bytes."""
        with self._changed:
            self._free += amount
            self._changed.notify_all()


@lru_cache(maxsize=1)
def _budget(_process: int) -> _Budget:
    """Return this process's budget: a forked child has none of the threads that would give their bytes back."""
    return _Budget(LARGE)


class _Picture:
    """The bytes taken for one picture."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._budget = _budget(os.getpid())
        self._taken = 0
        self._ended = False
        self._clock: tuple[float, float | None] = 0.0, None  # seconds waited before, and since when it waits again

    def reserve(self, amount: int, seconds: float) -> bool:
        """Have `amount` bytes instead of those taken by an earlier try."""
        amount = min(amount, LARGE)
        if amount <= self._taken:
            return True
        self._set(0)
        self._clock = self._clock[0], time.monotonic()
        try:
            taken = self._budget.take(amount, seconds)
        finally:
            self._clock = self.waited(), None
        if taken:
            self._set(amount)
        return taken

    def waited(self) -> float:
        """Return the seconds that the picture has waited for its turn so far."""
        before, since = self._clock
        return before if since is None else before + time.monotonic() - since

    def end(self) -> None:
        """Give the bytes back, also those that a thread takes later that was left behind."""
        self._ended = True
        self._set(0)

    def _set(self, taken: int) -> None:
        with self._lock:
            before, self._taken = self._taken, 0 if self._ended else taken
            self._budget.give_back(before + (taken if self._ended else 0))


_picture: ContextVar[_Picture | None] = ContextVar("picture", default=None)


@contextmanager
def one_picture() -> Iterator[None]:
    """Count what is read in the context as one picture, until the context ends."""
    picture = _Picture()
    token = _picture.set(picture)
    try:
        yield
    finally:
        _picture.reset(token)
        picture.end()


def waiting_clock() -> Callable[[], float]:
    """Return what tells, to any thread, the seconds for which the picture of this context waits for its turn from now.

    They are no fault of the picture or its server, so that no limit of time counts them.
    """
    picture = _picture.get()
    if picture is None:
        return lambda: 0.0
    before = picture.waited()
    return lambda: picture.waited() - before


def reserve(amount: int, seconds: float = LONGEST_WAIT) -> bool:
    """Wait until the process may hold a picture of `amount` bytes; return False if it may not after `seconds`.

    Small pictures never wait. Outside of `one_picture`, nothing is counted.
    """
    picture = _picture.get()
    return amount <= SMALL or picture is None or picture.reserve(amount, seconds)
