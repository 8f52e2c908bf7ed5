"""The index of one group, night after night, without Spark: tombstones, delta shards, compaction, and its lists."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lookalike import config
from lookalike.index import annoy as annoy_index
from lookalike.index.built import POSITION_BITS
from lookalike.index.centroids import nearest_list, train_centroids
from lookalike.index.items import write_items
from lookalike.index.layout import IndexLayout, shard_name
from lookalike.knn.blocks import pack_tasks
from lookalike.knn.neighbour_files import NeighbourFiles, PreviousFiles
from lookalike.knn.search_job import Mode, SearchJob, ShardSearch
from lookalike.knn.task import FoundPart, find_neighbours
from lookalike.warehouse.release import ReleaseFolder, Staged
from support import staging

Rows = dict[str, dict[str, Any]]  # by item_id: ids and scores of the whole list, what is published, and the flags


@dataclass
class Item:
    """One product of the group."""

    vector: np.ndarray
    variant: int
    eligible: bool = True


@dataclass
class Shard:
    """What a shard holds by position, and where each item was the night before."""

    ids: list[str]
    lists: np.ndarray
    vectors: np.ndarray
    deleted: np.ndarray
    origin: np.ndarray
    delta: bool


@dataclass
class NightlyIndex:
    """Nights of a group: what came goes into a delta shard with smaller ones, and a fifth of it is built again."""

    folder: Path
    settings: config.SimilarSettings
    lists: int = 1
    search: dict[str, Any] = field(default_factory=lambda: {"kind": "exact"})
    items: dict[str, Item] = field(default_factory=dict)
    compact_share: float = 0.2
    block_rows: int = 64
    night: int = 0
    shards: dict[int, Shard] = field(default_factory=dict)
    centroids: np.ndarray | None = None
    next_shard: int = 0
    rebuilt: bool = False

    def run(self, came: dict[str, Item], left: set[str] = frozenset(), mode: Mode | None = None) -> Rows:  # type: ignore[assignment]
        """Publish the items that came or changed and without those that left; return the lists."""
        changed = {*came, *left}
        places = {
            item: (number, position)
            for number, shard in self.shards.items()
            for position, item in enumerate(shard.ids)
            if not shard.deleted[position]
        }
        for item in changed & places.keys():
            number, position = places[item]
            self.shards[number].deleted[position] = True
        self.items = {item: one for item, one in {**self.items, **came}.items() if item not in left}
        self.night += 1
        dead = sum(int(shard.deleted.sum()) for shard in self.shards.values())
        deltas = sum(int((~shard.deleted).sum()) for shard in self.shards.values() if shard.delta)
        self.rebuilt = not self.shards or dead + deltas + len(came) > self.compact_share * len(self.items)
        built = self._rebuild() if self.rebuilt else self._add(sorted(came))
        return self._find(changed, built, mode or ("search" if self.rebuilt else "repair"))

    def _rebuild(self) -> list[int]:
        vectors = np.stack([one.vector for one in self.items.values()])
        if self.lists > 1:
            self.centroids = train_centroids(vectors, self.lists, 1)
        ids = self._in_order(list(self.items))
        self.shards = {}
        half = len(ids) // 2
        return [self._write(part, [-1] * len(part), delta=False) for part in (ids[:half], ids[half:]) if part]

    def _add(self, came: list[str]) -> list[int]:
        origin = dict.fromkeys(came, -1)
        for number, shard in sorted(self.shards.items(), reverse=True):
            if shard.delta and len(shard.ids) <= len(origin):
                live = np.flatnonzero(~shard.deleted).tolist()
                origin |= {shard.ids[at]: (number << POSITION_BITS) + at for at in live}
                del self.shards[number]
        ids = self._in_order(list(origin))
        return [self._write(ids, [origin[item] for item in ids], delta=True)] if ids else []

    def _lists_of(self, ids: list[str]) -> np.ndarray:
        if self.centroids is None or not ids:
            return np.zeros(len(ids), dtype=np.int32)
        return nearest_list(np.stack([self.items[item].vector for item in ids]), self.centroids).astype(np.int32)

    def _in_order(self, ids: list[str]) -> list[str]:
        return [item for _, item in sorted(zip(self._lists_of(ids).tolist(), ids, strict=True))]

    def _write(self, ids: list[str], origin: list[int], *, delta: bool) -> int:
        number, self.next_shard = self.next_shard, self.next_shard + 1
        vectors = np.stack([self.items[item].vector for item in ids])
        self.shards[number] = Shard(
            ids, self._lists_of(ids), vectors, np.zeros(len(ids), bool), np.array(origin), delta
        )
        return number

    def release(self, night: int) -> ReleaseFolder:
        """Return the release of a night."""
        return ReleaseFolder(self.folder / "releases" / f"release-{night}")

    def _files(self) -> NeighbourFiles:
        """The table of tonight, and the files of the night before."""
        parent = self.release(self.night - 1) if self.night > 1 else None
        staged = staging.stage(self.folder, f"release-{self.night}", parent)
        staged.index.mkdir()
        if parent is None:
            return NeighbourFiles(staged)
        known = {file.name: file for file in staging.files_of(parent)}
        return NeighbourFiles(staged, PreviousFiles(staging.paths_by_part(parent)["neighbours"], known))

    def _find(self, changed: set[str], built: list[int], mode: Mode) -> Rows:
        files, some = self._files(), next(iter(self.shards.values()))
        layout = replace(IndexLayout.of(files.staged), dimensions=some.vectors.shape[1])
        names = tuple(shard_name(number) for number in sorted(self.shards, key=lambda one: self.shards[one].delta))
        if self.centroids is not None:
            np.save(layout.centroids(names[0]), self.centroids)
        for number, shard in self.shards.items():
            self._write_files(layout, number, shard, number in built)
        rebuilt = tuple(shard_name(number) for number in built) if mode == "repair" else ()
        how = ShardSearch(**self.search, shards=names, mode=mode, rebuilt=rebuilt)
        ids = np.sort(np.array([item.encode() for item in changed], dtype=np.bytes_))
        job = SearchJob(layout, self.settings, dict.fromkeys(self.shards, how), (), files, ids)
        sizes = [(number, len(shard.ids)) for number, shard in self.shards.items()]
        found = [part for task in pack_tasks([sizes], self.block_rows, 1) for part in find_neighbours(task, job)]
        return rows_of(found, files.staged, {number: shard.ids for number, shard in self.shards.items()})

    def _write_files(self, layout: IndexLayout, number: int, shard: Shard, built: bool) -> None:
        name, items = shard_name(number), [self.items.get(item, Item(np.empty(0), 0, False)) for item in shard.ids]
        columns = {
            "item_id": pa.array(shard.ids, pa.string()),
            "list": pa.array(shard.lists),
            "deleted": pa.array(shard.deleted),
            "eligible": pa.array([item.eligible for item in items]),
            "variant_group": pa.array([item.variant for item in items], pa.int64()),
            "group_codes": pa.array([[7]] * len(items), pa.list_(pa.int64())),
        }
        write_items(layout.items(name), pa.table(columns))
        if built:
            annoy_index.build(layout.annoy(name), shard.vectors, trees=1, seed=1)
            np.save(layout.origin(name), shard.origin)
        else:
            os.link(self.release(self.night - 1).index / layout.annoy(name).name, layout.annoy(name))


def rows_of(parts: list[FoundPart], staged: Staged, ids: dict[int, list[str]]) -> Rows:
    """The lists of all items: what the tasks returned and what they wrote; `ids` are those of shards by position."""
    found: Rows = {}
    staged.add(file for part in parts for file in part.files)
    staged.check_there("neighbours")
    for path in staged.paths("neighbours"):
        number = int(path.name.split("-")[1])
        for row in pq.read_table(path).to_pylist():
            assert ids[number][row["position"]] == row["item_id"]
            row["neighbour_ids"] = [
                ids[place >> POSITION_BITS][place % (1 << POSITION_BITS)] for place in row["neighbours"]
            ]
            assert row["item_id"] not in found
            found[row["item_id"]] = row
    published = [row for part in parts for row in part.rows.to_pylist()]
    assert len(published) == len({row["item_id"] for row in published}) == len(found)
    for row in published:
        found[row["item_id"]] |= {"published": row["similar_item_ids"], "published_scores": row["scores"]}
    return found
