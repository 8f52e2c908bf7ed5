"""The table of the neighbour search, and the ratios that matter. Nothing is run here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from report import Figure, Goal, Results, aligned, cell

Sizes = Mapping[int, Results]  # number of items -> name in the table -> figures

KERNEL, SPARK = "lookalike kernel", "lookalike through Spark"
SEARCHED, UPDATED = "exact, all lists searched", "exact, 1 % changed"

# Of seconds at one size: below 1, the first is faster.
RATIOS = (
    Goal("kernel over hnswlib", Figure(KERNEL, "seconds"), None, Figure("hnswlib", "seconds")),
    Goal(
        "kernel over hnswlib, both at 0.999",
        Figure(f"{KERNEL} at 0.999", "seconds"),
        None,
        Figure("hnswlib at 0.999", "seconds"),
    ),
    Goal("kernel over faiss flat", Figure(KERNEL, "seconds"), None, Figure("faiss flat", "seconds")),
    Goal("kernel over numpy", Figure(KERNEL, "seconds"), None, Figure("numpy", "seconds")),
    Goal("Spark's step neighbours over the kernel", Figure(SPARK, "query_seconds"), None, Figure(KERNEL, "seconds")),
    Goal(
        "Spark's step index over plain Annoy's build",
        Figure(SPARK, "build_seconds"),
        None,
        Figure("annoy, 50 trees", "build_seconds"),
    ),
    Goal("lists updated over searched", Figure(UPDATED, "query_seconds"), None, Figure(SEARCHED, "query_seconds")),
    Goal(
        "Spark's steps index and neighbours over hnswlib", Figure(SPARK, "seconds"), None, Figure("hnswlib", "seconds")
    ),
)

COLUMNS = {
    "recall": "recall",
    "low": "estimate from",
    "high": "to",
    "build_seconds": "s to build",
    "query_seconds": "s to query",
    "seconds": "s in all",
    "peak_mb": "peak MB",
    "load": "load before",
}


def table(items: int, results: Results) -> str:
    """One line a contender."""
    rows = [[name, *(_cell(column, figures.get(column)) for column in COLUMNS)] for name, figures in results.items()]
    return aligned([[f"{items:,} items", *COLUMNS.values()], *rows])


def ratios(results: Sizes) -> list[dict[str, Any]]:
    """For JSON: each ratio at each size, and how the seconds grow from one size to the next."""
    found = []
    for items, rows in results.items():
        found += [{"what": goal.what, "items": items, "value": goal.value(rows)} for goal in RATIOS]
    for small, large in pairwise(sorted(results)):
        for name in results[large]:
            value = growth(results, name, small, large)
            found.append({"what": f"growth of {name}", "items": large, "from": small, "value": value})
    return found


def growth(results: Sizes, name: str, small: int, large: int) -> float | None:
    """The exponent e of seconds ~ items**e between two sizes; None where one of them has no seconds."""
    first, second = (Figure(name, "seconds").of(results[items]) for items in (small, large))
    return round(math.log(second / first) / math.log(large / small), 3) if first and second else None


def ratio_table(results: Sizes) -> str:
    """One line a ratio, a column a size; a growth is in the column of the larger of its two sizes."""
    found: dict[str, dict[int, float]] = {}
    for ratio in ratios(results):
        if ratio["value"] is not None:
            found.setdefault(ratio["what"], {})[ratio["items"]] = ratio["value"]
    rows = [[what, *(f"{at[items]:.3g}" if items in at else "" for items in results)] for what, at in found.items()]
    return aligned([["seconds over seconds", *(f"{items:,}" for items in results)], *rows])


def _cell(column: str, value: Any) -> str:
    return f"{value:.4f}" if column in ("recall", "low", "high") and value is not None else cell(value)
