"""The search plan of every group, chosen by its size and tuned on Spark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from lookalike import config
from lookalike.index.step import BuiltIndex, BuiltShard
from lookalike.knn import ivf_files, planner, tuning
from lookalike.knn.candidates import CandidateSet
from lookalike.knn.planner import GroupSize, PlanKind, SearchPlan, SearchResources
from lookalike.knn.search_job import ShardSearch
from lookalike.knn.tuning import RecallTarget, TunedSearch
from lookalike.neighbours import groups
from lookalike.spark.tasks import collect_tasks
from lookalike.warehouse.record import PlanRecord

# The largest groups are named one by one, the others are counted.
NAMED = 5


@dataclass(frozen=True)
class GroupPlan:
    """The shards of a group, the plan chosen for it, and what tuning found; not tuned, it is searched exactly."""

    group: str | None
    shards: Sequence[BuiltShard]
    plan: SearchPlan
    tuned: TunedSearch | None = None

    @property
    def kind(self) -> PlanKind:
        """How the group is searched."""
        return self.plan.kind if self.tuned else "exact"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its shards."""
        return tuple(one.shard.name for one in self.shards)

    @property
    def items(self) -> int:
        """How many items all its shards hold."""
        return sum(one.items for one in self.shards)

    @property
    def cost(self) -> float:
        """The cost of the search as a share of that of an exact one."""
        if self.kind != "ivf" or self.tuned is None or self.tuned.nprobe is None:
            return 1.0
        return min(1.0, planner.scan_cost(self.tuned.nprobe, self.plan.lists))

    @property
    def search(self) -> ShardSearch:
        """How the items of each of its shards are searched for."""
        tuned = self.tuned or TunedSearch(1.0)
        return ShardSearch(self.kind, self.names, tuned.radius, tuned.search_k)

    def line(self) -> str:
        """Return the plan as a line for a person."""
        return f"{'all items' if self.group is None else self.group}, {self.items:,} items: {self._outcome()}"

    def _outcome(self) -> str:
        if self.tuned is None:
            given_up = self.plan.kind != "exact"
            return "exact: no cheaper ivf search reached the recall on a sample" if given_up else self.plan.line()
        far = f"search_k {self.tuned.search_k:,}" if self.kind == "annoy" else f"nprobe {self.tuned.nprobe:.1f}"
        return f"{self.plan.line()}; {far} gave recall {self.tuned.recall:.4f} on a sample"

    def record(self) -> PlanRecord:
        """Return the plan as release.json keeps it."""
        tuned = self.tuned
        return PlanRecord(
            kind=self.kind,
            items=self.items,
            group=self.group,
            lists=self.plan.lists,
            nprobe=(tuned.nprobe or 0.0) if tuned else self.plan.nprobe,
            radius=tuned.radius if tuned else None,
            search_k=tuned.search_k if tuned else None,
            sample_recall=round(tuned.recall, 5) if tuned else None,
            seconds=self.plan.seconds,
            task_bytes=self.plan.task_bytes,
            why=self.plan.why,
        )


@dataclass(frozen=True)
class SearchPlans:
    """The plans of all groups, and the shards with each value of each fallback level."""

    groups: Sequence[GroupPlan]
    fallback_shards: Sequence[Mapping[int, tuple[str, ...]]]

    @property
    def searches(self) -> dict[int, ShardSearch]:
        """How the items of each shard are searched for, by the shards' numbers."""
        return {one.shard.number: group.search for group in self.groups for one in group.shards}

    def lines(self) -> list[str]:
        """Return lines for a person: the largest groups one by one, the others together."""
        largest, others = self._by_size()
        lines = [group.line() for group in largest]
        if others:
            kinds = sorted({group.kind for group in others})
            counts = ", ".join(f"{sum(group.kind == kind for group in others):,} {kind}" for kind in kinds)
            seconds = sum(group.plan.seconds for group in others)
            lines.append(f"{len(others):,} smaller groups: {counts}, about {seconds:.1f} s")
        return lines

    def records(self) -> list[PlanRecord]:
        """Return the plans of the largest groups, and one for the others of each kind."""
        largest, others = self._by_size()
        records = [group.record() for group in largest]
        for kind in sorted({group.kind for group in others}):
            same = [group for group in others if group.kind == kind]
            records.append(PlanRecord(groups=len(same), items=sum(group.items for group in same), kind=kind))
        return records

    def _by_size(self) -> tuple[list[GroupPlan], list[GroupPlan]]:
        largest = sorted(self.groups, key=lambda group: -group.items)
        return largest[:NAMED], largest[NAMED:]


def plan_searches(index: BuiltIndex, settings: config.Settings) -> SearchPlans:
    """Choose a plan for each group, and tune the approximate ones on a sample."""
    similar = settings.similar
    resources = SearchResources(index.items.sparkSession.sparkContext.defaultParallelism, similar.task_memory)
    forced = None if similar.plan == "auto" else similar.plan
    chosen = []
    for name, shards in groups.shards_by_group(index.shards).items():
        candidates = sum(one.written.candidates for one in shards)
        size = GroupSize(sum(one.items for one in shards), candidates, index.dimensions)
        plan = planner.choose_plan(size, resources, similar.recall_floor, forced if candidates else "exact")
        chosen.append(GroupPlan(name, shards, plan))
    tuned = _tune(index, chosen, settings)
    _write_lists(index, tuned, settings)
    return SearchPlans(tuned, groups.fallback_shards(index, similar))


def _tune(index: BuiltIndex, plans: Sequence[GroupPlan], settings: config.Settings) -> list[GroupPlan]:
    """Tune the approximate plans, a task each; a group stays untuned if an exact search costs no more."""
    similar, layout = settings.similar, index.layout
    approximate = [number for number, group in enumerate(plans) if group.plan.kind != "exact"]
    target = RecallTarget(similar.k, similar.recall_floor, settings.index.seed, similar.recall_sample)
    chosen = [(plans[number].names, plans[number].plan) for number in approximate]
    chunk_rows = _chunk_rows(index, similar)
    distinct, memory, forced = similar.variant_of is not None, similar.task_memory, similar.plan != "auto"

    def tune(number: int) -> dict[str, Any]:
        names, plan = chosen[number]
        candidates = CandidateSet(layout, names, chunk_rows, distinct)
        if plan.kind == "annoy":
            return asdict(tuning.tune_annoy(candidates, target))
        found = tuning.tune_ivf(candidates, plan, target, memory, forced=forced)
        return asdict(found) if found else {}

    result = list(plans)
    for number, found in zip(approximate, collect_tasks(index.items.sparkSession, len(chosen), tune), strict=True):
        result[number] = replace(plans[number], tuned=TunedSearch(**found) if found else None)
    return result


def _write_lists(index: BuiltIndex, plans: Sequence[GroupPlan], settings: config.Settings) -> None:
    """Write the lists of each shard of the groups that are searched by lists, a task each."""
    layout, chunk_rows = index.layout, _chunk_rows(index, settings.similar)
    listed = [(name, group.names[0]) for group in plans if group.kind == "ivf" for name in group.names]

    def write(number: int) -> dict[str, Any]:
        name, first = listed[number]
        ivf_files.write_lists(layout, name, np.load(layout.centroids(first)), chunk_rows)
        return {}

    collect_tasks(index.items.sparkSession, len(listed), write)


def _chunk_rows(index: BuiltIndex, similar: config.SimilarSettings) -> int:
    return planner.chunk_rows(index.dimensions, similar.task_memory, planner.TUNING_QUERIES)
