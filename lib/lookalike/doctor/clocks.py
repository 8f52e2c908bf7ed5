"""Compare clocks: those of the executors and of the store with the driver's."""

from __future__ import annotations

from collections.abc import Mapping

from lookalike.doctor.check import Check

# A log of several machines cannot be read any more.
WARN_SECONDS = 5.0
# Amazon's signatures allow 15 minutes; other stores as much or less.
FAIL_SECONDS = 600.0


def provable(told: float, before: float, after: float) -> float:
    """Return by how many seconds a clock is surely off that told a time between two of ours; 0 where none is sure."""
    return told - after if told > after else min(0.0, told - before)


def check(offsets: Mapping[str, float]) -> Check:
    """Return what the clocks' offsets mean, in seconds by place."""
    if not offsets:
        return Check("clocks", "ok", "there is only one")
    place, worst = max(offsets.items(), key=lambda one: abs(one[1]))
    if abs(worst) < WARN_SECONDS:
        return Check("clocks", "ok", f"{len(offsets)} other than the driver's, at most {abs(worst):.1f} s off")
    direction = "ahead of" if worst > 0 else "behind"
    return Check(
        "clocks",
        "fail" if abs(worst) >= FAIL_SECONDS else "warn",
        f"that of {place} is {abs(worst):,.0f} s {direction} the driver's",
        "set both by NTP: stores refuse requests whose time is far off, and logs cannot be compared",
    )
