"""How far the approximate searches look, tuned on Spark: small groups a task each, large ones a task a shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import groupby
from typing import TypeVar

import numpy as np
from pyspark import Broadcast
from pyspark.sql import SparkSession

from lookalike import config
from lookalike.index.built import BuiltIndex, IndexGroup
from lookalike.index.items import read_array
from lookalike.index.layout import IndexLayout
from lookalike.knn import planner, tuning
from lookalike.knn.annoy_search import AnnoySearch, full_search_k
from lookalike.knn.candidates import CandidateSet
from lookalike.knn.planner import PlanKind
from lookalike.knn.shard_items import read_shard
from lookalike.knn.tuning import RecallTarget, TrueNeighbours, TunedSearch
from lookalike.spark.tasks import collect_tasks, map_tasks
from lookalike.topk.items import ItemVectors, concatenate_items
from lookalike.topk.table import TopK, merge_top_k

T = TypeVar("T")

# Shards that one task compares with the queries of a group: 65,536 items of 2,048 dimensions take it 1.2 s.
SHARDS_A_TASK = 4

# Large groups that are tuned together: the queries of each are 4 MB, which every executor gets, and what four shards
# find for them 0.4 MB, which the driver gets.
GROUPS_AT_ONCE = 16
SHARDS_AT_ONCE = 1024


@dataclass(frozen=True)
class Tuning:
    """What every task that tunes knows."""

    layout: IndexLayout
    target: RecallTarget
    chunk_rows: int
    distinct: bool
    forced: bool

    @classmethod
    def of(cls, index: BuiltIndex, settings: config.Settings) -> Tuning:
        """Return that of a run."""
        similar = settings.similar
        target = RecallTarget(similar.k, similar.recall_floor, settings.index.seed, similar.recall_sample)
        largest = max((group.live for group in index.groups), default=0)
        rows = planner.chunk_rows(index.dimensions, similar.task_memory, planner.TUNING_QUERIES, largest)
        return cls(index.layout, target, rows, similar.variant_of is not None, similar.plan != "auto")

    def queries(self, name: str, drawn: np.ndarray) -> ItemVectors:
        """Return those drawn of the live items of a shard."""
        shard = read_shard(self.layout, name)
        return shard.items.take(tuning.drawn_rows(shard, drawn))

    def neighbours(self, names: Sequence[str], queries: ItemVectors) -> TrueNeighbours:
        """Return the nearest in some shards."""
        shards = (read_shard(self.layout, name) for name in names)
        k, rows = self.target.k, self.chunk_rows
        found = [TrueNeighbours.in_shard(shard, queries, k, rows, distinct=self.distinct) for shard in shards]
        return TrueNeighbours.merged(found, distinct=self.distinct)

    def ask_annoy(self, names: Sequence[str], queries: ItemVectors, search_k: int) -> TopK:
        """Return the nearest that Annoy finds in some shards."""
        how = AnnoySearch(self.layout, search_k, self.target.k, self.distinct)
        return self.merged([how.in_shard(queries, name, read_shard(self.layout, name)).top for name in names])

    def merged(self, parts: Sequence[TopK]) -> TopK:
        """Return the best of what was found in several parts of a group."""
        return reduce(partial(merge_top_k, distinct=self.distinct), parts)


def tune_groups(
    spark: SparkSession, index: BuiltIndex, chosen: Sequence[tuple[IndexGroup, PlanKind]], settings: config.Settings
) -> list[TunedSearch | None]:
    """Return how far to look in each of the groups by its plan; None where an exact search costs no more."""
    how = Tuning.of(index, settings)
    large = [at for at, (group, _) in enumerate(chosen) if len(group.shards) > SHARDS_A_TASK]
    small = sorted(set(range(len(chosen))) - set(large))

    def tune(one: tuple[tuple[str, ...], PlanKind]) -> TunedSearch | None:
        candidates = CandidateSet(how.layout, one[0], how.chunk_rows, how.distinct)
        if one[1] == "annoy":
            return tuning.tune_annoy(candidates, how.target)
        return tuning.tune_ivf(candidates, how.target, forced=how.forced)

    # Not a closure of all groups in a task for each of them: of 20,000, that would be read 20,000 times.
    tuned = map_tasks(spark, [(chosen[at][0].names, chosen[at][1]) for at in small], tune)
    found = dict(zip(small, tuned, strict=True))
    for some in _batches([len(group.shards) for group, _ in chosen], large):
        found.update(zip(some, _tune_by_shards(spark, [chosen[at] for at in some], how), strict=True))
    return [found[at] for at in range(len(chosen))]


def _batches(shards: Sequence[int], large: Sequence[int]) -> Iterator[list[int]]:
    """Yield some of the large groups at a time, by their numbers of shards."""
    held = np.cumsum([max(shards[at], SHARDS_AT_ONCE // GROUPS_AT_ONCE) for at in large])
    for batch in np.unique(numbers := held // SHARDS_AT_ONCE).tolist():
        yield [at for at, number in zip(large, numbers.tolist(), strict=True) if number == batch]


def _tune_by_shards(
    spark: SparkSession, chosen: Sequence[tuple[IndexGroup, PlanKind]], how: Tuning
) -> list[TunedSearch | None]:
    """Tune groups of many shards: draw the queries, find their neighbours in the shards, and solve for the plan."""
    groups = [group for group, _ in chosen]
    queries = spark.sparkContext.broadcast(_draw(spark, groups, how))
    parts = [
        (at, group.names[first : first + SHARDS_A_TASK])
        for at, group in enumerate(groups)
        for first in range(0, len(group.names), SHARDS_A_TASK)
    ]

    def search(number: int) -> TrueNeighbours:
        at, names = parts[number]
        return how.neighbours(names, queries.value[at])

    searched = _by_group([at for at, _ in parts], collect_tasks(spark, len(parts), search))
    right = [TrueNeighbours.merged(some, distinct=how.distinct) for some in searched]

    def solve(at: int) -> TunedSearch | None:
        centroids = read_array(how.layout.shared.fetch(how.layout.centroids(groups[at].names[0])))
        return tuning.tune_radius(queries.value[at].vectors, right[at], centroids, how.target, forced=how.forced)

    by_lists = [at for at, (_, kind) in enumerate(chosen) if kind == "ivf"]
    found = dict(zip(by_lists, map_tasks(spark, by_lists, solve), strict=True))
    for at in sorted(set(range(len(groups))) - set(by_lists)):
        names = [some for of, some in parts if of == at]
        found[at] = _tune_annoy(spark, names, _Queries(queries, at), right[at].top, how)
    return [found[at] for at in range(len(groups))]


@dataclass(frozen=True)
class _Queries:
    """Those of one group, which every executor has."""

    of_groups: Broadcast[list[ItemVectors]]
    at: int

    def read(self) -> ItemVectors:
        return self.of_groups.value[self.at]


def _tune_annoy(
    spark: SparkSession, parts: Sequence[tuple[str, ...]], queries: _Queries, right: TopK, how: Tuning
) -> TunedSearch:
    """Ask Annoy's shards, all parts for each search_k."""

    def search(search_k: int) -> TopK:
        return how.merged(map_tasks(spark, parts, lambda names: how.ask_annoy(names, queries.read(), search_k)))

    full = max(map_tasks(spark, parts, lambda names: full_search_k(how.layout, names)))
    return tuning.tune_search_k(right, search, full, how.target)


def _draw(spark: SparkSession, groups: Sequence[IndexGroup], how: Tuning) -> list[ItemVectors]:
    """Return the queries of each group, read from its shards."""
    drawn = [
        (at, shard.name, some)
        for at, group in enumerate(groups)
        for shard, some in zip(
            group.shards, tuning.draw([shard.live for shard in group.shards], how.target.seed), strict=True
        )
        if len(some)
    ]
    read = map_tasks(spark, drawn, lambda one: how.queries(*one[1:]))
    return [concatenate_items(some) for some in _by_group([at for at, _, _ in drawn], read)]


def _by_group(of: Sequence[int], parts: Sequence[T]) -> Iterator[list[T]]:
    """Yield the parts of one group after the other; every group has some."""
    for _, some in groupby(zip(of, parts, strict=True), key=lambda pair: pair[0]):
        yield [part for _, part in some]
