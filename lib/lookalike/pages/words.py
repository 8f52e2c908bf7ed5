"""The page of a release in words: its verdict, its counts against the release before, its gates, and times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from lookalike.warehouse.record import ChangesRecord, Figures, Gate, LabelPrecision, ReleaseRecord

# Not those of the machine's language.
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def date(moment: datetime) -> str:
    """Return a time as people read it: Thursday, 26 November 2026, 02:15 UTC."""
    day = f"{_DAYS[moment.weekday()]}, {moment.day} {_MONTHS[moment.month - 1]} {moment.year}"
    return f"{day}, {moment:%H:%M} UTC"


def short_date(moment: datetime) -> str:
    """Return the day and the month: 26 Nov."""
    return f"{moment.day} {_MONTHS[moment.month - 1][:3]}"


@dataclass(frozen=True)
class Count:
    """A figure at the top of the page, and the same of the release before."""

    label: str
    value: str
    before: str
    note: str


def counts(record: ReleaseRecord, before: ReleaseRecord | None) -> list[Count]:
    """Return what a person asks first: how many items, and what became of them."""
    figures, changes = record.counts, record.changes
    then, earlier = (before.counts, before.changes) if before else (None, None)
    failed = percent(figures.failed / max(1, figures.items))
    alone = percent(figures.without_neighbours / max(1, figures.embedded))
    return [
        _count("items", figures, then, "in the catalogue"),
        _count("new", changes, earlier, "not there before"),
        _count("changed", changes, earlier, "new picture version"),
        _count("removed", changes, earlier, "left since"),
        _count("failed", figures, then, f"{failed} of the items"),
        _count("without_neighbours", figures, then, f"{alone} of those with a usable picture"),
    ]


def _count(name: str, now: Figures | ChangesRecord | None, then: Figures | ChangesRecord | None, note: str) -> Count:
    """Return one of the figures; a release of an old version lacks some."""
    value, before = (getattr(one, name, None) for one in (now, then))
    return Count(name.replace("_", " "), _number(value), _number(before), note)


def _number(figure: int | None) -> str:
    return "unknown" if figure is None else f"{figure:,}"


def percent(share: float) -> str:
    """Return a share as people read it; a little is never 0, nor nearly all 100."""
    points = 100 * share
    if 0 < points < 0.01:
        return "less than 0.01 %"
    if 99.99 < points < 100:
        return "more than 99.99 %"
    if 10 <= points <= 99:
        return f"{points:.0f} %"
    return f"{points:.2f}".rstrip("0").rstrip(".") + " %"


def rate(pictures: float) -> str:
    """Return pictures a second; a slow run is not one of 0."""
    return f"{pictures:,.0f}" if pictures >= 10 else f"{pictures:.2g}"


@dataclass(frozen=True)
class GateWords:
    """A gate as a sentence; `advice` where it was not passed."""

    key: str
    title: str
    measured: str
    bound: str
    passed: bool
    detail: str
    advice: str


_SHARE = "{:.4g}".format

# What each gate asks, and how its figure reads.
GATES: dict[str, tuple[str, Callable[[float], str]]] = {
    "gates.max_failed_share": ("Items without a usable picture", percent),
    "gates.max_items_lost": ("Items that the catalogue lost since the release before", percent),
    "gates.max_unusable_vectors": ("Embeddings that are zero or not finite", percent),
    "gates.max_duplicate_vectors": ("Items with the embedding of another item", percent),
    "gates.max_without_neighbours": ("Items without a neighbour", percent),
    "gates.max_short_lists": ("Sampled items with fewer neighbours than the rules allow", percent),
    "gates.max_neighbour_churn": ("Items with other neighbours, though nothing they depend on changed", percent),
    "gates.max_hub": ("Lists that recommend one and the same item, as a multiple of similar.k", "{:.3g}".format),
    "similar.recall_floor": ("Recall, the lower end of its 95 % interval", _SHARE),
}


def gates(found: Sequence[Gate]) -> list[GateWords]:
    """Return the gates in words, those that refused the release first."""
    return [_gate(gate) for gate in sorted(found, key=lambda gate: gate.passed)]


def _gate(gate: Gate) -> GateWords:
    title, said = GATES.get(gate.key, (gate.key, _SHARE))
    bound = f"{gate.direction.replace('_', ' ')} {said(gate.bound)}"
    advice = "" if gate.passed else gate.advice
    return GateWords(gate.key, title, said(gate.figure), bound, gate.passed, gate.detail, advice)


@dataclass(frozen=True)
class LabelWords:
    """The precision of a column as the page shows it, and how wide its bars are, in percent.

    `items` says on how many it was estimated, where these are fewer than of another column.
    """

    column: str
    items: str
    precision: str
    chance: str
    before: str
    share: float
    chance_share: float


def label_words(now: Sequence[LabelPrecision], before: ReleaseRecord | None) -> list[LabelWords]:
    """Return the precision of each column next to chance and to that of the release before."""
    then = {(one.column, one.k): one for one in before.counts.labels} if before else {}
    most = max((one.items for one in now), default=0)
    return [
        LabelWords(
            one.column,
            "" if one.items == most else f"on {one.items:,} {'item' if one.items == 1 else 'items'}",
            _precision(one, one.precision),
            _precision(one, one.chance),
            _precision(earlier, earlier.precision) if (earlier := then.get((one.column, one.k))) else "none",
            round(100 * one.precision, 1),
            round(100 * one.chance, 1),
        )
        for one in now
    ]


def _precision(of: LabelPrecision, share: float) -> str:
    return f"{share:.3f}" if of.items else "none"
