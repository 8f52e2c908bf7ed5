"""The figures of the last releases, as tables and as plots."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from lookalike.pages import plots, timings
from lookalike.warehouse.record import ReleaseRecord

# Releases of which the plots and the table show figures.
SHOWN = 30


@dataclass(frozen=True)
class Night:
    """A line of the table."""

    record: ReleaseRecord
    seconds: float


@dataclass(frozen=True)
class History:
    """The releases, the newest first, and plots of their figures by what these are."""

    nights: Sequence[Night]
    plots: dict[str, str]


class Histories:
    """Makes the plots of the same releases once: matplotlib takes a second to start, and one thread at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: tuple[tuple[str, ...], dict[str, str]] = ((), {})

    def of(self, records: Sequence[ReleaseRecord]) -> History:
        """Return what became of these releases, the oldest first."""
        ids = tuple(one.release_id for one in records)
        with self._lock:
            if self._made[0] != ids:
                self._made = (ids, _plots(records[-SHOWN:]))
            drawn = self._made[1]
        return History([Night(one, sum(one.seconds.values())) for one in reversed(records)], drawn)


def _plots(records: Sequence[ReleaseRecord]) -> dict[str, str]:
    if len(records) < 2:
        return {}
    names = timings.names([one.created_at for one in records])
    times = timings.of(records[-1], records[:-1])
    columns = dict.fromkeys(one.column for record in records for one in record.counts.labels)
    precision = {name: [_precision(record, name) for record in records] for name in list(columns)[: len(plots.SERIES)]}
    found = {
        "Items": plots.lines("items", names, {"embedded": [one.counts.embedded for one in records]}),
        "Failed": plots.lines("failed", names, {"failed": [one.counts.failed for one in records]}),
        "Seconds": plots.seconds(times.names, times.seconds),
        "Recall": plots.lines(
            "recall",
            names,
            {
                "estimate": [one.counts.recall for one in records],
                "lower end of its 95 % interval": [one.counts.recall_low for one in records],
            },
        ),
    }
    if precision:
        # Columns are the catalogue's: the plot names its lines by numbers, and the legend is in the page.
        lines = {f"column {number}": values for number, values in enumerate(precision.values(), 1)}
        found["Label precision"] = plots.lines("labels", names, lines)
    return {name: svg for name, svg in found.items() if svg}


def label_columns(records: Sequence[ReleaseRecord]) -> list[str]:
    """Return the columns of the plot of label precision, in the order of its numbers."""
    columns = dict.fromkeys(one.column for record in records[-SHOWN:] for one in record.counts.labels)
    return list(columns)[: len(plots.SERIES)]


def _precision(record: ReleaseRecord, column: str) -> float:
    found = [one.precision for one in record.counts.labels if one.column == column]
    return found[0] if found else float("nan")
