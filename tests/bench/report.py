"""Results as a table, and the ratios that matter with the thresholds they are held against. Nothing is run here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Results = Mapping[str, Mapping[str, Any]]  # contender -> its figures


@dataclass(frozen=True)
class Figure:
    """One figure of one contender."""

    contender: str
    name: str

    def of(self, results: Results) -> float | None:
        """None where the contender did not run."""
        return results.get(self.contender, {}).get(self.name)


@dataclass(frozen=True)
class Goal:
    """A figure, or the ratio of two, and the threshold beside it; None where it is only worth knowing."""

    what: str
    figure: Figure
    threshold: float | None
    over: Figure | None = None
    at_most: bool = False

    def value(self, results: Results) -> float | None:
        """None where something it needs is missing."""
        value, divisor = self.figure.of(results), self.over.of(results) if self.over else 1.0
        return round(value / divisor, 5) if value is not None and divisor else None

    def met(self, results: Results) -> bool | None:
        """None where there is no value, or no threshold."""
        value = self.value(results)
        if value is None or self.threshold is None:
            return None
        return value <= self.threshold if self.at_most else value >= self.threshold


GOALS = (
    Goal(
        "int8 over the recipe, start-up counted in both",
        Figure("ours-int8", "end_to_end"),
        4.5,
        Figure("recipe", "end_to_end"),
    ),
    Goal(
        "float32 over the recipe, start-up counted in both",
        Figure("ours-float32", "end_to_end"),
        1.6,
        Figure("recipe", "end_to_end"),
    ),
    Goal(
        "float32 with model.engine: openvino over the recipe, start-up counted in both",
        Figure("ours-float32-openvino", "end_to_end"),
        1.6,
        Figure("recipe", "end_to_end"),
    ),
    Goal(
        "int8 through Spark, start-up not counted, over the bare engine",
        Figure("ours-int8", "steady"),
        0.9,
        Figure("bare-int8", "steady"),
    ),
    Goal(
        "  its embed action alone, over the bare engine",
        Figure("ours-int8", "embed_action"),
        None,
        Figure("bare-int8", "steady"),
    ),
    Goal(
        "large JPEGs: int8 through Spark, start-up not counted, over the bare engine",
        Figure("large-ours-int8", "steady"),
        0.6,
        Figure("large-bare-int8", "steady"),
    ),
    Goal(
        "  its embed action alone, over the bare engine",
        Figure("large-ours-int8", "embed_action"),
        None,
        Figure("large-bare-int8", "steady"),
    ),
    Goal(
        "large JPEGs: int8 over the recipe, start-up counted in both",
        Figure("large-ours-int8", "end_to_end"),
        None,
        Figure("large-recipe", "end_to_end"),
    ),
    Goal(
        "int8 with model.engine: openvino through Spark, start-up not counted, over the bare engine",
        Figure("ours-int8-openvino", "steady"),
        0.85,
        Figure("bare-int8-openvino", "steady"),
    ),
    Goal(
        "  its embed action alone, over the bare engine",
        Figure("ours-int8-openvino", "embed_action"),
        0.9,
        Figure("bare-int8-openvino", "steady"),
    ),
    Goal(
        "large JPEGs: int8 with model.engine: openvino through Spark, start-up not counted, over the bare engine",
        Figure("large-ours-int8-openvino", "steady"),
        0.6,
        Figure("large-bare-int8-openvino", "steady"),
    ),
    Goal(
        "bare engine over OpenVINO, int8",
        Figure("bare-int8", "steady"),
        0.75,
        Figure("openvino-int8", "steady"),
    ),
    Goal(
        "bare engine with model.engine: openvino over OpenVINO, int8",
        Figure("bare-int8-openvino", "steady"),
        0.75,
        Figure("openvino-int8", "steady"),
    ),
    Goal(
        "int8 with model.engine: openvino over the recipe, start-up counted in both",
        Figure("ours-int8-openvino", "end_to_end"),
        4.5,
        Figure("recipe", "end_to_end"),
    ),
    Goal(
        "bare engine over OpenVINO, int8, without AMX",
        Figure("bare-int8", "steady"),
        None,
        Figure("openvino-int8-vnni", "steady"),
    ),
    Goal(
        "bare engine over OpenVINO, float32",
        Figure("bare-float32", "steady"),
        None,
        Figure("openvino-float32", "steady"),
    ),
    Goal(
        "the whole job, its model compiled before, over the recipe's embedding, start-up counted in both",
        Figure("job", "end_to_end"),
        3.8,
        Figure("recipe", "end_to_end"),
    ),
    Goal(
        "the whole job over the peer's pipeline, start-up counted in both",
        Figure("job", "end_to_end"),
        None,
        Figure("peer-int8-openvino", "end_to_end"),
    ),
    Goal(
        "a night of 1 % changed, after its start-up, over a run from nothing",
        Figure("nights", "night_share"),
        0.12,
        at_most=True,
    ),
    Goal("  its step index", Figure("nights", "index_share"), 0.12, at_most=True),
    Goal("  its step neighbours", Figure("nights", "neighbours_share"), 0.3, at_most=True),
    Goal("  its step embed", Figure("nights", "embed_share"), 0.04, at_most=True),
    Goal(
        "a night of 1 % changed, over the peer's, which does everything again; start-up counted in both",
        Figure("nights", "night_seconds"),
        None,
        Figure("nights-peer", "end_to_end_seconds"),
    ),
    Goal(
        "a run from nothing, over the peer's; start-up counted in both",
        Figure("nights", "full_seconds"),
        None,
        Figure("nights-peer", "end_to_end_seconds"),
    ),
    Goal(
        "a night when nothing changed, over that of the checkout beside",
        Figure("nights", "nothing_over_beside"),
        0.55,
        at_most=True,
    ),
    Goal("a run from nothing, over that of the checkout beside", Figure("nights", "full_over_beside"), None),
    Goal(
        "the step model, bundled weights, over that of the checkout beside",
        Figure("nights", "model_over_beside"),
        0.45,
        at_most=True,
    ),
    Goal(
        "the step model at the size of the other contenders, over that of the checkout beside",
        Figure("job", "model_over_beside"),
        0.45,
        at_most=True,
    ),
    Goal("int8 to float32, mean cosine", Figure("fidelity", "mean_cosine"), 0.997),
    Goal("int8 to float32, overlap of the top 10", Figure("fidelity", "top10_overlap"), 0.97),
    Goal(
        "peak memory of a worker, 2,000 x 2,000 JPEG and PNG, MB",
        Figure("memory", "worker_mb"),
        350,
        at_most=True,
    ),
    Goal(
        "peak memory of a worker, 2,000 x 2,000 progressive JPEG and transparent PNG, MB",
        Figure("memory-cutouts", "worker_mb"),
        350,
        at_most=True,
    ),
)

NIGHTS = {
    "embedded": "embedded",
    "start_up": "s of start-up",
    "after_start_up": "s after it",
}

COLUMNS = {
    "pictures": "pictures",
    "end_to_end_seconds": "s from start",
    "end_to_end": "img/s from start",
    "steady": "img/s warm",
    "worker_mb": "worker MB",
    "decoder_mb": "decoder MB",
    "load": "load before",
}


def speed_table(results: Results) -> str:
    """One line a contender."""
    rows = [[name, *(cell(figures.get(column)) for column in COLUMNS)] for name, figures in results.items()]
    return aligned([["", *COLUMNS.values()], *rows])


def nights_table(results: Results) -> str:
    """One line a night of each checkout, with the seconds of every step; empty when they did not run."""
    checkouts = results.get("nights", {}).get("nights")
    if not checkouts:
        return ""
    nights = {f"{checkout}: {name}": night for checkout, of in checkouts.items() for name, night in of.items()}
    steps = list(dict.fromkeys(step for night in nights.values() for step in night["steps"]))
    rows = [
        [name, *(cell(night[column]) for column in NIGHTS), *(cell(night["steps"].get(step)) for step in steps)]
        for name, night in nights.items()
    ]
    return aligned([["nights", *NIGHTS.values(), *steps], *rows])


def goal_table(results: Results) -> str:
    """One line a goal that has a value."""
    rows = [["", "value", "threshold", ""]]
    for goal in GOALS:
        if (value := goal.value(results)) is not None:
            sign = "<=" if goal.at_most else ">="
            threshold = "" if goal.threshold is None else f"{sign} {goal.threshold:g}"
            verdict = {True: "met", False: "NOT met", None: ""}[goal.met(results)]
            rows.append([goal.what, f"{value:.4g}", threshold, verdict])
    return aligned(rows)


def goals(results: Results) -> list[dict[str, Any]]:
    """The same for JSON, those without a value too."""
    return [
        {
            "what": goal.what.strip(),
            "value": goal.value(results),
            "threshold": goal.threshold,
            "threshold_is": "at most" if goal.at_most else "at least",
            "met": goal.met(results),
        }
        for goal in GOALS
    ]


def cell(value: object) -> str:
    """A figure for the table; empty where there is none."""
    return "" if value is None else f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """The first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
