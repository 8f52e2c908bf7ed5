"""The type of CURRENT, the file that names the current release, and those that were current before it."""

from __future__ import annotations

from datetime import datetime

from pydantic import AwareDatetime, Field

from lookalike.warehouse.record import SCHEMA_VERSION, Stored

# As `20261122T171423.482913Z-129f42`: ids sort by time, and two runs of one instant differ.
RELEASE_ID = r"^[0-9A-Za-z][\w.-]*$"


class FormerRelease(Stored):
    """A release that was current, and until when."""

    release_id: str
    until: AwareDatetime


class Pointer(Stored):
    """The current release, since when it is that, and the releases that were current before, the latest first."""

    schema_version: int = SCHEMA_VERSION
    release_id: str = Field(pattern=RELEASE_ID)
    since: AwareDatetime | None = None
    earlier: tuple[FormerRelease, ...] = ()

    @property
    def until(self) -> dict[str, datetime]:
        """When each earlier release was current last."""
        return {former.release_id: former.until for former in reversed(self.earlier)}

    def as_json(self) -> bytes:
        """Return the content of CURRENT."""
        return self.model_dump_json().encode()
