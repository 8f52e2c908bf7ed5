"""The search plan of every group, chosen by its size and tuned on Spark, and what becomes of its previous lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from pyspark.sql import SparkSession

from lookalike import config
from lookalike.index.built import BuiltIndex, IndexGroup
from lookalike.index.layout import shard_name
from lookalike.knn import planner
from lookalike.knn.planner import GroupSize, PlanKind, SearchPlan, SearchResources
from lookalike.knn.search_job import Mode, ShardSearch
from lookalike.knn.tuning import TunedSearch
from lookalike.neighbours import groups
from lookalike.neighbours.incremental import NeighbourChanges
from lookalike.neighbours.tuned import tune_groups
from lookalike.warehouse.record import PlanRecord

# The largest groups are named one by one, the others are counted.
NAMED = 5


@dataclass(frozen=True)
class GroupPlan:
    """A group, the plan chosen for it, and what tuning found; not tuned, it is searched exactly.

    `mode` is what becomes of the lists of the release before; to repair them is expected to take `repair` seconds.
    """

    group: IndexGroup
    plan: SearchPlan
    tuned: TunedSearch | None = None
    mode: Mode = "search"
    repair: float | None = None

    @property
    def kind(self) -> PlanKind:
        """How the group is searched."""
        return self.plan.kind if self.tuned else "exact"

    @property
    def cost(self) -> float:
        """The cost of the search as a share of that of an exact one."""
        share = 1.0
        if self.kind == "ivf" and self.tuned is not None and self.tuned.nprobe is not None:
            share = min(1.0, planner.scan_cost(self.tuned.nprobe, self.group.lists))
        if self.mode == "repair" and self.repair is not None:
            share *= self.repair / self.plan.seconds
        return 0.0 if self.mode == "keep" else share

    @property
    def search(self) -> ShardSearch:
        """How the lists of each of its shards are found."""
        tuned = self.tuned or TunedSearch(1.0)
        rebuilt = tuple(shard_name(number) for number in sorted(self.group.built)) if self.mode == "repair" else ()
        return ShardSearch(self.kind, self.group.names, tuned.radius, tuned.search_k, self.mode, rebuilt)

    @property
    def seconds(self) -> float:
        """Seconds that its lists are expected to take."""
        if self.mode == "keep":
            return 0.0
        return self.plan.seconds if self.repair is None else min(self.repair, self.plan.seconds)

    @property
    def work(self) -> float:
        """The same of one core."""
        return self.seconds * self.plan.cores if self.mode == "repair" else self.plan.work if self.seconds else 0.0

    @property
    def what(self) -> str:
        """How its lists are found, in a word or two."""
        return {"search": self.kind, "repair": f"{self.kind} repaired", "keep": "kept"}[self.mode]

    def line(self) -> str:
        """Return the plan as a line for a person."""
        name = "all items" if self.group.group is None else self.group.group
        how = "nothing changed, neighbours kept" if self.mode == "keep" else f"{self._repair()}{self._outcome()}"
        return f"{name}, {self.group.live:,} items: {how}"

    def _repair(self) -> str:
        if self.repair is None:
            return ""
        repaired = f"neighbours repaired, about {self.repair:.1f} s; a search for all: "
        return repaired if self.mode == "repair" else f"searched for all, a repair would take {self.repair:.1f} s; "

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
            items=self.group.live,
            group=self.group.group,
            lists=self.plan.lists,
            nprobe=(tuned.nprobe or 0.0) if tuned else self.plan.nprobe,
            radius=tuned.radius if tuned else None,
            search_k=tuned.search_k if tuned else None,
            sample_recall=round(tuned.recall, 5) if tuned else None,
            mode=self.mode,
            seconds=self.seconds,
            task_bytes=self.plan.task_bytes,
            why=self.plan.why,
        )


@dataclass(frozen=True)
class SearchPlans:
    """The plans of all groups, the shards with each value of each fallback level, and what these take of a core."""

    groups: Sequence[GroupPlan]
    fallback_shards: Sequence[Mapping[int, tuple[str, ...]]]
    fill_up: float = 0.0

    @property
    def searches(self) -> dict[int, ShardSearch]:
        """How the lists of each shard are found, by the shards' numbers."""
        return {shard.number: search for one in self.groups for search in [one.search] for shard in one.group.shards}

    def line(self, cores: int) -> str:
        """Return what all groups together are expected to take, as a line for a person."""
        items = sum(one.group.live for one in self.groups)
        found = sum(one.group.live for one in self.groups if one.mode == "search")
        searches = [(self.fill_up / cores, self.fill_up), *((one.seconds, one.work) for one in self.groups)]
        seconds = planner.step_seconds(searches, found, items, cores)
        return f"{len(self.groups):,} groups: about {seconds:.1f} s in all on {cores:,} cores"

    def lines(self) -> list[str]:
        """Return lines for a person: the largest groups one by one, the others together."""
        largest, others = self._by_size()
        lines = [group.line() for group in largest]
        if others:
            counts = Counter(group.what for group in others)
            named = ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items()))
            seconds = sum(group.seconds for group in others)
            lines.append(f"{len(others):,} smaller groups: {named}, about {seconds:.1f} s")
        if self.fill_up:
            what = "lists of small groups filled up from similar.group_fallback"
            lines.append(f"{what}: at least {self.fill_up:.1f} s of a core")
        return lines

    def records(self) -> list[PlanRecord]:
        """Return the plans of the largest groups and of all that are not exact, and one for the others."""
        largest, others = self._by_size()
        exact = [group for group in others if group.kind == "exact"]
        records = [group.record() for group in [*largest, *(group for group in others if group.kind != "exact")]]
        if exact:
            records.append(PlanRecord(groups=len(exact), items=sum(one.group.live for one in exact), kind="exact"))
        return records

    def _by_size(self) -> tuple[list[GroupPlan], list[GroupPlan]]:
        largest = sorted(self.groups, key=lambda one: -one.group.live)
        return largest[:NAMED], largest[NAMED:]


