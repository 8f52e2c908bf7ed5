"""What a forked child must drop: processes, pipes and locks of its parent, which it cannot use."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Droppable(Protocol):
    """An object that holds what belongs to one process."""

    def drop_parents(self) -> None:
        """Forget what is the parent's; called in a forked child, before any thread of it can run."""


_registered: weakref.WeakSet[Droppable] = weakref.WeakSet()
_hooked = False
_not_now = threading.RLock()  # re-entrant: the thread that holds it may fork itself


def register(one: Droppable) -> None:
    """Call `one.drop_parents()` in every child that this process forks from now on, as long as `one` lives.

    The hook is set with the first object, not on import: importing this package changes nothing in a process.
    """
    _registered.add(one)
    _set_hook()


@contextmanager
def held_back() -> Iterator[None]:
    """Let other threads fork only before or after the body.

    For what a child cannot drop: it would wait for ever for a module's import lock that another thread of the parent
    held.
    """
    _set_hook()
    with _not_now:
        yield


def _set_hook() -> None:
    global _hooked
    if not _hooked:
        _hooked = True
        os.register_at_fork(before=_not_now.acquire, after_in_parent=_not_now.release, after_in_child=_begin_child)


def _begin_child() -> None:
    _not_now.release()
    for one in list(_registered):
        one.drop_parents()
