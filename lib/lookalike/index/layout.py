"""Where the files of an index are, and the work files that a run derives from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class IndexLayout:
    """The paths of a shard's files: `index` is part of the release, `work` exists as long as the run.

    `with_duplicates` are the names of the shards that have a file of duplicate groups.
    """

    index: Path
    work: Path
    with_duplicates: frozenset[str] = frozenset()

    def annoy(self, name: str) -> Path:
        """The plain Annoy file."""
        return self.index / f"{name}.ann"

    def items(self, name: str) -> Path:
        """The item ids by position."""
        return self.index / f"{name}.items.parquet"

    def vectors(self, name: str) -> Path:
        """The unit vectors by position, float32 [n, d]."""
        return self.work / f"{name}.npy"

    def rows(self, name: str) -> Path:
        """The columns schemas.SEARCH_COLUMNS by position."""
        return self.work / f"{name}.rows.parquet"

    def of_shard(self, name: str) -> tuple[Path, ...]:
        """The four files that the task of a shard writes."""
        return self.annoy(name), self.items(name), self.vectors(name), self.rows(name)

    def duplicates(self, name: str) -> Path:
        """The duplicate groups: `groups` int64 [n], and `represents` bool [n, levels]."""
        return self.work / f"{name}.duplicates.npz"

    def listed_vectors(self, name: str) -> Path:
        """The vectors of the candidates in the order of their IVF lists, float32 [m, d]."""
        return self.work / f"{name}.listed.npy"

    def lists(self, name: str) -> Path:
        """The positions of these, `order` int64 [m], and where each list starts, `starts` int64 [lists + 1]."""
        return self.work / f"{name}.lists.npz"

    def centroids(self, name: str) -> Path:
        """The centroids of the group that has this shard as its first, float32 [lists, d]."""
        return self.work / f"{name}.centroids.npy"
