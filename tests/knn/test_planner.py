"""The choice of a search plan, over a grid of sizes."""

from __future__ import annotations

from itertools import pairwise, product

import pytest

from lookalike import config
from lookalike.index.centroids import lists_of, training_rows
from lookalike.knn import planner
from lookalike.knn.planner import GroupSize, PlanKind, SearchPlan, SearchResources

RESOURCES = SearchResources(cores=2, task_memory=512 << 20)

ITEMS = (1, 2, 100, 3_000, 10_000, 30_000, 100_000, 1_000_000)
DIMENSIONS = (8, 256, 2048)
FLOORS = (0.0, 0.9, 0.99, 0.999, 1.0)


def plan(items: int, dimensions: int = 2048, floor: float = 0.99, forced: PlanKind | None = None) -> SearchPlan:
    lists = lists_of(items, config.SimilarSettings(recall_floor=floor, plan=forced or "auto"))
    return planner.choose_plan(GroupSize(items, items, dimensions, lists), RESOURCES, floor, forced)


@pytest.mark.parametrize(("items", "dimensions", "floor"), list(product(ITEMS, DIMENSIONS, FLOORS)))
def test_every_size_has_a_plan_that_fits_and_says_why(items: int, dimensions: int, floor: float) -> None:
    found = plan(items, dimensions, floor)
    assert found.kind in ("exact", "ivf")
    assert found.seconds > 0
    assert 0 < found.task_bytes <= RESOURCES.task_memory
    assert found.kind == "exact" or 1 <= found.nprobe <= found.lists <= items
    assert found.kind in found.line()
    assert found.why in found.line()


@pytest.mark.parametrize("dimensions", DIMENSIONS)
def test_small_groups_are_searched_exactly_and_large_ones_by_lists(dimensions: int) -> None:
    kinds = [plan(items, dimensions).kind for items in ITEMS]
    assert kinds[:4] == ["exact"] * 4
    assert kinds[-1] == "ivf"
    assert kinds == sorted(kinds)  # once it pays, it pays for all larger groups


def test_expected_time_of_the_chosen_plan_grows_less_than_quadratically() -> None:
    for fewer, more in pairwise(items for items in ITEMS if items >= 10_000):
        assert plan(more).seconds / plan(fewer).seconds < (more / fewer) ** 1.7


def test_higher_floor_looks_into_more_lists() -> None:
    nprobes = [plan(100_000, floor=floor).nprobe for floor in (0.9, 0.98, 0.99, 0.998, 0.9995)]
    assert nprobes == sorted(set(nprobes))


def test_floor_of_one_is_searched_exactly() -> None:
    assert plan(1_000_000, floor=1.0).kind == "exact"
    assert "recall_floor is 1" in plan(1_000_000, floor=1.0).why


@pytest.mark.parametrize("kind", ["exact", "ivf", "annoy"])
@pytest.mark.parametrize("items", [50, 100_000])
def test_forced_plan_is_taken(kind: PlanKind, items: int) -> None:
    assert plan(items, forced=kind).kind == kind
    assert plan(items, forced=kind).why == "similar.plan says so"


@pytest.mark.parametrize("items", [3_000, 30_000, 1_000_000])
@pytest.mark.parametrize("floor", [0.95, 1.0])
def test_repair_costs_less_than_a_search_while_little_changed(items: int, floor: float) -> None:
    size = GroupSize(items, items, 2048, lists_of(items, config.SimilarSettings(recall_floor=floor)))
    chosen = planner.choose_plan(size, RESOURCES, floor)
    seconds = [planner.repair_seconds(size, round(share * items), chosen, RESOURCES) for share in (0, 0.01, 0.1, 1)]
    assert seconds == sorted(set(seconds))
    assert seconds[1] < 0.5 * chosen.seconds
    assert seconds[-1] > chosen.seconds


def test_few_candidates_are_searched_exactly_for_any_number_of_queries() -> None:
    assert planner.choose_plan(GroupSize(1_000_000, 50, 2048), RESOURCES, 0.99).kind == "exact"


@pytest.mark.parametrize("memory", [64 << 20, 512 << 20, 8 << 30])
@pytest.mark.parametrize("dimensions", [1, 128, 2048, 8192])
@pytest.mark.parametrize("share", [0, 0.3, 0.5])
def test_a_task_stays_within_its_memory(memory: int, dimensions: int, share: float) -> None:
    """Whatever share of it the ids, ranks and codes of its group take, up to the half that `fits` allows."""
    items = int(share * memory) // planner.ITEM_BYTES
    assert planner.fits(items, memory)
    queries = planner.block_rows(dimensions, memory)
    chunk = planner.chunk_rows(dimensions, memory, 512, items)
    assert 64 <= queries <= 4096
    assert 64 <= chunk <= 16_384
    held = 4 * dimensions * (queries + chunk) + 3 * 4 * 512 * chunk
    assert held + planner.held_bytes(items) <= memory
    lists = lists_of(10_000_000, config.SimilarSettings())
    assert 4 * dimensions * training_rows(lists, dimensions, memory) <= max(memory, 4 * dimensions * lists)


def test_plan_counts_what_a_task_holds_of_its_group() -> None:
    memory = RESOURCES.task_memory
    assert plan(2_000_000).task_bytes > planner.held_bytes(2_000_000) > memory / 3
    assert not planner.fits(1 + memory // 2 // planner.ITEM_BYTES, memory)


def test_more_cores_take_less_time() -> None:
    sizes = GroupSize(100_000, 100_000, 2048)
    times = [planner.choose_plan(sizes, SearchResources(cores, 512 << 20), 0.99).seconds for cores in (1, 2, 8)]
    assert times == sorted(times, reverse=True)
