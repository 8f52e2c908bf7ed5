"""How the neighbours of a group are searched: a choice by expected cost, from sizes alone. No Spark.

Three plans: exact (matrix products with all candidates), partition (matrix products with the candidates of the lists
nearest to the query, partition.py) and annoy (the release's own shards, re-ranked exactly).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

PlanKind = Literal["exact", "partition", "annoy"]

# Measured on a 2.5 GHz AVX-512 core at 2,048 dimensions: float32 matrix products of 512 x 16,384 (120 GFLOP/s), those
# of a partition's small blocks with their gathering (80), bytes copied or scored again a second, one query's turn
# through numpy, and Annoy's walk (138 s for 30,000 queries of search_k 10,000 on one thread: 9 GFLOP/s).
PRODUCT_FLOPS = 1.2e11
LIST_FLOPS = 0.8e11
COPIED_BYTES = 2e9
QUERY_SECONDS = 2e-5
ANNOY_FLOPS = 9e9

# Lists that a query looks into on average, by the recall that is to be proven: 100,000 mixed photo vectors in 316
# lists; 30,000 in 173 are within a tenth of it. The run solves for the reach by its own sample; this is expected.
EXPECTED_PROBES = ((0.95, 3.1), (0.98, 4.5), (0.99, 6.5), (0.995, 8.5), (0.998, 11.0), (0.9995, 20.0))

# Of each list. FAISS asks for 39 at least; with 20, a recall of 0.995 looks at 1.07 of the candidates, and training
# takes half as long.
TRAINING_ROWS = 20
TRAINING_ROUNDS = 6  # of k-means: the recall at 8 lists is that of 20 rounds to within 0.001
TUNING_QUERIES = 512
MAX_LISTS = 2048

# A partition's expected cost has errors of its own, and exact answers are worth something.
WORTH_IT = 0.7


@dataclass(frozen=True)
class GroupSize:
    """A group to be searched: all its items are queries, `candidates` of them may be recommended."""

    items: int
    candidates: int
    dimensions: int


@dataclass(frozen=True)
class SearchResources:
    """What there is to search with; `task_memory` in bytes, for each of `cores` tasks."""

    cores: int
    task_memory: int


@dataclass(frozen=True)
class SearchPlan:
    """How a group is searched, what that is expected to cost in all and a task, and why it was chosen."""

    kind: PlanKind
    lists: int
    probes: float
    seconds: float
    task_bytes: int
    why: str

    def line(self) -> str:
        """For a person."""
        lists = f", about {self.probes:.0f} of {self.lists} lists" if self.kind == "partition" else ""
        return f"{self.kind}{lists}, about {self.seconds:.1f} s, {self.task_bytes / 2**20:,.0f} MiB a task: {self.why}"


def choose(sizes: GroupSize, machine: SearchResources, floor: float, forced: PlanKind | None = None) -> SearchPlan:
    """The plan of least expected seconds that can reach the recall `floor`, unless one is `forced`."""
    plans = {"exact": _exact(sizes, machine), "partition": _partition(sizes, machine, floor)}
    if forced == "annoy":
        return _annoy(sizes, machine, floor)
    exact, partition = plans["exact"], plans["partition"]
    if forced is not None:
        return _because(plans[forced], "similar.plan says so")
    if floor >= 1:
        return _because(exact, "a recall of 1 is asked for")
    if partition.seconds < WORTH_IT * exact.seconds:
        return _because(partition, f"exact would take {exact.seconds:.1f} s")
    return _because(exact, f"a partition would take {partition.seconds:.1f} s")


def block_rows(dimensions: int, task_memory: int) -> int:
    """Query rows a task holds: a sixteenth of its memory, 4,096 of 2,048 dimensions in the default 512 MiB."""
    return _between(64, task_memory // 16 // (4 * dimensions), 4096)


def chunk_rows(dimensions: int, task_memory: int, query_rows: int) -> int:
    """Candidate rows a task holds at a time, with the scores of `query_rows` queries and their copies: half of it."""
    return _between(64, task_memory // 2 // (4 * dimensions + 3 * 4 * query_rows), 16_384)


def looked_at(probes: float, lists: int) -> float:
    """Cost of the search in `probes` of a partition's lists, as a share of an exact one's; it may be above 1.

    Fuller lists are nearer to more queries, 1.2 times the mean on the same vectors, and their products are smaller.
    """
    return 1.2 * probes / max(1, lists) * PRODUCT_FLOPS / LIST_FLOPS


def lists_for(candidates: int) -> int:
    """Lists of a partition: as many as each holds items, so that finding the nearest costs what one list does."""
    return _between(1, math.isqrt(candidates), MAX_LISTS)


def training_rows(lists: int, dimensions: int, task_memory: int) -> int:
    """Candidates that the centroids are trained on: half of a task's memory at most."""
    return min(TRAINING_ROWS * lists, max(lists, task_memory // 2 // (4 * dimensions)))


def _exact(sizes: GroupSize, machine: SearchResources) -> SearchPlan:
    seconds = _products(sizes.items, sizes.candidates, sizes) / PRODUCT_FLOPS + _queries(sizes)
    return SearchPlan("exact", 0, 0, seconds / _at_once(sizes, machine), _task_bytes(sizes, machine), "")


def _partition(sizes: GroupSize, machine: SearchResources, floor: float) -> SearchPlan:
    lists = lists_for(sizes.candidates)
    probes = min(lists, next((number for recall, number in EXPECTED_PROBES if floor <= recall), lists))
    rows = training_rows(lists, sizes.dimensions, machine.task_memory)
    alone = TRAINING_ROUNDS * _products(rows, lists, sizes) + _products(TUNING_QUERIES, sizes.candidates, sizes)
    assigned = _products(sizes.items + sizes.candidates, lists, sizes)
    searched = looked_at(probes, lists) * _products(sizes.items, sizes.candidates, sizes)
    copied = 3 * 4 * sizes.dimensions * sizes.candidates / COPIED_BYTES
    shared = (assigned + searched) / PRODUCT_FLOPS + copied + 2 * _queries(sizes)
    seconds = alone / PRODUCT_FLOPS + shared / _at_once(sizes, machine)
    return SearchPlan("partition", lists, probes, seconds, _task_bytes(sizes, machine), "")


def _annoy(sizes: GroupSize, machine: SearchResources, floor: float) -> SearchPlan:
    # At 2,048 dimensions no smaller search_k has reached 0.95: see the README's table.
    share = 0.5 if floor <= 0.9 else 1.0
    seconds = _products(sizes.items, round(share * sizes.candidates), sizes) / ANNOY_FLOPS
    why = "similar.plan says so"
    return SearchPlan("annoy", 0, 0, seconds / _at_once(sizes, machine), _task_bytes(sizes, machine), why)


def _products(rows: int, columns: int, sizes: GroupSize) -> float:
    """Floating-point operations of a matrix product."""
    return 2.0 * rows * columns * sizes.dimensions


def _queries(sizes: GroupSize) -> float:
    return sizes.items * QUERY_SECONDS


def _at_once(sizes: GroupSize, machine: SearchResources) -> int:
    blocks = math.ceil(sizes.items / block_rows(sizes.dimensions, machine.task_memory))
    return max(1, min(machine.cores, blocks))


def _task_bytes(sizes: GroupSize, machine: SearchResources) -> int:
    rows = min(sizes.items, block_rows(sizes.dimensions, machine.task_memory))
    queries = min(rows, 512)
    chunk = min(sizes.candidates, chunk_rows(sizes.dimensions, machine.task_memory, 512))
    return 4 * sizes.dimensions * (rows + chunk) + 3 * 4 * queries * chunk


def _because(plan: SearchPlan, why: str) -> SearchPlan:
    return SearchPlan(plan.kind, plan.lists, plan.probes, plan.seconds, plan.task_bytes, why)


def _between(low: int, value: int, high: int) -> int:
    return max(low, min(value, high))
