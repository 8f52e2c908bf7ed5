"""The plan of every group, made and tuned on Spark: what the tasks of the neighbour search follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pyspark.sql import DataFrame

from lookalike import config
from lookalike.index.step import BuiltIndex, BuiltShard
from lookalike.knn import planner, tuning
from lookalike.knn.candidates import CandidateSet
from lookalike.knn.planner import GroupSize, PlanKind, SearchPlan, SearchResources
from lookalike.knn.task import ShardSearch
from lookalike.spark import schemas
from lookalike.spark import tasks as spark_tasks
from lookalike.warehouse.record import PlanRecord

# Groups that are named one by one, the largest; the others are counted.
NAMED = 5


@dataclass(frozen=True)
class GroupPlan:
    """A group's shards, how it is searched, and what tuning has found."""

    group: str | None
    shards: Sequence[BuiltShard]
    plan: SearchPlan
    kind: PlanKind
    effort: float = 0  # see tuning.TunedSearch
    recall: float = 1.0
    probes: float = 0.0

    @property
    def items(self) -> int:
        """Of all its shards."""
        return sum(one.file.items for one in self.shards)

    @property
    def share(self) -> float:
        """Of the pairs of query and candidate, the cost of those that are looked at."""
        if self.kind != "partition":
            return 1.0
        return min(1.0, planner.looked_at(self.probes, self.plan.lists))

    def record(self) -> PlanRecord:
        """Return the plan as release.json keeps it."""
        approximate = self.kind != "exact"
        return PlanRecord(
            kind=self.kind,
            items=self.items,
            group=self.group,
            lists=self.plan.lists,
            nprobe=self.probes if approximate else self.plan.probes,
            radius=self.effort if self.kind == "partition" else None,
            search_k=int(self.effort) if self.kind == "annoy" else None,
            sample_recall=round(self.recall, 5) if approximate else None,
            seconds=self.plan.seconds,
            task_bytes=self.plan.task_bytes,
            why=self.plan.why,
        )


@dataclass(frozen=True)
class SearchPlans:
    """All groups' plans, and the shards that hold each value of each wider column."""

    groups: Sequence[GroupPlan]
    wider: list[dict[int, tuple[str, ...]]]

    @property
    def by_shard(self) -> dict[int, ShardSearch]:
        """How the items of each shard are searched."""
        ways: dict[int, ShardSearch] = {}
        for group in self.groups:
            way = ShardSearch(group.kind, tuple(one.shard.name for one in group.shards), group.effort)
            ways.update({one.shard.number: way for one in group.shards})
        return ways

    def lines(self) -> list[str]:
        """For a person: the largest groups one by one, the others together."""
        largest = sorted(self.groups, key=lambda group: -group.items)
        lines = [
            f"{'all items' if group.group is None else group.group}, {group.items:,} items: {_said(group)}"
            for group in largest[:NAMED]
        ]
        rest = largest[NAMED:]
        if rest:
            kinds = sorted({group.kind for group in rest})
            counts = ", ".join(f"{sum(group.kind == kind for group in rest):,} {kind}" for kind in kinds)
            seconds = sum(group.plan.seconds for group in rest)
            lines.append(f"{len(rest):,} smaller groups: {counts}, about {seconds:.1f} s")
        return lines

    def records(self) -> list[PlanRecord]:
        """Return the plans of the largest groups, and one for the others of each kind."""
        largest = sorted(self.groups, key=lambda group: -group.items)
        records = [group.record() for group in largest[:NAMED]]
        rest = largest[NAMED:]
        for kind in sorted({group.kind for group in rest}):
            same = [group for group in rest if group.kind == kind]
            records.append(PlanRecord(groups=len(same), items=sum(group.items for group in same), kind=kind))
        return records


def plan_groups(built: BuiltIndex, settings: config.Settings) -> SearchPlans:
    """Choose a plan for each group, and tune it if it needs that."""
    similar = settings.similar
    machine = SearchResources(built.items.sparkSession.sparkContext.defaultParallelism, similar.task_memory)
    forced = None if similar.plan == "auto" else similar.plan
    planned = []
    for name, shards in _by_group(built.shards).items():
        sizes = GroupSize(
            sum(one.file.items for one in shards), sum(one.candidates for one in shards), built.dimensions
        )
        plan = planner.choose(sizes, machine, similar.recall_floor, forced if sizes.candidates else "exact")
        planned.append(GroupPlan(name, shards, plan, plan.kind))
    return SearchPlans(_tuned(built, planned, settings), _wider(built, similar))


