"""The tables of docs/scale.md are what the run's own formulas give."""

from __future__ import annotations

import pytest

from support import scale_page
from support.pages import table

HEADINGS = (
    "Seconds from nothing",
    "Seconds of a night",
    "Tasks",
    "Bytes",
    "One group",
    "How the constants were checked",
)


@pytest.fixture(scope="module")
def expected() -> dict[str, scale_page.Rows]:
    return scale_page.tables()


@pytest.mark.parametrize("heading", HEADINGS)
def test_table_is_that_of_the_formulas(expected: dict[str, scale_page.Rows], heading: str) -> None:
    stale = "write them again: PYTHONPATH=lib:tests python -m support.scale_page"
    assert table(scale_page.PAGE, heading) == expected[heading][1:], stale


def test_line_of_a_run_is_what_it_says() -> None:
    assert f"          {scale_page.said()}\n" in scale_page.PAGE.read_text(encoding="utf-8")
