"""How to search for the neighbours of a group: the cheapest plan that can reach the recall, from sizes alone.

Three plans: exact (matrix products with all candidates), ivf (matrix products with the candidates in the lists nearest
to the query) and annoy (the release's own shards, scored again exactly).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

PlanKind = Literal["exact", "ivf", "annoy"]

# Measured on a 2.5 GHz AVX-512 core at 2,048 dimensions: float32 matrix products of 512 x 16,384 (120 GFLOP/s), those
# of the small blocks of an inverted file with their gathering (80), one query's turn through numpy, and Annoy's
# walk (138 s for 30,000 queries of search_k 10,000 on one thread: 9 GFLOP/s).
PRODUCT_FLOPS = 1.2e11
LIST_FLOPS = 0.8e11
QUERY_SECONDS = 2e-5
ANNOY_FLOPS = 9e9

# Of the step on Spark, besides the products: what any step takes; of an item that is searched for, its best candidates
# sorted out and scored again; and of each item, its list written for the next night and into similar_items.
STEP_SECONDS = 1.0
FOUND_SECONDS = 5e-5
WRITTEN_SECONDS = 4e-5

# Mean nprobe by the recall to prove: up to 0.99 of 100,000 mixed photo vectors in 316 lists; above, where a sample has
# few misses to judge by, of 20,000 varied photos. The run finds its radius on a sample of its own; this is what to
# expect of it.
EXPECTED_NPROBE = ((0.95, 3.1), (0.98, 4.5), (0.99, 6.5), (0.995, 15.0), (0.998, 17.5), (0.9995, 20.0))

TUNING_QUERIES = 512
TUNED_ITEMS = 65_536  # that one task compares with these, four large shards

# What a task holds of each item of the group that it searches in: rank, place, list, flags, and the codes of its
# constraints are 50 bytes, in a repair 80; and twice its id, of up to 24.
ITEM_BYTES = 128

# The lists that any item of a list looks into, as a multiple of what one of them does.
SIBLINGS = 5.0

# The expected cost of an IVF search has errors of its own, and exact answers are worth something.
WORTH_IT = 0.7


@dataclass(frozen=True)
class GroupSize:
    """A group to search: all its items are queries, `candidates` of them may be recommended; 1 list: no centroids."""

    items: int
    candidates: int
    dimensions: int
    lists: int = 1


@dataclass(frozen=True)
class SearchResources:
    """The machine to search on: `task_memory` bytes for each of `cores` tasks."""

    cores: int
    task_memory: int


@dataclass(frozen=True)
class SearchPlan:
    """How to search a group, what that is expected to cost in all and a task, and why it was chosen."""

    kind: PlanKind
    lists: int
    nprobe: float
    seconds: float
    task_bytes: int
    why: str
    work: float = 0.0  # seconds of one core alone
    cores: int = 1  # that can share it

    def line(self) -> str:
        """Return the plan as a line for a person."""
        lists = f", about {self.nprobe:.0f} of {self.lists} lists" if self.kind == "ivf" else ""
        return f"{self.kind}{lists}, about {self.seconds:.1f} s, {self.task_bytes / 2**20:,.0f} MiB a task: {self.why}"


def choose_plan(
    size: GroupSize, resources: SearchResources, floor: float, forced: PlanKind | None = None
) -> SearchPlan:
    """Return the plan of the fewest expected seconds that can reach the recall `floor`, or the `forced` one."""
    if forced == "annoy":
        return _annoy(size, resources, floor)
    exact, ivf = _exact(size, resources), _ivf(size, resources, floor)
    if forced == "exact" or (forced == "ivf" and size.lists > 1):
        return replace(exact if forced == "exact" else ivf, why="similar.plan says so")
    if floor >= 1:
        return replace(exact, why="similar.recall_floor is 1")
    if size.lists == 1:
        return replace(exact, why=f"{size.candidates:,} candidates are too few for ivf")
    if ivf.seconds < WORTH_IT * exact.seconds:
        return replace(ivf, why=f"exact would take {exact.seconds:.1f} s")
    return replace(exact, why=f"ivf would take {ivf.seconds:.1f} s")


def repair_seconds(size: GroupSize, came: int, plan: SearchPlan, resources: SearchResources) -> float:
    """Return the expected seconds of repairing the lists of a group in which `came` items came or changed.

    All items are compared with these, in an inverted file those of one list with what came into the lists that any of
    them looks into, and these are searched for. A search of all costs `plan.seconds`.
    """
    scanned = min(1.0, SIBLINGS * plan.nprobe / plan.lists) if plan.kind == "ivf" else 1.0
    compared = scanned * _products(size.items, came, size) / PRODUCT_FLOPS
    at_once = _at_once(size, resources)
    turns = _queries(size) / at_once
    return turns + compared / at_once + came / max(1, size.items) * max(0.0, plan.seconds - turns)


def held_bytes(items: int) -> int:
    """Return what a task holds of a group of so many items beside vectors; at most half of its memory, see `fits`."""
    return ITEM_BYTES * items


def fits(items: int, task_memory: int) -> bool:
    """Return whether a task has room for such a group, and as much for the vectors that it compares."""
    return 2 * held_bytes(items) <= task_memory


def product_seconds(rows: int, columns: int, dimensions: int) -> float:
    """Return the expected seconds of a core for a matrix product."""
    return 2.0 * rows * columns * dimensions / PRODUCT_FLOPS


def step_seconds(searches: Iterable[tuple[float, float]], found: int, items: int, cores: int) -> float:
    """Return the expected seconds of the step for groups of (seconds, work), their tables of `items` lists written.

    `found` of the items are searched for. The groups share the cores; no more than its own blocks share a group, so the
    longest may outlast the others.
    """
    each = list(searches)
    longest, work = max((seconds for seconds, _ in each), default=0.0), sum(work for _, work in each)
    lists = found * FOUND_SECONDS + items * WRITTEN_SECONDS
    return STEP_SECONDS + max(longest, work / cores) + lists / cores


def block_rows(dimensions: int, task_memory: int) -> int:
    """Query rows that a task holds: a sixteenth of its memory, 4,096 of 2,048 dimensions in the default 512 MiB."""
    return _between(64, task_memory // 16 // (4 * dimensions), 4096)


def chunk_rows(dimensions: int, task_memory: int, query_rows: int, items: int = 0) -> int:
    """Candidate rows that a task holds at a time, with the scores of `query_rows` queries and copies.

    They take half of the memory that a group of so many items leaves.
    """
    left = task_memory - held_bytes(items)
    return _between(64, left // 2 // (4 * dimensions + 3 * 4 * query_rows), 16_384)


def scan_cost(nprobe: float, lists: int) -> float:
    """Cost of the search in `nprobe` of the lists as a share of that of an exact search; it may be above 1.

    Fuller lists are nearer to more queries, 1.2 times the mean on the same vectors, and their products are smaller.
    """
    return 1.2 * nprobe / max(1, lists) * PRODUCT_FLOPS / LIST_FLOPS


def _exact(size: GroupSize, resources: SearchResources) -> SearchPlan:
    seconds = _products(size.items, size.candidates, size) / PRODUCT_FLOPS + _queries(size)
    return _shared(SearchPlan("exact", 0, 0, 0, 0, "", seconds), 0.0, size, resources)


def _ivf(size: GroupSize, resources: SearchResources, floor: float) -> SearchPlan:
    lists = size.lists
    nprobe = min(lists, next((number for recall, number in EXPECTED_NPROBE if floor <= recall), lists))
    tuned = _products(TUNING_QUERIES, size.candidates, size) / PRODUCT_FLOPS
    probed = _products(size.items, lists, size)
    searched = scan_cost(nprobe, lists) * _products(size.items, size.candidates, size)
    shared = (probed + searched) / PRODUCT_FLOPS + 2 * _queries(size)
    return _shared(SearchPlan("ivf", lists, nprobe, 0, 0, "", shared), tuned, size, resources)


def _annoy(size: GroupSize, resources: SearchResources, floor: float) -> SearchPlan:
    # At 2,048 dimensions no smaller search_k has reached 0.95.
    share = 0.5 if floor <= 0.9 else 1.0
    seconds = _products(size.items, round(share * size.candidates), size) / ANNOY_FLOPS
    return _shared(SearchPlan("annoy", 0, 0, 0, 0, "similar.plan says so", seconds), 0.0, size, resources)


def _shared(plan: SearchPlan, tuned: float, size: GroupSize, resources: SearchResources) -> SearchPlan:
    """Return a plan with its seconds on all cores: those of tuning, of a few tasks, and then those of its work."""
    cores = _at_once(size, resources)
    tuners = min(resources.cores, math.ceil(size.items / TUNED_ITEMS))
    seconds = tuned / max(1, tuners) + plan.work / cores
    return replace(plan, seconds=seconds, work=tuned + plan.work, cores=cores, task_bytes=_task_bytes(size, resources))


def _products(rows: int, columns: int, size: GroupSize) -> float:
    """Floating-point operations of a matrix product."""
    return 2.0 * rows * columns * size.dimensions


def _queries(size: GroupSize) -> float:
    return size.items * QUERY_SECONDS


def _at_once(size: GroupSize, resources: SearchResources) -> int:
    blocks = math.ceil(size.items / block_rows(size.dimensions, resources.task_memory))
    return max(1, min(resources.cores, blocks))


def _task_bytes(size: GroupSize, resources: SearchResources) -> int:
    rows = min(size.items, block_rows(size.dimensions, resources.task_memory))
    queries = min(rows, 512)
    chunk = min(size.candidates, chunk_rows(size.dimensions, resources.task_memory, 512, size.items))
    return held_bytes(size.items) + 4 * size.dimensions * (rows + chunk) + 3 * 4 * queries * chunk


def _between(low: int, value: int, high: int) -> int:
    return max(low, min(value, high))
