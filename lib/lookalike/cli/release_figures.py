"""What is known of releases, as JSON types: printed by `releases … --json`, and the source of the lines for people."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from lookalike.errors import WarehouseError
from lookalike.warehouse.cleaning import CleanUp
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.pointer import Pointer
from lookalike.warehouse.release import Refused, ReleaseFolder


def of_all(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Return what a list shows of each release, the newest first, refused ones among them."""
    current = pointer(warehouse)
    found = sorted([*warehouse.releases(), *warehouse.refused()], key=lambda one: one.release_id, reverse=True)
    return [_in_list(release, current) for release in found]


def of_one(warehouse: Warehouse, release: ReleaseFolder) -> dict[str, Any]:
    """Return all that is known of one release: its record, its state, and the bytes of each part."""
    sizes = warehouse.sizes(release)
    return {
        "release_id": release.release_id,
        **_state(release, pointer(warehouse)),
        "record": release.record().model_dump(mode="json", exclude_unset=True),
        "sizes": {**sizes, "all": sum(sizes.values())},
    }


def of_clean_up(cleaned: CleanUp) -> dict[str, Any]:
    """Return what a clean-up did."""
    return {
        "removed": [release.release_id for release in cleaned.removed],
        "kept": [{"release_id": release_id, "reason": reason} for release_id, reason in cleaned.kept.items()],
        "freed_bytes": cleaned.freed,
    }


def pointer(warehouse: Warehouse) -> Pointer | None:
    """Return the pointer, None also when it cannot be read: releases can still be listed, and rolled back to."""
    try:
        return warehouse.pointer()
    except WarehouseError:
        return None


def _in_list(release: ReleaseFolder, current: Pointer | None) -> dict[str, Any]:
    known = {"release_id": release.release_id, **_state(release, current)}
    try:
        record = release.record()
    except WarehouseError as error:
        return {**known, "error": " ".join(str(error).split())}
    changes = record.changes
    return {
        **known,
        "created_at": _iso(record.created_at),
        "counts": record.counts.model_dump(include={"items", "embedded", "failed"}),
        "changes": {name: getattr(changes, name, None) for name in ("new", "changed", "removed")},
        "model_id": record.model.model_id,
        "error": None,
    }


def _state(release: ReleaseFolder, current: Pointer | None) -> dict[str, Any]:
    """Return whether a release is the current one, an earlier one or refused, and since or until when it is current."""
    if isinstance(release, Refused):
        return {"state": "refused", "current_since": None, "current_until": None}
    if current and current.release_id == release.release_id:
        return {"state": "current", "current_since": _iso(current.since), "current_until": None}
    until = current.until.get(release.release_id) if current else None
    return {"state": "earlier", "current_since": None, "current_until": _iso(until)}


def _iso(moment: datetime | None) -> str | None:
    """Return a time in UTC as release.json writes it."""
    return moment.isoformat().replace("+00:00", "Z") if moment else None
