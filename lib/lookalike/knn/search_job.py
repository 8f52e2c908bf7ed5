"""What every task of the neighbour search knows: where the shards are, and how each is searched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lookalike import config
from lookalike.index.layout import IndexLayout
from lookalike.knn import planner
from lookalike.knn.candidates import CandidateSet
from lookalike.knn.neighbour_files import NeighbourFiles
from lookalike.topk.exact import QUERY_ROWS
from lookalike.topk.items import Ids

# What happens to the lists of a group: all are searched for, those of the release before are repaired, or kept.
Mode = Literal["search", "repair", "keep"]


@dataclass(frozen=True)
class ShardSearch:
    """How the lists of a shard's items are found: among the `shards` of its group, by the plan `kind`."""

    kind: planner.PlanKind
    shards: tuple[str, ...]
    radius: float | None = None  # of an IVF search
    search_k: int | None = None  # of Annoy
    mode: Mode = "search"
    rebuilt: tuple[str, ...] = ()  # shards with the places that their items had in the release before


@dataclass(frozen=True, eq=False)
class SearchJob:
    """What every task of the neighbour search knows."""

    layout: IndexLayout
    similar: config.SimilarSettings
    searches: Mapping[int, ShardSearch]  # of each shard, by its number
    fallback_shards: Sequence[Mapping[int, tuple[str, ...]]]  # of each fallback level: the shards with each value
    files: NeighbourFiles
    changed: Ids | None = None  # in a refresh: the items that changed; their lists and places in lists are not valid
    largest: int = 0  # items of the largest group

    @property
    def kept(self) -> int:
        """How many neighbours the list of an item has, with the margin that only the next refresh reads."""
        return self.similar.wanted + margin(self.similar)

    def candidates(self, shards: Sequence[str], queries: int) -> CandidateSet:
        """Return the candidates in some shards, for so many queries at a time."""
        memory, queries = self.similar.task_memory, min(queries, QUERY_ROWS)
        rows = planner.chunk_rows(self.layout.dimensions, memory, queries, self.largest)
        return CandidateSet(self.layout, tuple(shards), rows, self.similar.variant_of is not None)


def margin(similar: config.SimilarSettings) -> int:
    """How many neighbours a list has beyond the published ones: an item that loses more is searched again.

    With 1 % of 30,000 items changed a night, k = 10 and a margin of 10, one list in 40,000 loses more than that.
    """
    return max(10, similar.k // 2)
