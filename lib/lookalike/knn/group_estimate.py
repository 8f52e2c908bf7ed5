"""What the index and the search of one group are expected to take, from its size alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from lookalike import config
from lookalike.index import annoy as annoy_index
from lookalike.index.centroids import TRAINING_ROUNDS, lists_of, training_rows
from lookalike.index.sharding import shard_count
from lookalike.knn import planner
from lookalike.knn.planner import GroupSize, SearchPlan, SearchResources
from lookalike.models.network import DIMENSIONS


@dataclass(frozen=True)
class GroupEstimate:
    """A group of items, all of which may be recommended, its index built from nothing."""

    items: int
    cores: int
    settings: config.Settings

    @cached_property
    def shards(self) -> int:
        """How many it has."""
        return shard_count(self.items, self.settings.index.shard_items)

    @property
    def shard_items(self) -> int:
        """How many items each has."""
        return -(-self.items // self.shards)

    @property
    def shard_bytes(self) -> int:
        """Of the `.ann` file of each."""
        return annoy_index.file_bytes(self.shard_items, DIMENSIONS, self.settings.index.trees)

    @property
    def shard_seconds(self) -> float:
        """Of the task that builds a shard, the lists of its items found."""
        listed = planner.product_seconds(self.shard_items, self._size.lists, DIMENSIONS)
        return listed + annoy_index.build_seconds(self.shard_items, DIMENSIONS, self.settings.index.trees)

    @property
    def training_seconds(self) -> float:
        """Of the task that trains its centroids: k-means is two matrix products a round."""
        if (lists := self._size.lists) == 1:
            return 0.0
        rows = training_rows(lists, DIMENSIONS, self.settings.similar.task_memory)
        return TRAINING_ROUNDS * 2 * planner.product_seconds(rows, lists, DIMENSIONS)

    @cached_property
    def plan(self) -> SearchPlan:
        """Of the search for all its lists."""
        return planner.choose_plan(self._size, self._resources, self.settings.similar.recall_floor)

    @property
    def share(self) -> float:
        """Of the candidates, those that a query is compared with."""
        return min(1.0, planner.scan_cost(self.plan.nprobe, self.plan.lists)) if self.plan.kind == "ivf" else 1.0

    def repair_seconds(self, came: int) -> float:
        """Of the repair of its lists, or the search for all if that takes less."""
        return min(self.plan.seconds, planner.repair_seconds(self._size, came, self.plan, self._resources))

    @property
    def _size(self) -> GroupSize:
        return GroupSize(self.items, self.items, DIMENSIONS, lists_of(self.items, self.settings.similar))

    @property
    def _resources(self) -> SearchResources:
        return SearchResources(self.cores, self.settings.similar.task_memory)
