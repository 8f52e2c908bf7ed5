"""What a release must pass before it is published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lookalike import config
from lookalike.quality.metrics import Figures


@dataclass(frozen=True)
class Gate:
    """One check, with its figure and its threshold."""

    name: str
    figure: float
    threshold: float
    passed: bool
    detail: str = ""

    def line(self) -> str:
        """For a person."""
        verdict = "passed" if self.passed else "REFUSED"
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.name}: {self.figure:.4f}, threshold {self.threshold:g}: {verdict}{detail}"


def gates(figures: Figures, settings: config.Settings) -> list[Gate]:
    """Every gate, passed or not."""
    limits = settings.gates
    before = figures.items_before or 0
    lost = _share(max(0, before - figures.items), before)
    hub = figures.hub_recommended / settings.similar.k
    return [
        _at_most("gates.max_failed_share", _share(figures.failed, figures.items), limits, _reasons(figures)),
        _at_most("gates.max_items_lost", lost, limits, f"{before:,} before, {figures.items:,} now"),
        _at_most("gates.max_unusable_vectors", _share(figures.unusable_vectors, figures.embedded), limits),
        _at_most("gates.max_duplicate_vectors", _share(figures.duplicate_vectors, figures.embedded), limits),
        _at_most("gates.max_neighbour_churn", _share(figures.churn_moved, figures.churn_checked), limits),
        _at_most("gates.max_hub", hub, limits, f"item {figures.hub_item}, in units of k" if figures.hub_item else ""),
        _recall(figures, settings.similar),
    ]


def refused(results: Sequence[Gate]) -> list[str]:
    """A line for each gate that was not passed."""
    return [gate.line() for gate in results if not gate.passed]


def _at_most(name: str, figure: float, limits: config.GateSettings, detail: str = "") -> Gate:
    threshold = float(getattr(limits, name.partition(".")[2]))
    return Gate(name, figure, threshold, figure <= threshold, detail)


def _recall(figures: Figures, similar: config.SimilarSettings) -> Gate:
    """The lower bound reaches the floor.

    A floor that no sample of this size can prove, 1.0 above all, is passed by a sample without a miss only.
    """
    low, floor = figures.recall_low, similar.recall_floor
    passed = low >= floor or (figures.recall == 1 and not figures.recall_missed)
    detail = (
        f"estimate {figures.recall:.4f}, 95 % interval {low:.4f} to {figures.recall_high:.4f} on "
        f"{figures.recall_sample:,} of {figures.embedded:,} items{_worst(figures)}"
    )
    return Gate(
        "similar.recall_floor", low, floor, passed, detail if passed else f"{detail}; {_advice(figures, similar)}"
    )


def _worst(figures: Figures) -> str:
    if not figures.recall_groups or not figures.recall_missed:
        return ""
    worst = figures.recall_groups[0]
    name = "without a value" if worst.group is None else repr(worst.group)
    return f"; worst group {name} {worst.estimate:.4f}"


def _advice(figures: Figures, similar: config.SimilarSettings) -> str:
    if figures.recall >= similar.recall_floor:
        return "a larger similar.recall_sample may prove it"
    if similar.plan == "exact":
        return "an exact search misses nothing: run again, the table is damaged"
    return "set similar.plan: exact, or a lower similar.recall_floor"


def _share(part: int, whole: int) -> float:
    return part / max(1, whole)


def _reasons(figures: Figures) -> str:
    counts = ", ".join(f"{reason} {count:,}" for reason, count in figures.failed_by_reason.items())
    return f"{counts}; for example {figures.failed_example}" if counts else ""
