"""The index of a release: its manifest, and its shards, each opened and verified when it is first needed."""

from __future__ import annotations

import difflib

from lookalike.errors import QueryError
from lookalike.index import manifest
from lookalike.serving import tables
from lookalike.serving.lazy import lazy
from lookalike.serving.questions import ALL_GROUPS, AllGroups
from lookalike.serving.shard import SearchableShard
from lookalike.warehouse.release import ReleaseFolder
from lookalike.warehouse.release_files import ReleaseFiles


class ReleaseIndex:
    """The shards of a release's index, by group. Threads may share it."""

    def __init__(self, release: ReleaseFolder) -> None:
        self._release = release
        self._shards: dict[str, SearchableShard] = {}

    @property
    def dimensions(self) -> int | None:
        """How many numbers a vector has; None where there is none."""
        return self._manifest.dimensions

    def shards(self, group: str | AllGroups | None) -> list[SearchableShard]:
        """Return the shards of a group, or all; raise QueryError for a group that is not there."""
        return [self.open(shard) for shard in self._of_group(group)]

    def shards_by_groups(self, groups: set[str | None]) -> tuple[list[manifest.ManifestShard], ...]:
        """Return the shards of some groups, and the others, as the manifest lists them."""
        shards = self._manifest.shards
        ours = [shard for shard in shards if shard.group in groups]
        return ours, [shard for shard in shards if shard.group not in groups]

    @lazy
    def _manifest(self) -> manifest.Manifest:
        tables.need_whole(self._release.index / manifest.NAME, self._listed)
        return manifest.read(self._release.index)

    @lazy
    def _listed(self) -> ReleaseFiles | None:
        return self._release.files()

    def open(self, shard: manifest.ManifestShard) -> SearchableShard:
        """Return a shard of the manifest, verified when it is first needed; raise ShardError, WarehouseError."""
        # Two threads may both verify a shard: either result is good.
        if shard.file not in self._shards:
            tables.need_whole(self._release.index / shard.items_file, self._listed)
            self._shards[shard.file] = SearchableShard.of(self._release.index, self._manifest, shard)
        return self._shards[shard.file]

    def _of_group(self, group: str | AllGroups | None) -> list[manifest.ManifestShard]:
        shards = self._manifest.shards
        found = [shard for shard in shards if group is ALL_GROUPS or shard.group == group]
        if found or not shards:
            return found
        if self._manifest.group_by is None:
            raise QueryError(f"group {group!r}: the release has no groups; leave it out, or set similar.group_by")
        if group is None:
            raise QueryError(
                f"group None: every item has a {self._manifest.group_by}; leave group out to ask all groups"
            )
        known = sorted({shard.group for shard in shards if shard.group is not None})
        near = difflib.get_close_matches(str(group), known, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are {len(known):,}, such as {known[:3]}"
        raise QueryError(f"group {group!r}: no item's {self._manifest.group_by} is that{hint}")
