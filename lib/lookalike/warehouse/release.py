"""The only module that makes data live: stage a release, publish it, point to it, roll back, clean up.

    <warehouse>/releases/<release_id>/   embeddings, failures, index, neighbours, similar_items,
                                         duplicates, report.html, release.json
    <warehouse>/CURRENT                  {"release_id": …, "since": …, "earlier": […]}, replaced in one step
    <warehouse>/current                  a symlink to the release, swapped by rename
    <warehouse>/refused/<release_id>/    the last one that a gate refused, kept for inspection
    <warehouse>/staging/<release_id>/    vectors of runs upon that release, until the next holds them: staging.py
    <warehouse>/work/<release_id>/       what a run needs and the release does not
    <warehouse>/VIEWS                    {"<database>": [the releases that its SQL views may show]}
    <warehouse>/catalog/                 the metastore of these views, where Spark has none: metastore.py
    <warehouse>/LOCK.<n>                 the one writer, see lock.py

`release.json` is written last: a folder without it is not a release.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from lookalike.errors import WarehouseError
from lookalike.storage.files import link_or_copy


@dataclass(frozen=True)
class ReleaseFolder:
    """The folder of one release and the names in it."""

    root: Path

    @property
    def release_id(self) -> str:
        """Its folder's name; ids sort by time."""
        return self.root.name

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
        """The lists that similar_items is cut from, see schemas.NEIGHBOURS."""
        return self.root / "neighbours"

    @property
    def duplicates(self) -> Path:
        """The table of items that show another's picture, where duplicates are looked for."""
        return self.root / "duplicates"

    @property
    def report(self) -> Path:
        """The page."""
        return self.root / "report.html"

    @property
    def facts(self) -> Path:
        """release.json, which makes it whole."""
        return self.root / "release.json"

    def record(self) -> dict[str, Any]:
        """What release.json says; raises WarehouseError."""
        try:
            record = json.loads(self.facts.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise WarehouseError(f"{self.facts} cannot be read ({error}); roll back to another release") from None
        if not isinstance(record, dict):
            raise WarehouseError(f"{self.facts} is not the record of a release; roll back to another release")
        return record


@dataclass(frozen=True)
class Refused(ReleaseFolder):
    """A release that a gate refused: whole, but never current."""

    @property
    def facts(self) -> Path:
        """refused.json, with what release.json would have."""
        return self.root / "refused.json"


@dataclass(frozen=True)
class Staged(ReleaseFolder):
    """A release in the making; `work` holds what the run needs and the release does not."""

    work: Path
    parent: ReleaseFolder | None

    def take_over(self, folder: Path) -> None:
        """The files of another release's `folder`, under the same name in this one."""
        for file in folder.rglob("*"):
            if file.is_file():
                target = self.root / folder.name / file.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                link_or_copy(file, target)


@dataclass(frozen=True)
class Pointer:
    """The content of CURRENT: the release, since when, and until when others were."""

    release_id: str
    since: str
    earlier: tuple[dict[str, str], ...]  # {"release_id": …, "until": …}, the latest first

    @property
    def until(self) -> dict[str, datetime]:
        """When each earlier release was current last."""
        return {old["release_id"]: datetime.fromisoformat(old["until"]) for old in reversed(self.earlier)}
