"""Clocks that are off."""

from __future__ import annotations

import pytest

from lookalike.doctor import clocks


@pytest.mark.parametrize(("told", "off"), [(100.0, 0.0), (105.0, 0.0), (106.0, 1.0), (99.0, -1.0)])
def test_clock_is_off_by_what_the_time_of_the_answer_cannot_explain(told: float, off: float) -> None:
    assert clocks.provable(told, 100.0, 105.0) == off


@pytest.mark.parametrize(
    ("offsets", "state"),
    [({}, "ok"), ({"a": 4.0, "b": -4.9}, "ok"), ({"a": 0.0, "b": -30.0}, "warn"), ({"a": 3600.0, "b": -30.0}, "fail")],
)
def test_worst_clock_decides(offsets: dict[str, float], state: str) -> None:
    assert clocks.check(offsets).state == state


def test_clock_that_is_off_is_named_with_its_direction() -> None:
    assert "that of b is 30 s behind the driver's" in clocks.check({"a": 5.0, "b": -30.0}).found
    assert "that of a is 60 s ahead of the driver's" in clocks.check({"a": 60.0, "b": -30.0}).found
