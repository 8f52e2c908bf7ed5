"""Bound the bytes of pictures that a process holds at the same time: small ones are free, large ones wait their turn.

Without it, each of the threads that read in advance may hold images.max_bytes: eight of them and endless answers took
886 MB of a worker.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache

# A picture up to this size is read without waiting: of 6,000 photos of a shop none has more than 1 MB.
SMALL = 4 << 20

# All larger pictures of a process together, from their first byte until they are decoded or hashed.
LARGE = 128 << 20


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

    def reserve(self, amount: int, seconds: float) -> bool:
        """Have `amount` bytes instead of those taken by an earlier try."""
        self._set(0)
        amount = min(amount, LARGE)
        if not self._budget.take(amount, seconds):
            return False
        self._set(amount)
        return True

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


def reserve(amount: int, seconds: float) -> bool:
    """Wait until the process may hold a picture of `amount` bytes; return False if it may not after `seconds`.

    Small pictures never wait. Outside of `one_picture`, nothing is counted.
    """
    picture = _picture.get()
    return amount <= SMALL or picture is None or picture.reserve(amount, seconds)
