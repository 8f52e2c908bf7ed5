"""The files of one shard, written inside a task."""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookalike.index import annoy as annoy_index
from lookalike.index import manifest
from lookalike.index.annoy import ShardFile
from lookalike.index.items import write_items
from lookalike.index.layout import IndexLayout
from lookalike.index.vectors import VectorFiles

_ITEM_COLUMNS = ("item_id", "list", "eligible", "variant_group", "group_codes")


@dataclass(frozen=True)
class WrittenShard:
    """The Annoy file that was written for a shard, a digest of its ids, and how many of them may be recommended."""

    file: ShardFile
    ids_sha256: str
    candidates: int


@dataclass(frozen=True)
class ShardBuilder:
    """Builds shards inside a task; in a refresh it also writes where each item was in the index before."""

    layout: IndexLayout
    vectors: VectorFiles
    trees: int
    seed: int
    with_origin: bool

    def write(self, name: str, rows: pa.Table) -> WrittenShard:
        """Write the shard's files, each complete or not at all: a task may run twice, and at the same time.

        `rows` are item_id, list, the constraints, origin, and `source` and `row` of the vector.
        """
        rows = rows.take(pc.sort_indices(rows, [("list", "ascending"), ("item_id", "ascending")]))
        vectors = self.vectors.gather(rows["source"], rows["row"].to_numpy())
        attempt = self.layout.work / f"{name}.{secrets.token_hex(4)}"
        attempt.mkdir()
        file = annoy_index.build(attempt / "annoy", vectors, self.trees, self.seed)
        if self.with_origin:
            with (attempt / "origin").open("wb") as origin:
                np.save(origin, rows["origin"].to_numpy())
            os.replace(attempt / "origin", self.layout.origin(name))
        os.replace(attempt / "annoy", self.layout.annoy(name))
        write_items(self.layout.items(name), rows.select(_ITEM_COLUMNS))
        shutil.rmtree(attempt)
        digest = manifest.ids_digest(rows["item_id"].to_pylist())
        return WrittenShard(file, digest, pc.sum(rows["eligible"]).as_py())