def plan_searches(
    spark: SparkSession, index: BuiltIndex, settings: config.Settings, changes: NeighbourChanges | None
) -> SearchPlans:
    """Choose a plan for each group, tune the approximate ones on a sample, and choose what becomes of the lists.

    The plan of the previous release stays until the group is built again or all lists are searched: lists of which some
    may lack a neighbour are never taken for exact ones.
    """
    similar = settings.similar
    resources = SearchResources(spark.sparkContext.defaultParallelism, similar.task_memory)
    plans = changes.before.record.neighbours.plans if changes else ()
    known = {one.group: one for one in plans if one.groups is None}
    chosen = []
    for group in index.groups:
        groups.check_group(group.group, group.live, similar)
        previous = None if _is_rebuilt(group) else known.get(group.group)
        forced = _forced(group, previous, similar)
        plan = planner.choose_plan(_size(group, index), resources, similar.recall_floor, forced)
        one = _with_previous(GroupPlan(group, plan), previous)
        if previous is None or previous.kind == plan.kind:
            one = _with_mode(one, index, resources, changes, similar)
        chosen.append(one)
    fallback = groups.fallback_shards(spark, index, similar)
    fill_up = groups.fill_up_seconds(index.groups, fallback, similar.wanted, index.dimensions)
    return SearchPlans(_tuned(spark, index, chosen, settings), fallback, fill_up)


def _forced(group: IndexGroup, previous: PlanRecord | None, similar: config.SimilarSettings) -> PlanKind | None:
    """The plan that the group must have, None for the cheapest."""
    if not group.candidates:
        return "exact"
    if previous is not None:
        return cast(PlanKind, previous.kind)
    return None if similar.plan == "auto" else similar.plan


def _size(group: IndexGroup, index: BuiltIndex) -> GroupSize:
    return GroupSize(group.live, group.candidates, index.dimensions, group.lists)


def _is_rebuilt(group: IndexGroup) -> bool:
    """Whether the group is new, or its base shards are."""
    return any(shard.number in group.built and not shard.delta for shard in group.shards)


def _with_previous(chosen: GroupPlan, previous: PlanRecord | None) -> GroupPlan:
    """Return the plan as it was tuned for the previous release, if it was of the same kind."""
    if previous is None or previous.kind != chosen.plan.kind:
        return chosen
    plan = replace(chosen.plan, why=previous.why)
    if previous.kind == "exact":
        return replace(chosen, plan=plan)
    tuned = TunedSearch(previous.sample_recall or 0.0, previous.radius, previous.nprobe, previous.search_k)
    return replace(chosen, plan=plan, tuned=tuned)


def _with_mode(
    chosen: GroupPlan,
    index: BuiltIndex,
    resources: SearchResources,
    changes: NeighbourChanges | None,
    similar: config.SimilarSettings,
) -> GroupPlan:
    """Choose what becomes of the lists: a repair must be expected to cost less than the search for all."""
    group = chosen.group
    if changes is None or _is_rebuilt(group):
        return chosen
    # An item of another group may be what made two of this one show one picture.
    if not group.touched and not (similar.group_fallback and similar.duplicate_cosine is not None):
        return replace(chosen, mode="keep")
    more = len(changes.ids) / max(1, len(changes.ids if index.changed is None else index.changed))
    came = min(group.live, round(group.came * more))
    seconds = planner.repair_seconds(_size(group, index), came, chosen.plan, resources)
    return replace(chosen, mode="repair" if seconds < chosen.plan.seconds else "search", repair=seconds)


def _tuned(
    spark: SparkSession, index: BuiltIndex, plans: Sequence[GroupPlan], settings: config.Settings
) -> list[GroupPlan]:
    """Tune the approximate plans; a group stays untuned if an exact search costs no more."""
    numbers = [
        number for number, one in enumerate(plans) if one.plan.kind != "exact" and not one.tuned and one.mode != "keep"
    ]
    chosen = [(plans[number].group, plans[number].plan.kind) for number in numbers]
    result = list(plans)
    for number, found in zip(numbers, tune_groups(spark, index, chosen, settings), strict=True):
        result[number] = replace(plans[number], tuned=found)
    return result
