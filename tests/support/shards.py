"""The files of a group of shards, as the index step writes them, without Spark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from lookalike.index import annoy as annoy_index
from lookalike.index.annoy import GoldenQuery
from lookalike.index.centroids import nearest_list
from lookalike.index.items import write_items
from lookalike.index.layout import IndexLayout, shard_name
from lookalike.index.manifest import ManifestShard
from lookalike.knn.candidates import CandidateSet
from lookalike.topk.items import ItemVectors, concatenate_items


def listed_shard(
    number: int, items: int, group: str | None = None, *, delta: bool = False, **more: int
) -> ManifestShard:
    """What a manifest says of a shard without a file: all its items are live, unless told otherwise."""
    name = shard_name(number)
    return ManifestShard(
        file=f"{name}.ann",
        items_file=f"{name}.items.parquet",
        group=group,
        delta=delta,
        **{"items": items, "live": items, "candidates": items, **more},
        bytes=1,
        sha256="",
        ids_sha256="",
        golden=GoldenQuery(0, (), ()),
    )


@dataclass(frozen=True)
class Group:
    """Items of a group: vectors [n, d], and the columns that the search reads; every second item is in shard 1."""

    vectors: np.ndarray
    variants: np.ndarray
    eligible: np.ndarray
    codes: np.ndarray  # [n, levels]
    deleted: np.ndarray
    centroids: np.ndarray | None = None

    @classmethod
    def of(cls, vectors: np.ndarray, **columns: np.ndarray) -> Group:
        """Items without variants, all eligible, of one value of group_by; columns are replaced by name."""
        rows = np.arange(len(vectors))
        none = np.zeros(len(rows), dtype=bool)
        return replace(cls(vectors, rows, ~none, np.full((len(rows), 1), 7), none), **columns)

    def write(self, folder: Path, shards: int = 2, first: int = 0) -> CandidateSet:
        """Write the shards, numbered from `first` on, into the folders of a run."""
        layout = IndexLayout(folder / "index", folder / "work", self.vectors.shape[1])
        layout.index.mkdir(exist_ok=True)
        layout.work.mkdir(exist_ok=True)
        names = tuple(shard_name(first + shard) for shard in range(shards))
        if self.centroids is not None:
            np.save(layout.centroids(names[0]), self.centroids)
        for shard, name in enumerate(names):
            rows = np.arange(len(self.vectors))[shard::shards]
            self._write_shard(layout, name, rows, [f"item-{first}-{row:05d}" for row in rows])
        return CandidateSet(layout, names, 300, distinct=len(np.unique(self.variants)) < len(self.variants))

    def _write_shard(self, layout: IndexLayout, name: str, rows: np.ndarray, ids: list[str]) -> None:
        lists = np.zeros(len(rows), dtype=np.int64)
        if self.centroids is not None:
            lists = nearest_list(self.vectors[rows], self.centroids)
        order = np.lexsort((ids, lists))
        rows = rows[order]
        columns = {
            "item_id": pa.array(np.array(ids)[order].tolist(), pa.string()),
            "list": pa.array(lists[order], pa.int32()),
            "deleted": pa.array(self.deleted[rows]),
            "eligible": pa.array(self.eligible[rows]),
            "variant_group": pa.array(self.variants[rows], pa.int64()),
            "group_codes": pa.array(self.codes[rows].tolist(), pa.list_(pa.int64())),
        }
        write_items(layout.items(name), pa.table(columns))
        annoy_index.build(layout.annoy(name), self.vectors[rows], trees=4, seed=1)


def all_items(candidates: CandidateSet) -> ItemVectors:
    """The items of all shards, one shard after the other, with ranks for ids."""
    return concatenate_items([shard.items for shard in candidates.group.shards])


def names_of(candidates: CandidateSet, ranks: np.ndarray) -> list[str]:
    """The item ids of ranks."""
    return [item.decode() for item in candidates.group.ids[ranks].tolist()]


def crowd(items: int, seed: int = 1) -> np.ndarray:
    """Unit vectors around a few dozen centres, so that the lists of an inverted file have something to hold."""
    rng = np.random.default_rng(seed)
    centres = np.abs(rng.normal(size=(40, 24)))
    found = centres[rng.integers(0, 40, items)] + 0.15 * rng.normal(size=(items, 24))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def numbers(ids: Sequence[bytes]) -> list[int]:
    """The rows that ids name."""
    return [int(item[-5:]) for item in ids]
