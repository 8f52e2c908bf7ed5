"""Where the items of a release are in its index: their vectors and cosines, by their rows in the order of the ids."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.index import manifest
from lookalike.serving.release_index import ReleaseIndex
from lookalike.serving.shard import SearchableShard
from lookalike.topk.exact import score_query
from lookalike.topk.items import Vectors

Rows = NDArray[np.int64]
Groups = set[str | None]  # values of similar.group_by


class ItemPlaces:
    """The places of the items of these ids; a shard is opened, and its ids are looked up, when it is first needed."""

    def __init__(self, index: ReleaseIndex, ids: pa.Array) -> None:
        self._index = index
        self._ids = ids
        self._rows: dict[str, Rows] = {}  # of each shard by position; one beyond the last for what is not live

    def score(self, query: Vectors, rows: Rows, groups: Groups) -> Vectors:
        """Return the cosine of a query, float32 [d], with each of these items of some groups; NaN where it has none."""
        scores = np.full(len(rows), np.nan, np.float32)
        for shard, positions, at in self._found(rows, groups):
            scores[at] = score_query(query, shard.vectors, positions)
        return scores

    def vectors(self, rows: Rows, groups: Groups) -> Vectors | None:
        """Return the embeddings of a few items, float32 [n, d]; None where the index lacks one."""
        parts = [(shard.vectors[positions], at) for shard, positions, at in self._found(rows, groups)]
        if sum(len(at) for _, at in parts) < len(rows):
            return None
        order = np.argsort(np.concatenate([at for _, at in parts]))
        found: Vectors = np.concatenate([vectors for vectors, _ in parts])[order]
        return found

    def _found(self, rows: Rows, groups: Groups) -> Iterator[tuple[SearchableShard, Rows, Rows]]:
        """Yield each shard that holds some of these items, their positions in it, and which of `rows` they are."""
        wanted, left = np.full(len(self._ids) + 1, -1), len(rows)
        wanted[rows] = np.arange(len(rows))
        for shards in self._index.shards_by_groups(groups):
            if left:
                self._look_up(shards)
            for shard in shards if left else ():
                at = wanted[self._rows[shard.file]]
                positions = np.flatnonzero(at >= 0)
                if len(positions):
                    yield self._index.open(shard), positions, at[positions]
                left -= len(positions)

    def _look_up(self, shards: list[manifest.ManifestShard]) -> None:
        """Find the rows of the items of several shards at once: the ids are hashed for each time."""
        new = [(shard.file, self._index.open(shard)) for shard in shards if shard.file not in self._rows]
        if not new:
            return
        ids = pa.chunked_array([pa.array(opened.ids, pa.string()) for _, opened in new], pa.string())
        found = pc.fill_null(pc.index_in(ids, self._ids), len(self._ids)).to_numpy()
        ends = np.cumsum([len(opened.ids) for _, opened in new])
        for (file, opened), rows in zip(new, np.split(found, ends[:-1]), strict=True):
            self._rows[file] = np.where(opened.live, rows, len(self._ids)).astype(np.int64)
