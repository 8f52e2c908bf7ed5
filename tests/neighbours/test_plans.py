"""The plans of groups: what they cost, their lines for a person, and their records in release.json."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lookalike import config
from lookalike.index.built import BuiltIndex, IndexGroup
from lookalike.index.layout import IndexLayout
from lookalike.knn import planner
from lookalike.knn.planner import PlanKind, SearchPlan
from lookalike.knn.search_job import Mode, ShardSearch
from lookalike.knn.tuning import TunedSearch
from lookalike.neighbours.incremental import NeighbourChanges
from lookalike.neighbours.plans import NAMED, GroupPlan, SearchPlans, plan_searches
from lookalike.warehouse.record import PlanRecord
from support.shards import listed_shard


def group(
    kind: PlanKind, tuned: TunedSearch | None = None, name: str | None = "shoe", mode: Mode = "search"
) -> GroupPlan:
    """A group of two shards with 40 live items, the second one built by this run."""
    plan = SearchPlan(kind, 20 if kind == "ivf" else 0, 4.5, 1.25, 1 << 20, "a reason")
    shards = (listed_shard(3, 31, live=30, candidates=30), listed_shard(4, 11, delta=True, live=10, candidates=10))
    of = IndexGroup(name, shards, 20, touched=True, built=frozenset([4]))
    return GroupPlan(of, plan, tuned, mode, 0.5 if mode == "repair" else None)


IVF = group("ivf", TunedSearch(0.995, radius=1.5, nprobe=2.0))
ANNOY = group("annoy", TunedSearch(0.9, search_k=2000))
NAMES = ("shard-00003", "shard-00004")

PLANS = {
    "exact": (
        group("exact"),
        ShardSearch("exact", NAMES),
        "shoe, 40 items: exact, about 1.2 s, 1 MiB a task: a reason",
    ),
    "ivf": (IVF, ShardSearch("ivf", NAMES, radius=1.5), "; nprobe 2.0 gave recall 0.9950 on a sample"),
    "annoy": (ANNOY, ShardSearch("annoy", NAMES, search_k=2000), "; search_k 2,000 gave recall 0.9000 on a sample"),
    "ivf that is repaired": (
        group("ivf", IVF.tuned, mode="repair"),
        ShardSearch("ivf", NAMES, radius=1.5, mode="repair", rebuilt=NAMES[1:]),
        "shoe, 40 items: neighbours repaired, about 0.5 s; a search for all: ivf, about 4 of 20 lists, about 1.2 s",
    ),
    "exact that is kept": (
        group("exact", mode="keep"),
        ShardSearch("exact", NAMES, mode="keep"),
        "shoe, 40 items: nothing changed, neighbours kept",
    ),
    "ivf that was given up": (
        group("ivf", name=None),
        ShardSearch("exact", NAMES),
        "all items, 40 items: exact: no cheaper ivf search reached the recall on a sample",
    ),
}


@pytest.mark.parametrize("case", PLANS)
def test_group_is_searched_as_it_was_tuned_and_says_so(case: str) -> None:
    plan, search, line = PLANS[case]
    assert plan.search == search
    assert line in plan.line()


def test_record_holds_the_radius_of_lists_and_the_search_k_of_annoy() -> None:
    ivf, annoy, exact = (one.record() for one in (IVF, ANNOY, group("ivf")))
    assert (ivf.kind, ivf.radius, ivf.nprobe, ivf.search_k, ivf.sample_recall) == ("ivf", 1.5, 2.0, None, 0.995)
    assert (annoy.kind, annoy.radius, annoy.search_k, annoy.sample_recall) == ("annoy", None, 2000, 0.9)
    assert (exact.kind, exact.radius, exact.search_k, exact.sample_recall) == ("exact", None, None, None)
    assert (exact.items, exact.group, exact.why) == (40, "shoe", "a reason")


def test_cost_is_that_of_the_scanned_lists_and_never_more_than_exact() -> None:
    assert group("exact").cost == ANNOY.cost == 1
    assert IVF.cost == pytest.approx(1.2 * 2 / 20 * 1.5)
    assert replace(IVF, tuned=TunedSearch(1.0, radius=9.0, nprobe=20.0)).cost == 1


def test_every_shard_is_searched_by_the_plan_of_its_group() -> None:
    of = IndexGroup("bag", (listed_shard(7, 5),), 1, touched=True)
    other = GroupPlan(of, SearchPlan("exact", 0, 0, 0.1, 1, ""))
    searches = SearchPlans([IVF, other], []).searches
    assert searches == {3: IVF.search, 4: IVF.search, 7: other.search}


def test_largest_groups_are_named_and_the_others_counted_by_kind() -> None:
    exact = SearchPlan("exact", 0, 0, 0.5, 1, "")
    small = [
        GroupPlan(IndexGroup(f"group-{n}", (listed_shard(n, n),), 1, touched=True), exact) for n in range(1, NAMED + 3)
    ]
    small[0], small[1] = replace(small[0], mode="keep"), replace(small[1], mode="repair", repair=0.25)
    plans = SearchPlans([*small, IVF], [])
    lines, records = plans.lines(), plans.records()
    assert [line.split(",")[0] for line in lines[:NAMED]] == ["shoe", "group-7", "group-6", "group-5", "group-4"]
    assert lines[NAMED:] == ["3 smaller groups: 1 exact, 1 exact repaired, 1 kept, about 0.8 s"]
    assert [record.group for record in records[:NAMED]] == ["shoe", "group-7", "group-6", "group-5", "group-4"]
    assert [(record.kind, record.groups, record.items) for record in records[NAMED:]] == [("exact", 3, 6)]


def test_groups_share_the_cores_and_the_longest_may_outlast_the_others() -> None:
    plan = SearchPlan("exact", 0, 0, 2.0, 1, "", work=8.0, cores=4)
    groups = [
        GroupPlan(IndexGroup(f"group-{n}", (listed_shard(n, 100),), 1, touched=True), plan, mode=mode, repair=repair)
        for n, (mode, repair) in enumerate([("search", None), ("repair", 0.5), ("keep", None)])
    ]
    assert [one.work for one in groups] == [8.0, 2.0, 0.0]
    fixed = planner.STEP_SECONDS + (100 * planner.FOUND_SECONDS + 300 * planner.WRITTEN_SECONDS) / 4
    assert SearchPlans(groups, []).line(4) == f"3 groups: about {fixed + 10 / 4:.1f} s in all on 4 cores"
    assert f"about {planner.STEP_SECONDS + 2:.1f} s" in SearchPlans(groups, []).line(1000)
    assert f"about {fixed + 30 / 4:.1f} s" in SearchPlans(groups, [], fill_up=20).line(4)
    assert (
        SearchPlans(groups, [], fill_up=20)
        .lines()[-1]
        .endswith("from similar.group_fallback: at least 20.0 s of a core")
    )


# The plan of the night before, how many candidates there are now, the plan tonight, and what becomes of the lists. With
# 300 candidates an exact search costs less than lists; with 100,000 it does not.
NIGHTS = [
    ("ivf", 300, "ivf", "keep"),
    ("ivf", 0, "exact", "search"),
    ("exact", 100_000, "exact", "keep"),
]


@pytest.mark.parametrize(("before", "candidates", "kind", "mode"), NIGHTS)
def test_lists_of_an_inverted_file_are_never_taken_for_exact_ones(
    settings: Callable[..., config.Settings], before: str, candidates: int, kind: str, mode: str
) -> None:
    """Those of a search for all would differ for no reason, and the release be refused."""
    shards = (listed_shard(3, 100_000, live=max(300, candidates), candidates=candidates),)
    index = BuiltIndex([IndexGroup(None, shards, 17, touched=False)], IndexLayout(Path(), Path(), 8), None)
    spark: Any = SimpleNamespace(sparkContext=SimpleNamespace(defaultParallelism=2))
    plans = (PlanRecord(kind=before, items=300, radius=1.0, nprobe=4.0, sample_recall=1.0),)
    tables: Any = SimpleNamespace(record=SimpleNamespace(neighbours=SimpleNamespace(plans=plans)))
    changes = NeighbourChanges(np.empty(0, np.bytes_), tables, 1)
    (found,) = plan_searches(spark, index, settings(), changes).groups
    assert (found.kind, found.mode) == (kind, mode)
