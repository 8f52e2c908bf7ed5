"""The search in a group's Annoy shards: what Annoy finds, scored again exactly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from annoy import AnnoyIndex
from numpy.typing import NDArray

from lookalike.index import annoy as annoy_index
from lookalike.index.layout import IndexLayout
from lookalike.knn.candidates import CandidateSet
from lookalike.knn.shard_items import ShardItems
from lookalike.topk import exact
from lookalike.topk.items import ItemVectors, Vectors
from lookalike.topk.table import FoundTopK, TopK, empty_top_k, merge_top_k


@dataclass(frozen=True)
class AnnoySearch:
    """How each shard of a group is asked: with `search_k`, for the k best, only the best of each group."""

    layout: IndexLayout
    search_k: int
    k: int
    distinct: bool  # whether candidates may share a variant group

    def in_shard(self, queries: ItemVectors, name: str, shard: ShardItems) -> FoundTopK:
        """Return what Annoy finds in one shard [n, k]."""
        index, width = open_annoy(self.layout, name), exact.candidates_to_keep(self.k, distinct=self.distinct)
        left_out = np.full(len(queries), -np.inf, dtype=np.float32)
        positions = np.full((len(queries), width), -1, dtype=np.int64)
        may_be_listed = shard.may_be_listed(0)
        for row, vector in enumerate(queries.vectors):  # Annoy takes queries one by one
            answer, distances = index.get_nns_by_vector(vector.tolist(), width, self.search_k, include_distances=True)
            if len(answer) == width:  # it may have seen more
                left_out[row] = 1 - distances[-1] ** 2 / 2
            found = np.array(answer, dtype=np.int64)
            found = found[may_be_listed[found]]
            positions[row, : len(found)] = found
        return FoundTopK(_score_positions(queries, shard, positions, self.k), left_out)


def search(queries: ItemVectors, candidates: CandidateSet, search_k: int, k: int) -> FoundTopK:
    """Return the k best of what Annoy finds in each shard of the group, only the best of each group [n, k]."""
    how = AnnoySearch(candidates.layout, search_k, k, candidates.distinct)
    best = empty_top_k(len(queries), k, queries.ids)
    left_out = np.full(len(queries), -np.inf, dtype=np.float32)
    for name, shard in zip(candidates.shards, candidates.group.shards, strict=True):
        found = how.in_shard(queries, name, shard)
        best = merge_top_k(best, found.top, distinct=candidates.distinct)
        left_out = np.maximum(left_out, found.left_out)
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


def full_search_k(layout: IndexLayout, names: Iterable[str]) -> int:
    """Return the search_k with which Annoy scans the largest of some shards as a whole."""
    indexes = (open_annoy(layout, name) for name in names)
    return max((index.get_n_items() * index.get_n_trees() for index in indexes), default=0)
