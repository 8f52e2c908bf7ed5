"""The folder of one release and the names in it.

    <warehouse>/releases/<release_id>/   embeddings, failures, index, neighbours, similar_items,
                                         duplicates, report.html, files.json, release.json

`release.json` is written last: a folder without it is not a release.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from lookalike.errors import WarehouseError
from lookalike.storage import json_file
from lookalike.storage.files import link_or_copy
from lookalike.warehouse import release_files
from lookalike.warehouse.record import ReleaseRecord
from lookalike.warehouse.release_files import ReleaseFiles
from lookalike.warehouse.stored import parse


@dataclass(frozen=True)
class ReleaseFolder:
    """The folder of one release and the names in it."""

    root: Path

    @property
    def release_id(self) -> str:
        """The folder's name; ids sort by time."""
        return self.root.name

    @property
    def warehouse(self) -> Path:
        """The warehouse's folder; of a release that was copied to a folder right below /, that is /."""
        parents = self.root.parents
        return parents[min(1, len(parents) - 1)]

    @property
    def embeddings(self) -> Path:
        """The embeddings table."""
        return self.root / "embeddings"

    @property
    def failures(self) -> Path:
        """The failures table."""
        return self.root / "failures"

    @property
    def index(self) -> Path:
        """The Annoy shards and their manifest."""
        return self.root / "index"

    @property
    def similar_items(self) -> Path:
        """The similar-items table."""
        return self.root / "similar_items"

    @property
    def neighbours(self) -> Path:
        """The lists of which similar_items holds the first places, see schemas.NEIGHBOURS."""
        return self.root / "neighbours"

    @property
    def duplicates(self) -> Path:
        """The table of items that show the same picture as another; only with similar.duplicate_cosine."""
        return self.root / "duplicates"

    @property
    def report(self) -> Path:
        """The page."""
        return self.root / "report.html"

    @property
    def record_path(self) -> Path:
        """The file release.json, which makes the folder a release."""
        return self.root / "release.json"

    def record(self) -> ReleaseRecord:
        """Return what release.json says; raises WarehouseError."""
        return parse(ReleaseRecord, _read(self.record_path), self.record_path, _ADVICE)

    def files(self) -> ReleaseFiles | None:
        """Return what files.json says, None for a release of a version before 0.3.0; raises WarehouseError."""
        known, path = self.record().files, self.root / release_files.NAME
        if known is None:
            return None
        data = _read(path)
        if hashlib.sha256(data).hexdigest() != known.sha256:
            raise WarehouseError(f"{path} is damaged (release.json knows another content); {_ADVICE}")
        return parse(ReleaseFiles, data, path, _ADVICE)

    def outer_problem(self, *parts: str) -> str | None:
        """Return what is wrong with the release's files, or those of some parts, as names, sizes and footers tell.

        No file is read as a whole. Raises WarehouseError when release.json or files.json is damaged.
        """
        listed = self.files()
        if listed is None:
            return next((f"{part}: it is gone" for part in parts or _TABLES if not (self.root / part).is_dir()), None)
        for file in listed.needed(*parts):
            if (problem := file.outer_problem(self.root)) is not None:
                return f"{file.name}: {problem}"
        return None


_TABLES = ("embeddings", "failures", "similar_items")
_ADVICE = "roll back to another release"


def _read(path: Path) -> bytes:
    try:
        return json_file.read(path)
    except OSError as error:
        raise WarehouseError(f"{path} cannot be read ({error}); {_ADVICE}") from None


@dataclass(frozen=True)
class Refused(ReleaseFolder):
    """A release that a gate refused: complete, but never current."""

    @property
    def record_path(self) -> Path:
        """The file refused.json, with what release.json would hold."""
        return self.root / "refused.json"


@dataclass(frozen=True)
class Staged(ReleaseFolder):
    """A release in the making; `work` holds what the run needs and the release does not."""

    work: Path
    parent: ReleaseFolder | None

    @property
    def parent_id(self) -> str | None:
        """The id of the release that is current while this one is made, None for the first."""
        return self.parent.release_id if self.parent else None

    def link_folder(self, folder: Path) -> None:
        """Link, or copy, all files of another release's `folder` into the folder of that name in this one."""
        for file in folder.rglob("*"):
            if file.is_file():
                target = self.root / folder.name / file.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                link_or_copy(file, target)
