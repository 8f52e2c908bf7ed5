"""What every task of the neighbour search knows: where the shards are, and how each is searched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lookalike import config
from lookalike.index.layout import IndexLayout
from lookalike.knn import planner
from lookalike.knn.candidates import CandidateSet, open_shard
from lookalike.topk.exact import QUERY_ROWS
from lookalike.topk.items import Ids


@dataclass(frozen=True)
class ShardSearch:
    """How to search for the neighbours of a shard's items: among the `shards` of its group, by the plan `kind`."""

    kind: planner.PlanKind
    shards: tuple[str, ...]
    radius: float | None = None  # of an IVF search
    search_k: int | None = None  # of Annoy


@dataclass(frozen=True)
class SearchJob:
    """What every task of the neighbour search knows."""

    layout: IndexLayout
    similar: config.SimilarSettings
    searches: Mapping[int, ShardSearch]  # of each shard, by its number
    fallback_shards: Sequence[Mapping[int, tuple[str, ...]]]  # of each fallback level: the shards with each value
    changed: Ids | None  # in a refresh: the items that changed; their previous lists and places in lists are not valid

    @property
    def kept(self) -> int:
        """How many neighbours the list of an item has, with the margin that only the next refresh reads."""
        return self.similar.wanted + margin(self.similar)

    def candidates(self, shards: Sequence[str], queries: int) -> CandidateSet:
        """Return the candidates in some shards, for so many queries at a time."""
        dimensions = open_shard(self.layout, shards[0]).items.vectors.shape[1] if shards else 1
        rows = planner.chunk_rows(dimensions, self.similar.task_memory, min(queries, QUERY_ROWS))
        return CandidateSet(self.layout, shards, rows, self.similar.variant_of is not None)


def margin(similar: config.SimilarSettings) -> int:
    """How many neighbours a list has beyond the published ones: an item that loses more is searched again.

    With 1 % of 30,000 items changed a night, k = 10 and a margin of 10, one list in 40,000 loses more than that.
    """
    return max(10, similar.k // 2)
