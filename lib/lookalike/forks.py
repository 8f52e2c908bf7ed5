"""What a forked child must drop: processes, pipes and locks of its parent, which it cannot use."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Droppable(Protocol):
    """An object that holds what belongs to one process."""

    def drop_parents(self) -> None:
        """Forget what is the parent's; called in a forked child, before any thread of it can run."""


_registered: weakref.WeakSet[Droppable] = weakref.WeakSet()
_hooked = False


def register(one: Droppable) -> None:
    """Call `one.drop_parents()` in every child that this process forks from now on, as long as `one` lives.

    The hook is set with the first object, not on import: importing this package changes nothing in a process.
    """
    global _hooked
    _registered.add(one)
    if not _hooked:
        _hooked = True
        os.register_at_fork(after_in_child=_drop_all)


def _drop_all() -> None:
    for one in list(_registered):
        one.drop_parents()
