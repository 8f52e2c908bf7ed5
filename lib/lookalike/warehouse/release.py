"""The folder of one release and the names in it.

    <warehouse>/releases/<release_id>/   embeddings, failures, index, neighbours, similar_items,
                                         changes, duplicates, report.html, files.json, release.json

`release.json` is written last: a folder without it is not a release.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lookalike.errors import CountError, WarehouseError
from lookalike.storage import json_file
from lookalike.warehouse import release_files
from lookalike.warehouse.record import ReleaseRecord
from lookalike.warehouse.release_files import ReleaseFiles, StoredFile
from lookalike.warehouse.shared_files import ON_DISK, SharedFiles
from lookalike.warehouse.stored import parse


@dataclass(frozen=True)
class ReleaseFolder:
    """The folder of one release and the names in it."""

    root: Path
    shared: SharedFiles = field(default=ON_DISK, kw_only=True, compare=False, repr=False)

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
    def changes(self) -> Path:
        """The table of what changed since the release before; no release of version 0.5.0 or an older one has it."""
        return self.root / "changes"

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
        data = self._fetched(path)
        if hashlib.sha256(data).hexdigest() != known.sha256 and self.shared.in_store:
            self.shared.here(path).unlink(missing_ok=True)  # it may be this machine's copy alone that is damaged
            data = self._fetched(path)
        if hashlib.sha256(data).hexdigest() != known.sha256:
            raise WarehouseError(f"{path} is damaged (release.json knows another content); {_ADVICE}")
        return parse(ReleaseFiles, data, path, _ADVICE)

    def _fetched(self, path: Path) -> bytes:
        try:
            return _read(self.shared.fetch(path))
        except OSError as error:
            raise WarehouseError(f"{path} cannot be read ({error}); {_ADVICE}") from None

    def outer_problem(self, *parts: str) -> str | None:
        """Return what is wrong with the release's files, or those of some parts, as names, sizes and footers tell.

        No file is read as a whole, and of a store none at all. Raises WarehouseError when release.json or files.json is
        damaged.
        """
        listed = self.files()
        if listed is None:
            there = {path.relative_to(self.root).parts[0] for path in self.shared.sizes(self.root)}
            return next((f"{part}: it is gone" for part in parts or _TABLES if part not in there), None)
        needed = listed.needed(*parts)
        if self.shared.in_store:
            sizes = self.shared.sizes(self.root)
            problems = ((file.name, file.size_problem(sizes.get(self.root / file.name))) for file in needed)
        else:
            problems = ((file.name, file.outer_problem(self.root)) for file in needed)
        return next((f"{name}: {problem}" for name, problem in problems if problem is not None), None)


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

    written: dict[str, StoredFile] = field(default_factory=dict, kw_only=True, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what only the driver knows: tasks report what they write."""
        state = {name: value for name, value in self.__dict__.items() if name != "inherited"}
        return {**state, "written": {}}

    # ---- in a task

    def save(self, path: Path, version: str = "") -> StoredFile:
        """Keep a file that this machine has made at `shared.here(path)`; return what files.json will say of it."""
        found = saved(self.shared, self.root, path, version)
        self.shared.keep_copy(path, found.sha256)
        return found

    def link(self, name: str, expected: StoredFile | None) -> StoredFile:
        """Give a file of the parent a name in this release; return what files.json will say of it.

        `expected` is what it says of the parent's. Raises WarehouseError when the new file is another.
        """
        assert self.parent is not None
        source, target = self.parent.root / name, self.root / name
        self.shared.link(source, target)
        if expected is not None and (self.shared.in_store or source.samefile(target)):
            return expected
        self.shared.fetch(target)
        found = StoredFile.of(self.shared.here(self.root), name)
        if expected is not None and found != expected:
            raise WarehouseError(f"{target} was damaged while it was linked; run again")
        return found

    # ---- on the driver

    @cached_property
    def inherited(self) -> dict[str, StoredFile]:
        """What files.json of the parent says, by name; nothing of a release of a version before 0.3.0."""
        listed = self.parent.files() if self.parent else None
        return {file.name: file for file in listed.files} if listed else {}

    def add(self, files: Iterable[StoredFile]) -> None:
        """Take files into the release: what tasks have saved or linked."""
        self.written.update((file.name, file) for file in files)

    def part(self, name: str) -> list[StoredFile]:
        """Return the files of a table or of the index, by name."""
        return [self.written[one] for one in sorted(self.written) if self.written[one].part == name]

    def paths(self, part: str) -> list[Path]:
        """Return from where to read the files of a table or of the index."""
        return [self.path_of(file.name) for file in self.part(part)]

    def path_of(self, name: str) -> Path:
        """Return from where to read a file: of a store from the parent, where it has the same; machines have copies."""
        is_parents = self.parent and self.shared.in_store and self.written.get(name) == self.inherited.get(name, "")
        return (self.parent.root if self.parent and is_parents else self.root) / name

    def rows(self, part: str) -> int:
        """Return how many rows the files of a table hold."""
        return sum(file.rows or 0 for file in self.part(part))

    def check_there(self, *parts: str) -> None:
        """Raise CountError unless the files of these parts, and no others, are where all machines look for them."""
        for part in parts:
            check_there(self.shared, self.root, part, self.part(part))


def saved(shared: SharedFiles, root: Path, path: Path, version: str = "") -> StoredFile:
    """Save a file that this machine has made; return what it is, with its name below `root`."""
    shared.save(path, version)  # first: it may bring what another try of the task has saved
    return StoredFile.of(shared.here(root), path.relative_to(root).as_posix())


def check_there(shared: SharedFiles, root: Path, part: str, files: Iterable[StoredFile], *, alone: bool = True) -> None:
    """Raise CountError unless these files are in the folder `part` of `root`, with the bytes that were written.

    Where they must be `alone`, no other file may be there. The driver lists them: it sees whether what a task has saved
    is there for all.
    """
    expected = {root / file.name: file.bytes for file in files}
    there = shared.sizes(root / part)
    asked = expected.keys() | there.keys() if alone else expected.keys()
    wrong = sorted(path for path in asked if expected.get(path) != there.get(path))
    if wrong:
        first = wrong[0]
        what = "was not written by this run" if first not in expected else "is not there as it was written"
        raise CountError(
            f"{len(wrong):,} of {len(expected):,} files in {root / part} are not those that the run wrote: {first} "
            f"{what}; every worker must see this folder: check the mounts and the disk, and run again"
        )
