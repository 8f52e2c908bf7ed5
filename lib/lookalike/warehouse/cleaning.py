"""Which releases a clean-up keeps, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from lookalike.warehouse.pointer import Pointer
from lookalike.warehouse.release import ReleaseFolder


@dataclass(frozen=True)
class CleanUp:
    """The result of a clean-up: the releases that it removed, those that it kept and why, and the bytes freed."""

    removed: list[ReleaseFolder]
    kept: dict[str, str]  # release id: reason; the oldest first
    freed: int


def reasons_to_keep(
    release_ids: Sequence[str],
    keep: int,
    pointer: Pointer | None,
    recent: datetime,
    shown: Mapping[str, Sequence[str]],
) -> dict[str, str]:
    """Return the releases to keep, in the order of `release_ids` (the oldest first), with the reason for each.

    These are the `keep` newest, the current one, those that were current after `recent`, which a reader may still
    read, and those that the SQL views of a database may show: `shown`, release ids by database.
    """
    reasons = dict.fromkeys(release_ids[max(0, len(release_ids) - keep) :], f"of the {keep} newest")
    if pointer:
        for release_id, until in pointer.until.items():
            if until >= recent:
                reasons.setdefault(release_id, f"current until {until:%Y-%m-%d %H:%M}, within warehouse.grace")
        reasons[pointer.release_id] = "current"
    for database, ids in shown.items():
        for release_id in ids:
            reasons.setdefault(release_id, f"shown by the views of the database {database}")
    return {release_id: reasons[release_id] for release_id in release_ids if release_id in reasons}
