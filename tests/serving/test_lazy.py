"""A lazy property: computed once, when it is read, and without a lock."""

from __future__ import annotations

import threading
from itertools import count

from lookalike.serving.lazy import lazy


class Thing:
    """Counts how often it computes."""

    def __init__(self) -> None:
        self.numbers = count()
        self.both = threading.Barrier(2)

    @lazy
    def number(self) -> int:
        """A number."""
        return next(self.numbers)

    @lazy
    def slow(self) -> object:
        """An object that two threads compute at once."""
        self.both.wait(timeout=60)
        return object()


def test_value_is_computed_once_for_each_object() -> None:
    one, other = Thing(), Thing()
    next(other.numbers)
    assert (one.number, one.number, other.number, other.number) == (0, 0, 1, 1)
    assert next(one.numbers) == 1


def test_two_threads_that_compute_at_once_get_the_same_value() -> None:
    """A lock would let one of them wait, and the barrier break."""
    thing, found = Thing(), []
    threads = [threading.Thread(target=lambda: found.append(thing.slow)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0] is found[1] is thing.slow
