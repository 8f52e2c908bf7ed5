"""The type of CURRENT, the file that names the current release and those that were current before it."""

from __future__ import annotations

from collections.abc import Callable
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

    def as_json(self) -> bytes:
        """Return the content of CURRENT."""
        return self.model_dump_json().encode()


def moved(was: Pointer | None, release_id: str, now: datetime, exists: Callable[[str], bool]) -> Pointer:
    """Return the pointer that names `release_id` after `was`.

    Its history has each former release once, with its latest time, and none that no longer exists.
    """
    earlier: dict[str, FormerRelease] = {}
    for former in (FormerRelease(release_id=was.release_id, until=now), *was.earlier) if was else ():
        if former.release_id != release_id and exists(former.release_id):
            earlier.setdefault(former.release_id, former)
    return Pointer(release_id=release_id, since=now, earlier=tuple(earlier.values()))
