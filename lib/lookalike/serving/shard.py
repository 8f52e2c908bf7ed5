"""Search one shard of a release: it is verified when it is opened; scores are exact, and their order total."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from annoy import AnnoyIndex
from numpy.typing import NDArray

from lookalike.errors import ShardError
from lookalike.index import annoy as annoy_index
from lookalike.index import manifest
from lookalike.topk.exact import SCORE_NOISE, score_query
from lookalike.topk.items import Vectors


class Neighbour(NamedTuple):
    """A similar item, and the cosine of its embedding to the one asked for, -1 to 1."""

    item_id: str
    score: float


def order(neighbour: Neighbour) -> tuple[float, str]:
    """Return what neighbours are sorted by: the score, the best first; equal scores by item id."""
    return -neighbour.score, neighbour.item_id


@dataclass(frozen=True)
class SearchableShard:
    """A shard that was verified; `index` is None where Annoy would look at every item anyway."""

    vectors: Vectors  # [n, d], memory-mapped
    ids: list[str]  # by position
    live: NDArray[np.bool_]  # [n]; a tombstone is not
    eligible: NDArray[np.bool_]  # [n]; neither a tombstone nor a vector that is not finite is
    index: AnnoyIndex | None

    @classmethod
    def of(cls, folder: Path, listed: manifest.Manifest, shard: manifest.ManifestShard) -> SearchableShard:
        """Open a shard of the index in `folder` and verify it; raise ShardError unless it is as the manifest says."""
        path, expected = folder / shard.file, listed.file(shard)
        ids, eligible, live = _items(folder / shard.items_file, shard)
        try:
            index: AnnoyIndex | None = annoy_index.load(path, expected)
            vectors = annoy_index.stored_vectors(path, expected)
        except OSError as error:
            raise ShardError(f"{path} cannot be read ({error}); repair that, or roll back to another release") from None
        with np.errstate(invalid="ignore"):
            finite = np.isfinite(vectors.sum(axis=1))  # of unit vectors: no sum overflows
        # One leaf holds them all, and the scan below costs the same. With thousands of small groups, an open file for
        # each would pass the usual limit of 1,024.
        if shard.items <= expected.dimensions + 2:
            index = None
        return cls(vectors, ids, live, eligible & live & finite, index)

    def nearest(self, query: Vectors, k: int, search_k: int) -> list[Neighbour]:
        """Return the k best eligible items for `query`, float32 [d] of unit length, best first; with ties, more.

        There are k where the shard has as many: where Annoy finds too few candidates, every item is looked at, and so
        it is where the k-th ties with the next, as with copies of one picture: Annoy may not have looked at the item of
        the smallest id.
        """
        positions, rough = self._candidates(query, search_k)
        if len(positions) < min(k, int(self.eligible.sum())):
            return self._best(query, *self._all(query), k)
        found = self._best(query, positions, rough, k)
        tied = len(found) > k and found[k - 1].score == found[k].score
        return self._best(query, *self._all(query), k) if tied and self.index is not None else found

    def _best(self, query: Vectors, positions: NDArray[np.int64], rough: Vectors, k: int) -> list[Neighbour]:
        """Return the k best of these positions by their exact scores, and those that noise puts near to them."""
        wanted = min(k, len(positions))
        if not wanted:
            return []
        edge = np.partition(rough, len(rough) - wanted)[-wanted] - SCORE_NOISE
        near = positions[rough >= edge]
        found = zip(near, score_query(query, self.vectors, near), strict=True)
        return sorted((Neighbour(self.ids[position], float(score)) for position, score in found), key=order)

    def _candidates(self, query: Vectors, search_k: int) -> tuple[NDArray[np.int64], Vectors]:
        """Return the positions of eligible items that Annoy looks at, and their approximate scores."""
        if self.index is None:
            return self._all(query)
        # Annoy returns all that it looks at, so that items which are not eligible cost no second search.
        found, distances = self.index.get_nns_by_vector(query.tolist(), search_k, search_k, include_distances=True)
        positions = np.array(found, dtype=np.int64)
        rough = (1 - np.square(distances) / 2).astype(np.float32)
        chosen = self.eligible[positions]
        return positions[chosen], rough[chosen]

    def _all(self, query: Vectors) -> tuple[NDArray[np.int64], Vectors]:
        """Return the positions of all eligible items, and their approximate scores."""
        positions = np.flatnonzero(self.eligible)
        with np.errstate(invalid="ignore"):
            rough = self.vectors @ query
        return positions, rough[positions]


def _items(path: Path, shard: manifest.ManifestShard) -> tuple[list[str], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return item ids by position, which may be recommended, and which are no tombstones.

    Before manifest 2 there are no tombstones, and all items are eligible where there is no such column.
    """
    if not path.is_file():
        raise ShardError(f"{path}: no such file; the release is incomplete, roll back to another")
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        positions, ids = table["position"].to_numpy(), table["item_id"].to_pylist()
        eligible, deleted = _flags(table, "eligible", missing=True), _flags(table, "deleted", missing=False)
        if None in ids or not np.array_equal(positions, np.arange(len(ids))):
            raise ValueError("its columns are not those of a list of items")
        digest = manifest.ids_digest(ids)
    except (OSError, KeyError, TypeError, ValueError) as error:  # pyarrow's own errors are among them
        reason = " ".join(str(error).split())
        raise ShardError(f"{path} is damaged ({reason}); restore it from a copy, or roll back") from None
    if len(ids) != shard.items:
        raise ShardError(
            f"{path}: lists {len(ids):,} items, the manifest says {shard.items:,}; restore the index from a copy"
        )
    if digest != shard.ids_sha256:
        raise ShardError(f"{path}: the ids do not match the manifest's ids_sha256; restore it from a copy")
    return ids, eligible, ~deleted


def _flags(table: pa.Table, name: str, *, missing: bool) -> NDArray[np.bool_]:
    """A column of booleans; `missing` everywhere, where the table has none."""
    if name not in table.column_names:
        return np.full(len(table), missing)
    column = table[name]
    if column.type != pa.bool_() or column.null_count:
        raise ValueError("its columns are not those of a list of items")
    found: NDArray[np.bool_] = column.to_numpy()
    return found
