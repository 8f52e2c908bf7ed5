"""The search in a group's Annoy shards: what Annoy finds, scored again exactly."""

from __future__ import annotations

import numpy as np
from annoy import AnnoyIndex
from numpy.typing import NDArray

from lookalike.index import annoy as annoy_index
from lookalike.index.layout import IndexLayout
from lookalike.knn.candidates import CandidateSet, ShardItems
from lookalike.topk import exact
from lookalike.topk.items import ItemVectors, Vectors
from lookalike.topk.table import FoundTopK, TopK, empty_top_k, merge_top_k


def search(queries: ItemVectors, candidates: CandidateSet, search_k: int, k: int) -> FoundTopK:
    """Return the k best of what Annoy finds in each shard of the group, only the best of each group [n, k]."""
    width = exact.candidates_to_keep(k, distinct=candidates.distinct)
    best = empty_top_k(len(queries), k, queries.ids)
    left_out = np.full(len(queries), -np.inf, dtype=np.float32)
    for name, shard in zip(candidates.shards, candidates.group.shards, strict=True):
        index = open_annoy(candidates.layout, name)
        positions = np.full((len(queries), width), -1, dtype=np.int64)
        may_be_listed = shard.may_be_listed(0)
        for row, vector in enumerate(queries.vectors):  # Annoy takes queries one by one
            answer, distances = index.get_nns_by_vector(vector.tolist(), width, search_k, include_distances=True)
            if len(answer) == width:  # it may have seen more
                left_out[row] = max(left_out[row], 1 - distances[-1] ** 2 / 2)
            found = np.array(answer, dtype=np.int64)
            found = found[may_be_listed[found]]
            positions[row, : len(found)] = found
        best = merge_top_k(best, _score_positions(queries, shard, positions, k), distinct=candidates.distinct)
    return FoundTopK(best, left_out)


def _score_positions(queries: ItemVectors, shard: ShardItems, positions: NDArray[np.int64], k: int) -> TopK:
    """Return the k best of each query's candidates `positions` [n, w], -1 for none, scored pair by pair."""
    own = (queries.variant_groups[:, None] == shard.items.variant_groups[positions]) | (
        queries.duplicate_groups[:, None] == shard.items.duplicate_groups[positions]
    )
    rough: Vectors = np.where((positions < 0) | own, -np.inf, 0).astype(np.float32)
    return exact.rescore(queries, shard.items, np.maximum(positions, 0), rough, k)


def open_annoy(layout: IndexLayout, name: str) -> AnnoyIndex:
    """Return the Annoy index of a shard, memory-mapped; the index step has just built or verified it."""
    index = AnnoyIndex(layout.dimensions, annoy_index.METRIC)
    index.load(str(layout.shared.fetch(layout.annoy(name))))
    return index
