"""What the last releases took, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from lookalike.errors import WarehouseError
from lookalike.pages import plots, words
from lookalike.warehouse.record import ReleaseRecord
from lookalike.warehouse.release import ReleaseFolder

# Two weeks of nights.
RELEASES = 14

# The steps that take longest have a colour of their own.
_STEPS = len(plots.SERIES) - 1
_OTHER = "other steps"


@dataclass(frozen=True)
class StepBar:
    """A step's seconds, and its `share` of the longest, in percent."""

    name: str
    seconds: float
    share: float


@dataclass(frozen=True)
class Timings:
    """The steps of this run, and those of the last releases: names, dates, and the seconds of the longest steps."""

    steps: Sequence[StepBar]
    names: Sequence[str]
    dates: Sequence[str]
    seconds: dict[str, list[float]]

    @property
    def totals(self) -> list[float]:
        """The seconds of each release."""
        return [sum(took) for took in zip(*self.seconds.values(), strict=True)]


def last_records(releases: Sequence[ReleaseFolder], count: int = RELEASES - 1) -> list[ReleaseRecord]:
    """Return the records of the newest releases, the oldest first; skip damaged ones."""
    found = []
    for release in releases[-count:]:
        with suppress(WarehouseError):
            found.append(release.record())
    return found


def of(record: ReleaseRecord, earlier: Sequence[ReleaseRecord]) -> Timings:
    """Return the times of this run and of the releases before."""
    longest = max(record.seconds.values(), default=0) or 1
    bars = [StepBar(name, took, round(100 * took / longest, 1)) for name, took in record.seconds.items()]
    all_of_them = [one for one in (*earlier, record) if one.seconds]
    sums: dict[str, float] = {}
    for one in all_of_them:
        for name, took in one.seconds.items():
            sums[name] = sums.get(name, 0.0) + took
    named = sorted(sums, key=lambda name: -sums[name])[:_STEPS]
    seconds = {name: [one.seconds.get(name, 0.0) for one in all_of_them] for name in sums if name in named}
    if len(sums) > len(named):
        rest = (sum(took for name, took in one.seconds.items() if name not in named) for one in all_of_them)
        seconds[_OTHER] = list(rest)
    dates = [f"{words.short_date(one.created_at)}, {one.created_at:%H:%M}" for one in all_of_them]
    return Timings(bars, names([one.created_at for one in all_of_them]), dates, seconds)


def names(moments: Sequence[datetime]) -> list[str]:
    """Return a short name for each of some times: its day, with the time below it where a day has several."""
    days = [words.short_date(one) for one in moments]
    if len(set(days)) == len(days):
        return days
    return [f"{day}\n{one:%H:%M}" for day, one in zip(days, moments, strict=True)]