def _said(group: GroupPlan) -> str:
    if group.kind != group.plan.kind:
        return f"exact: no {group.plan.kind} of fewer lists reached the floor on a sample"
    if group.kind == "exact":
        return group.plan.line()
    effort = f"{group.probes:.1f} lists" if group.kind == "partition" else f"search_k {group.effort:,}"
    return f"{group.plan.line()}; {effort} gave recall {group.recall:.4f} on a sample"


def _tuned(built: BuiltIndex, groups: Sequence[GroupPlan], settings: config.Settings) -> list[GroupPlan]:
    """The groups with what their approximate searches need; exact ones where those would not pay."""
    open_ones = [number for number, group in enumerate(groups) if group.kind != "exact"]
    if not open_ones:
        return list(groups)
    spark, folders, similar = built.items.sparkSession, built.folders, settings.similar
    shared = [groups[number] for number in open_ones]
    aim = tuning.RecallTarget(similar.k, similar.recall_floor, settings.index.seed, similar.recall_sample)
    tasks = [(tuple(one.shard.name for one in group.shards), group.plan) for group in shared]
    chunk_rows = planner.chunk_rows(built.dimensions, similar.task_memory, planner.TUNING_QUERIES)
    distinct, memory, forced = similar.variant_of is not None, similar.task_memory, similar.plan != "auto"

    def tune(number: int) -> dict[str, Any]:
        names, plan = tasks[number]
        pool = CandidateSet(folders, names, chunk_rows, distinct)
        if plan.kind == "annoy":
            return asdict(tuning.tune_annoy(pool, aim))
        found = tuning.tune_partition(pool, plan, aim, memory, forced=forced)
        return asdict(found) if found else {}

    result = list(groups)
    for number, found in zip(open_ones, spark_tasks.each(spark, len(tasks), tune), strict=True):
        group = groups[number]
        kind: PlanKind = group.kind if found else "exact"
        result[number] = GroupPlan(group.group, group.shards, group.plan, kind, **found)
    listed = [
        (one.shard.name, group.shards[0].shard.name)
        for group in result
        if group.kind == "partition"
        for one in group.shards
    ]

    def write_lists(number: int) -> dict[str, Any]:
        name, first = listed[number]
        tuning.write_lists(folders, name, np.load(folders.centroids(first)), chunk_rows)
        return {}

    spark_tasks.each(spark, len(listed), write_lists)
    return result


def pools(built: BuiltIndex, similar: config.SimilarSettings) -> list[list[tuple[int, int]]]:
    """(shard, items) of all groups that may meet in a list, together: those that share a value of the widest column."""
    groups = _by_group(built.shards)
    together = {name: {name} for name in groups}
    if similar.group_fallback:
        widest: dict[int, set[str | None]] = {}
        for group, levels in _cells(built.items, similar):
            widest.setdefault(levels[-1], set()).add(group)
        for names in widest.values():
            joined = set().union(*(together[name] for name in names))
            together.update(dict.fromkeys(joined, joined))
    distinct = {id(names): names for names in together.values()}
    return [
        [(one.shard.number, one.file.items) for name in groups if name in names for one in groups[name]]
        for names in distinct.values()
    ]


def _by_group(built: Sequence[BuiltShard]) -> dict[str | None, list[BuiltShard]]:
    groups: dict[str | None, list[BuiltShard]] = {}
    for one in built:
        groups.setdefault(one.shard.group, []).append(one)
    return groups


def _cells(items: DataFrame, similar: config.SimilarSettings) -> list[tuple[str | None, list[int]]]:
    """The combinations of a group and the codes of its levels that occur."""
    found = items.select(schemas.group(similar.group_by), "rule_levels").distinct().collect()
    return [(row["group"], row["rule_levels"]) for row in found]


def _wider(built: BuiltIndex, similar: config.SimilarSettings) -> list[dict[int, tuple[str, ...]]]:
    """The shards in which each value of each column of group_fallback occurs."""
    if not similar.group_fallback:
        return []
    groups = _by_group(built.shards)
    wider: list[dict[int, set[str]]] = [{} for _ in similar.group_fallback]
    for group, levels in _cells(built.items, similar):
        for shards_of, code in zip(wider, levels[1:], strict=True):
            shards_of.setdefault(code, set()).update(one.shard.name for one in groups[group])
    return [{code: tuple(sorted(found)) for code, found in one.items()} for one in wider]
