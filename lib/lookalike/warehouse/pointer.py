"""The type of CURRENT, the file that names the current release and those that were current before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from pydantic import AwareDatetime

from lookalike.warehouse.stored import SCHEMA_VERSION, ReleaseId, Stored


class FormerRelease(Stored):
    """A release that was current, and until when."""

    release_id: ReleaseId
    until: AwareDatetime


class Pointer(Stored):
    """The current release, since when it is that, and the releases that were current before, the latest first."""

    schema_version: int = SCHEMA_VERSION
    release_id: ReleaseId
    since: AwareDatetime | None = None
    earlier: tuple[FormerRelease, ...] = ()

    @property
    def until(self) -> dict[str, datetime]:
        """When each earlier release was current last."""
        return {former.release_id: former.until for former in reversed(self.earlier)}


def restored(release_id: str, now: datetime, existing: Iterable[str]) -> Pointer:
    """Return the pointer that names `release_id` where none can be read: any other release may have been current."""
    earlier = [FormerRelease(release_id=one, until=now) for one in existing if one != release_id]
    return Pointer(release_id=release_id, since=now, earlier=tuple(earlier))


def moved(was: Pointer, release_id: str, now: datetime, exists: Callable[[str], bool]) -> Pointer:
    """Return the pointer that names `release_id` after `was`.

    Its history has each former release once, with its latest time, and none that no longer exists.
    """
    earlier: dict[str, FormerRelease] = {}
    for former in (FormerRelease(release_id=was.release_id, until=now), *was.earlier):
        if former.release_id != release_id and exists(former.release_id):
            earlier.setdefault(former.release_id, former)
    return Pointer(release_id=release_id, since=now, earlier=tuple(earlier.values()))
