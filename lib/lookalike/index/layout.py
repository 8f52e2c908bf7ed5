"""Where the files of an index, and those that a run derives from it, are. No Spark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class IndexLayout:
    """Where a shard's files go: `index` is part of the release, `work` lives as long as the run."""

    index: Path
    work: Path

    def annoy(self, name: str) -> Path:
        """The plain Annoy file."""
        return self.index / f"{name}.ann"

    def items(self, name: str) -> Path:
        """Its item ids by position."""
        return self.index / f"{name}.items.parquet"

    def vectors(self, name: str) -> Path:
        """Its unit vectors by position, float32 [n, d]."""
        return self.work / f"{name}.npy"

    def rows(self, name: str) -> Path:
        """The columns of rules.py by position, and in a refresh the lists that the items had."""
        return self.work / f"{name}.rows.parquet"

    def twins(self, name: str) -> Path:
        """Of a shard with duplicates: `twins` int64 [n], and `represents` bool [n, levels]."""
        return self.work / f"{name}.twins.npz"

    def listed(self, name: str) -> Path:
        """Candidates in the order of a partition's lists, float32 [m, d]."""
        return self.work / f"{name}.listed.npy"

    def lists(self, name: str) -> Path:
        """Which candidates those are, `order` int64 [m], and where each list starts, `starts` int64 [lists + 1]."""
        return self.work / f"{name}.lists.npz"

    def centroids(self, name: str) -> Path:
        """Of the group whose first shard this is, float32 [lists, d]."""
        return self.work / f"{name}.centroids.npy"
