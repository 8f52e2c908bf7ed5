"""Where the files of an index are, and the work files that a run derives from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

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

    `dimensions` are those of all vectors, once they are known: an Annoy file does not say them.
    """

    index: Path
    work: Path
    dimensions: int = 0

    def annoy(self, name: str) -> Path:
        """The plain Annoy file, which holds the unit vectors by position."""
        return self.index / f"{name}.ann"

    def items(self, name: str) -> Path:
        """The items by position, see `items.ITEMS`."""
        return self.index / f"{name}.items.parquet"

    def centroids(self, name: str) -> Path:
        """The centroids of the group that has this shard as its first, float32 [lists, d]; only with several lists."""
        return self.index / f"{name}.centroids.npy"

    def origin(self, name: str) -> Path:
        """The place of each item in the previous index, int64 [n], -1 for what came; of shards that this run built."""
        return self.work / f"{name}.origin.npy"
