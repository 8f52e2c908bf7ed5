"""Random stories of which each is a run of the job or more: few by default, many with `make test-long`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings

# `make test-long` sets it: how many stories each test tells.
LONG = "EXAMPLES" in os.environ


def stories(count: int, number: int = 0) -> Callable[[Any], Any]:
    """Have a test tell `count` stories, by default the same ones each time; another `number`, other stories."""
    chosen = settings(
        max_examples=int(os.environ.get("EXAMPLES", count)),
        deadline=None,
        database=None,
        phases=[Phase.generate],  # shrinking would take hours
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    return chosen if LONG else lambda test: seed(number)(chosen(test))
