"""Where the files of an index are, and the work files that a run derives from it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from lookalike.warehouse.release import Staged
from lookalike.warehouse.shared_files import ON_DISK, SharedFiles

# The second version of the items of a shard.
DUPLICATES: Final = "duplicates"

_NUMBER = re.compile(r"^shard-(\d+)")


def shard_name(number: int) -> str:
    """Return the stem of a shard's files."""
    return f"shard-{number:05d}"


def shard_number(name: str) -> int:
    """Return the number in the name of a shard or of one of its files."""
    found = _NUMBER.match(name)
    assert found  # the manifest has no other names
    return int(found[1])


@dataclass(frozen=True)
class IndexLayout:
    """The paths of a shard's files: `index` is part of the release, `work` exists as long as the run.

    A task fetches what it reads, by `shared`; of the Annoy files and centroids, those that are `in_before` from the
    index `before`, which has the same. `dimensions` are those of all vectors, once they are known: an Annoy file does
    not say them. `items_version` is DUPLICATES after the duplicates were written into the items.
    """

    index: Path
    work: Path
    dimensions: int = 0
    shared: SharedFiles = ON_DISK
    before: Path | None = None
    in_before: frozenset[str] = frozenset()
    items_version: str = ""

    @classmethod
    def of(cls, staged: Staged) -> IndexLayout:
        """Return the paths of the release in the making."""
        layout = cls(staged.index, staged.work, shared=staged.shared)
        if staged.parent is None:
            return layout
        # The items of a shard may be written once more, with the duplicates.
        paths = (path for path in staged.paths("index") if path.suffix != ".parquet" and path.parent != staged.index)
        return replace(layout, before=staged.parent.index, in_before=frozenset(path.name for path in paths))

    def annoy(self, name: str) -> Path:
        """The plain Annoy file, which holds the unit vectors by position."""
        return self._path(f"{name}.ann")

    def items(self, name: str) -> Path:
        """The items by position, see `items.ITEMS`."""
        return self.index / f"{name}.items.parquet"

    def fetch_items(self, name: str) -> Path:
        """Return where this machine has the items of a shard."""
        return self.shared.fetch(self.items(name), self.items_version)

    def centroids(self, name: str) -> Path:
        """The centroids of the group that has this shard as its first, float32 [lists, d]; only with several lists."""
        return self._path(f"{name}.centroids.npy")

    def origin(self, name: str) -> Path:
        """The place of each item in the previous index, int64 [n], -1 for what came; of shards that this run built."""
        return self.work / f"{name}.origin.npy"

    def _path(self, file: str) -> Path:
        return (self.before if self.before and file in self.in_before else self.index) / file
