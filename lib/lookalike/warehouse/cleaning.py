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
    read, and those that the SQL views of a database, or the tables of a sink, may show: `shown`, as VIEWS has it.
    """
    reasons = dict.fromkeys(release_ids[max(0, len(release_ids) - keep) :], f"of the {keep} newest")
    if pointer:
        for release_id, until in pointer.until.items():
            if until >= recent:
                reasons.setdefault(release_id, f"current until {until:%Y-%m-%d %H:%M}, within warehouse.grace")
        reasons[pointer.release_id] = "current"
    for database, ids in shown.items():
        for release_id in ids:
            reasons.setdefault(release_id, _held(database))
    return {release_id: reasons[release_id] for release_id in release_ids if release_id in reasons}


def _held(holder: str) -> str:
    """Return the reason for a key of VIEWS: the name of a database, or a sink and its namespace."""
    sink, _, namespace = holder.partition(" ")
    if namespace:
        return f"shown by the {sink.title()} tables of {namespace}; clean with publish.{sink} lets go of it"
    return f"shown by the views of the database {holder}"
