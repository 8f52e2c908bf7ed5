"""Whether a store is out for a while: then a request is tried again for longer than one that fails among others.

A process knows what its own requests came to. One that was given up ends the patience of all, until one is answered.
"""

from __future__ import annotations

import random
import time

from lookalike.storage.uri import Location

# A store that restarts, or moves a bucket, is back within a minute.
PATIENCE = 120.0

# With no answer to any request for so long, it is not this object or chance that fails.
_SILENCE = 2.0

# Seconds between two tries, at random, so that a thousand workers do not come back at the same time.
PAUSES = (0.5, 5.0)

_answered: dict[str, float] = {}
_given_up: set[str] = set()


def store_of(location: Location) -> str:
    """Return the name of what holds a location, and is out as a whole: a bucket, a container, a name node."""
    return f"{location.scheme}://{location.authority}"


def note_answer(store: str) -> None:
    """Note that a store has answered a request."""
    _answered[store] = time.monotonic()
    _given_up.discard(store)


def has_answered(store: str) -> bool:
    """Return whether the store has answered before, and not been given up since."""
    return store in _answered and store not in _given_up


def is_out(store: str, waited: float) -> bool:
    """Return whether the store seems to be out, and a request that has `waited` is worth trying again."""
    silent = time.monotonic() - _answered.get(store, -_SILENCE) >= _SILENCE
    return silent and waited < PATIENCE and store not in _given_up


def give_up(store: str) -> None:
    """Note that a request has waited for as long as is worth it."""
    _given_up.add(store)


def pause() -> None:
    """Wait before the next try."""
    time.sleep(random.uniform(*PAUSES))  # noqa: S311 - no secret
