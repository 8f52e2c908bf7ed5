"""The files of a group of shards, as the index step writes them, without Spark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.index import annoy as annoy_index
from lookalike.index.layout import IndexLayout
from lookalike.knn.candidates import CandidateSet, open_shard
from lookalike.topk.items import ItemVectors, concatenate_items


@dataclass(frozen=True)
class Group:
    """Items of a group: vectors [n, d], and the columns that the search reads; every second item is in shard 1."""

    vectors: np.ndarray
    variants: np.ndarray
    eligible: np.ndarray
    codes: np.ndarray  # [n, levels]

    @classmethod
    def of(cls, vectors: np.ndarray, **columns: np.ndarray) -> Group:
        """Items without variants, all eligible, of one value of group_by; columns are replaced by name."""
        rows = np.arange(len(vectors))
        group = cls(vectors, rows, np.ones(len(rows), dtype=bool), np.full((len(rows), 1), 7))
        return replace(group, **columns)

    def write(self, folder: Path, shards: int = 2, first: int = 0) -> CandidateSet:
        """Write the shards, numbered from `first` on, into the folders of a run."""
        layout = IndexLayout(folder / "index", folder / "work")
        layout.index.mkdir(exist_ok=True)
        layout.work.mkdir(exist_ok=True)
        names = tuple(f"shard-{first + shard:05d}" for shard in range(shards))
        for shard, name in enumerate(names):
            rows = np.arange(len(self.vectors))[shard::shards]
            pq.write_table(pa.table({"item_id": [f"item-{first}-{row:05d}" for row in rows]}), layout.items(name))
            pq.write_table(pa.table(self._columns(rows)), layout.rows(name))
            np.save(layout.vectors(name), self.vectors[rows])
            annoy_index.build(layout.annoy(name), self.vectors[rows], trees=4, seed=1)
        return CandidateSet(layout, names, 300, distinct=len(np.unique(self.variants)) < len(self.variants))

    def _columns(self, rows: np.ndarray) -> dict[str, object]:
        return {
            "search_variant_group": self.variants[rows],
            "search_eligible": self.eligible[rows],
            "search_group_codes": self.codes[rows].tolist(),
        }


def all_items(candidates: CandidateSet) -> ItemVectors:
    """The items of all shards, one shard after the other."""
    return concatenate_items([open_shard(candidates.layout, name).items for name in candidates.shards])


def crowd(items: int, seed: int = 1) -> np.ndarray:
    """Unit vectors around a few dozen centres, so that the lists of an inverted file have something to hold."""
    rng = np.random.default_rng(seed)
    centres = np.abs(rng.normal(size=(40, 24)))
    found = centres[rng.integers(0, 40, items)] + 0.15 * rng.normal(size=(items, 24))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def numbers(ids: Sequence[bytes]) -> list[int]:
    """The rows that ids name."""
    return [int(item[-5:]) for item in ids]
