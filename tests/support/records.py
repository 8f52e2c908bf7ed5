"""Records of releases that no run has made."""

from __future__ import annotations

from typing import Any

from lookalike import __version__
from lookalike.warehouse import release_files
from lookalike.warehouse.record import Figures, Gate, ReleaseRecord
from lookalike.warehouse.release import ReleaseFolder
from lookalike.warehouse.release_files import ReleaseFiles
from support import staging

COUNTS: dict[str, Any] = {
    "items": 3,
    "embedded": 3,
    "failed": 0,
    "failed_by_reason": {},
    "similar_items": 6,
    "recall": 1.0,
    "recall_sample": 3,
}


def figures(**counts: Any) -> Figures:
    """What was measured of three items, but for `counts`."""
    return Figures.model_validate({**COUNTS, **counts})


def record(release_id: str = "r1", parent: str | None = None, **sections: Any) -> ReleaseRecord:
    """The record of a release of three items; `sections` take the place of its own."""
    raw: dict[str, Any] = {
        "release_id": release_id,
        "parent": parent,
        "created_at": "2026-01-02T03:04:05+00:00",
        "lookalike": __version__,
        "counts": COUNTS,
        "model": {"model_id": "feed5eed"},
        "config": {"similar": {"k": 2}},
    }
    return ReleaseRecord.model_validate({**raw, **sections})


def refused(*keys: str) -> tuple[Gate, ...]:
    """Gates that a release did not pass."""
    return tuple(Gate(key=key, figure=0.5, bound=0.1, direction="at_most", passed=False) for key in keys)


def write_record(release: ReleaseFolder, parent: str | None = None, **sections: Any) -> None:
    """Make a folder with its tables a release: with files.json and release.json."""
    release.root.mkdir(parents=True, exist_ok=True)
    release.record_path.write_bytes(listed(release, parent, **sections).as_json())


def listed(release: ReleaseFolder, parent: str | None = None, **sections: Any) -> ReleaseRecord:
    """Write files.json of a release, and return its record."""
    known = release_files.write(ReleaseFiles(files=tuple(staging.files_of(release))), release.root)
    return record(release.release_id, parent, **{"files": known.model_dump(mode="json"), **sections})


def write_unlisted_record(release: ReleaseFolder, parent: str | None = None, **sections: Any) -> None:
    """Make a folder a release as lookalike 0.2.0 did, which kept no files.json."""
    release.root.mkdir(parents=True, exist_ok=True)
    release.record_path.write_bytes(record(release.release_id, parent, **sections).as_json())
