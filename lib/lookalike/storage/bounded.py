"""Limit the time of calls that have no limit of their own: the look-up of a name, the clients of the stores.

Such a call cannot be stopped from outside. It runs in a thread of its own, which is left behind when its time is over,
and ends when its server closes the connection.
"""

from __future__ import annotations

import contextvars
import os
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from lookalike.storage import memory

# Calls of one kind left behind in a process, from which on no further one is started: each holds a thread and a
# connection. More than the 64 threads that images.fetch_threads allows: one lost picture a thread blocks nobody.
MOST_LEFT_BEHIND = 128

T = TypeVar("T")


def call(function: Callable[[], T], seconds: float, kind: str) -> T:
    """Return what `function` returns, or raise what it raises, or TimeoutError after `seconds`.

    Calls of the same `kind`, such as a host's, that were left behind are counted together.
    """
    if sum(one.kind == (os.getpid(), kind) for one in tuple(_left_behind)) >= MOST_LEFT_BEHIND:
        raise TimeoutError(f"{MOST_LEFT_BEHIND} earlier requests are still without an answer")
    running = _Call(function, (os.getpid(), kind))
    threading.Thread(target=running.run, name=f"bounded {kind}", daemon=True).start()
    return running.result(seconds)  # type: ignore[no-any-return]


class _Call:
    """One call, and its result once it has one; a forked child has none of its parent's, hence the process's id."""

    def __init__(self, function: Callable[[], Any], kind: tuple[int, str]) -> None:
        self.kind = kind
        context = contextvars.copy_context()
        self._function: Callable[[], Any] = lambda: context.run(function)  # it sees what the caller's thread sees
        self._waited = memory.waiting_clock()
        self._done = threading.Event()
        self._value: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Make the call."""
        try:
            self._value = self._function()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            self._error = error
        self._done.set()
        _left_behind.discard(self)

    def result(self, seconds: float) -> Any:
        """Wait for the result; raises TimeoutError."""
        if not self._ends_within(seconds):
            _left_behind.add(self)
            if not self._done.is_set():
                raise TimeoutError(f"no answer after {seconds:.3g} s")
            _left_behind.discard(self)
        error, self._error = self._error, None
        value, self._value = self._value, None
        if error is None:
            return value
        try:
            raise error
        finally:
            del error  # its frames would hold each other, and the bytes that were read, until a collection

    def _ends_within(self, seconds: float) -> bool:
        """Wait until the call has ended, for `seconds` and for as long as it waits for its turn."""
        start = time.monotonic()
        while (left := start + seconds + self._waited() - time.monotonic()) > 0:
            if self._done.wait(left):
                return True
        return self._done.is_set()


_left_behind: set[_Call] = set()  # adding to a set and removing from it are one step each, so that no lock is needed
