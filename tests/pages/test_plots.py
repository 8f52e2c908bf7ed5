"""The plots of a page: text that is text, the page's own colours, ids of their own, the same bytes each time."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from lookalike.pages import plots

BEST, LAST = [0] * 60 + [5] * 20, [0] * 40 + [3] * 30 + [0] * 10
STEPS = {"embed": [200.0, 250.0], "index": [150.0, 100.0], "other steps": [3.0, 4.0]}


@pytest.fixture(params=["scores", "seconds"])
def svg(request: pytest.FixtureRequest) -> str:
    return draw(str(request.param))


def draw(name: str) -> str:
    return plots.scores(BEST, LAST) if name == "scores" else plots.seconds(["1 Jan", "2 Jan"], STEPS)


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]+)</text>", svg)


def test_text_of_a_plot_is_text() -> None:
    assert {"first neighbour", "last neighbour", "score", "0 %", "4 %"} <= set(texts(draw("scores")))
    assert {"embed", "index", "other steps", "minutes", "1 Jan", "2 Jan"} <= set(texts(draw("seconds")))


def test_seconds_are_minutes_where_they_are_many() -> None:
    assert "seconds" in texts(plots.seconds(["1 Jan", "2 Jan"], {"embed": [30.0, 299.0]}))


def test_minutes_are_hours_where_they_are_many() -> None:
    assert "hours" in texts(plots.seconds(["1 Jan", "2 Jan"], {"embed": [30.0, 40_000.0]}))


def test_first_run_is_cut_so_that_the_nights_after_it_can_be_seen() -> None:
    nights = [f"{day} Jan" for day in range(1, 5)]
    drawn = texts(plots.seconds(nights, {"embed": [1_000.0, 10.0, 12.0, 11.0], "read": [200.0, 4.0, 4.0, 4.0]}))
    assert {"seconds", "1,200 ↑"} <= set(drawn)
    assert max(int(one) for one in drawn if one.isdigit()) == 20
    assert "↑" not in "".join(texts(plots.seconds(nights, {"embed": [40.0, 10.0, 12.0, 11.0]})))


def test_runs_that_took_no_time_have_an_axis() -> None:
    assert "seconds" in texts(plots.seconds(["1 Jan", "2 Jan"], {"embed": [0.0, 0.0]}))


def test_plot_has_the_colours_and_the_font_of_the_page(svg: str) -> None:
    assert set(re.findall(r"#[0-9a-f]{6}\b", svg)) == set()
    assert {"var(--series-1)", "var(--series-2)", "var(--faint)", "var(--line)"} <= set(
        re.findall(r"var\([\w-]+\)", svg)
    )
    assert "font-family" not in svg
    assert "<style" not in svg


def test_plot_is_one_element_that_fits_its_place(svg: str) -> None:
    root = ET.fromstring(svg.replace("xlink:href", "href"))
    assert root.attrib == {"viewBox": "0 0 330 190", "aria-hidden": "true", "focusable": "false"}
    assert len(svg) < 30_000


def test_ids_of_two_plots_differ_and_each_reference_has_its_own() -> None:
    both = [draw("scores"), draw("seconds")]
    ids = [re.findall(r'\bid="([^"]+)"', svg) for svg in both]
    assert set(ids[0]) & set(ids[1]) == set()
    for svg, known in zip(both, ids, strict=True):
        used = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg))
        assert {name or other for name, other in used} <= set(known)


def test_same_figures_give_the_same_plot(svg: str) -> None:
    assert svg in (draw("scores"), draw("seconds"))
