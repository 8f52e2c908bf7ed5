"""The gates: what a release must pass before it is published.

A new gate is a row in `gates`, a key in `config.GateSettings`, and a figure in `metrics.measure`.
"""

from __future__ import annotations

from lookalike import config
from lookalike.warehouse.record import Figures, Gate


def gates(figures: Figures, settings: config.Settings) -> list[Gate]:
    """Return every gate, passed or not."""
    limits = settings.gates
    before = figures.items_before or 0
    lost = _share(max(0, before - figures.items), before)
    hub = figures.hub_recommended / settings.similar.k
    return [
        _at_most(
            "gates.max_failed_share",
            _share(figures.failed, figures.items),
            limits.max_failed_share,
            _reasons(figures),
            "repair the pictures, or where they are read from, and run again; or raise the bound",
        ),
        _at_most(
            "gates.max_items_lost",
            lost,
            limits.max_items_lost,
            f"{before:,} before, {figures.items:,} now",
            "check that the catalogue is complete; if it is meant to be that small, raise the bound for one run",
        ),
        _at_most(
            "gates.max_unusable_vectors",
            _share(figures.unusable_vectors, figures.embedded),
            limits.max_unusable_vectors,
            "",
            "the vectors are zero or not finite: check model.weights, or set model.precision: float32",
        ),
        _at_most(
            "gates.max_duplicate_vectors",
            _share(figures.duplicate_vectors, figures.embedded),
            limits.max_duplicate_vectors,
            "",
            "look whether many items show one placeholder picture; if that is right, raise the bound",
        ),
        _at_most(
            "gates.max_without_neighbours",
            _share(figures.without_neighbours, figures.embedded),
            limits.max_without_neighbours,
            f"{figures.without_neighbours:,} of {figures.embedded:,} items" if figures.without_neighbours else "",
            "similar.group_by, similar.eligible or similar.min_score leave most items no other item: choose a coarser "
            "group, set similar.group_fallback, or lower min_score; if it is right, raise the bound",
        ),
        _at_most(
            "gates.max_short_lists",
            _share(figures.short_lists, figures.recall_sample),
            limits.max_short_lists,
            f"{figures.short_lists:,} of {figures.recall_sample:,} sampled items" if figures.short_lists else "",
            "neighbours were lost, whichever plan searched: report it; set similar.full_every: 1 to compute all lists",
        ),
        _at_most(
            "gates.max_neighbour_churn",
            _share(figures.churn_moved, figures.churn_checked),
            limits.max_neighbour_churn,
            "",
            "lists changed without a reason, which an exact search never does: report it; set similar.full_every: 1 to "
            "compute all lists",
        ),
        _at_most(
            "gates.max_hub",
            hub,
            limits.max_hub,
            f"item {figures.hub_item} is in {figures.hub_recommended:,} lists" if figures.hub_item else "",
            "look at the picture of that item: a blank or broken one is near to everything; leave it out, or raise the "
            "bound",
        ),
        _recall(figures, settings.similar),
    ]


def _at_most(key: str, figure: float, bound: float, detail: str, advice: str) -> Gate:
    return Gate(
        key=key,
        figure=figure,
        bound=bound,
        direction="at_most",
        passed=figure <= bound,
        detail=detail,
        advice=advice,
    )


def _recall(figures: Figures, similar: config.SimilarSettings) -> Gate:
    """Hold the lower end of the interval against the floor.

    A floor that no sample of this size can prove, 1.0 above all, is passed only by a sample without a miss.
    """
    low, floor = figures.recall_low, similar.recall_floor
    return Gate(
        key="similar.recall_floor",
        figure=low,
        bound=floor,
        direction="at_least",
        passed=low >= floor or (figures.recall == 1 and not figures.recall_missed),
        detail=f"estimate {figures.recall:.4f}, 95 % interval {low:.4f} to {figures.recall_high:.4f} on "
        f"{figures.recall_sample:,} of {figures.embedded:,} items{_worst(figures)}",
        advice=_recall_advice(figures, similar),
    )


def _worst(figures: Figures) -> str:
    if not figures.recall_groups or not figures.recall_missed:
        return ""
    worst = figures.recall_groups[0]
    name = "without a value" if worst.group is None else repr(worst.group)
    return f"; worst group {name} {worst.estimate:.4f}"


def _recall_advice(figures: Figures, similar: config.SimilarSettings) -> str:
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
