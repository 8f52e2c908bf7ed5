"""Random stories of which each is a run of the job or more: few by default, many with `make test-long`."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

# `make test-long` sets it: how many stories each test tells.
LONG = "EXAMPLES" in os.environ


def stories(count: int) -> settings:
    """Settings for a test that by default tells the same `count` stories, and others each time where it is long."""
    return settings(
        max_examples=int(os.environ.get("EXAMPLES", count)),
        deadline=None,
        database=None,
        derandomize=not LONG,
        phases=[Phase.generate],  # shrinking would take hours
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
