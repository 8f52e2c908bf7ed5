"""The page of a release in a real browser: it fits any width, is read in the dark, on paper, by keyboard and aloud.

The screenshots stay in build/screenshots, for people to look at.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support import browser, made_page, records
from support.drawn import ROOT
from support.made_page import NAMES

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SCREENSHOTS = ROOT / "build/screenshots"
WIDE, NARROW = 1280, 360


@pytest.fixture(scope="module")
def opened() -> Iterator[Browser]:
    if reason := browser.why_not():
        pytest.skip(reason)
    with browser.browser() as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of a release with a part of each kind, of one that was refused, and of a first one of nothing."""
    found = {}
    passed = {"gates": [{**gate, "passed": True} for gate in GATES]}
    many = {"counts": {**records.COUNTS, "items": 123_456_789}}
    for name, sections in (("passed", passed), ("refused", many), ("first", passed)):
        folder = tmp_path_factory.mktemp(name)
        contents = made_page.NONE if name == "first" else made_page.hostile(folder)
        made_page.write(contents, folder, nights=0 if name == "first" else 14, title="A & B's <shop>", **sections)
        (found[name],) = folder.glob("releases/*/report.html")
    return found


GATES = [
    {"key": key, "figure": 0.25, "bound": 0.05, "direction": "at_most", "passed": False}
    for key in ("gates.max_failed_share", "gates.max_hub")
]


@pytest.fixture(params=["passed", "refused", "first"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def show(opened: Browser, path: Path, width: int = WIDE, scheme: Any = "light") -> Page:
    page = opened.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(path.as_uri())
    return page


# Pictures that are larger than their frames, or stretched.
CROPPED = """[...document.querySelectorAll('.frame img')].filter(one => {
  const [picture, frame] = [one, one.parentElement].map(it => it.getBoundingClientRect());
  const isLarger = picture.height > frame.height + 1 || picture.width > frame.width + 1;
  return isLarger || getComputedStyle(one).objectFit == 'fill';
}).map(one => one.alt)"""


def test_page_fits_any_width_light_and_dark(opened: Browser, pages: dict[str, Path], name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for width, scheme in ((WIDE, "light"), (WIDE, "dark"), (NARROW, "light"), (NARROW, "dark")):
        page = show(opened, pages[name], width, scheme)
        if name == "passed" or (width == WIDE) == (scheme == "light"):  # two of the others are enough to look at
            page.screenshot(path=SCREENSHOTS / f"report-{name}-{width}-{scheme}.png", full_page=True)
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(CROPPED) == []
        page.close()


# Of each text: its size, weight, colour, and that of the nearest background, as "r, g, b" with or without alpha.
TEXTS = """() => {
  const seen = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const one = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !one.checkVisibility() || one.closest('.hidden, .skip')) continue;
    const style = getComputedStyle(one);
    let behind = one;
    while (behind && /rgba\\(.*, 0\\)/.test(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement;
    seen.push({
      text: walker.currentNode.textContent.trim().slice(0, 40),
      colour: one.closest('svg') ? style.fill : style.color,
      behind: behind ? getComputedStyle(behind).backgroundColor : 'rgb(255, 255, 255)',
      large: parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.7 && style.fontWeight >= 700),
    });
  }
  return seen;
}"""

# The colours of the plots, and of what they are drawn on.
COLOURS = """() => {
  const [one, behind] = [document.createElement('i'), document.querySelector('.panel:not(.verdict)')];
  document.body.append(one);
  return [1, 2, 3, 4, 5].map(number => {
    one.style.color = `var(--series-${number})`;
    return {colour: getComputedStyle(one).color, behind: getComputedStyle(behind).backgroundColor};
  });
}"""


def luminance(colour: str) -> float:
    """The relative luminance of WCAG 2.2."""
    values = [float(part) / 255 for part in colour.split("(")[1].rstrip(")").split(",")[:3]]
    red, green, blue = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: dict[str, Any]) -> float:
    darker, lighter = sorted(luminance(one[key]) for key in ("colour", "behind"))
    return (lighter + 0.05) / (darker + 0.05)


# Of each element: the lines of its text, and by how much that is too wide.
LINES = """all => all.map(one => {
  const text = document.createRange();
  text.selectNodeContents(one);
  return [text.getClientRects().length, one.scrollWidth - one.clientWidth];
})"""


def test_figures_stay_on_one_line_in_their_tiles(opened: Browser, pages: dict[str, Path]) -> None:
    page = show(opened, pages["refused"])
    for width in (NARROW, 710, 970, 1190, WIDE):
        page.set_viewport_size({"width": width, "height": 900})
        lines = page.locator(".counts .value").evaluate_all(LINES)
        assert lines == [[1, 0]] * 6, width
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_text_stands_out_from_what_is_behind_it(
    opened: Browser, pages: dict[str, Path], name: str, scheme: str
) -> None:
    page = show(opened, pages[name], scheme="dark" if scheme == "print" else scheme)
    if scheme == "print":  # light, also from a dark screen
        page.emulate_media(media="print")
    texts = page.evaluate(TEXTS)
    assert len(texts) > 40
    assert [one for one in texts if contrast(one) < (3 if one["large"] else 4.5)] == []
    bars = page.evaluate(COLOURS)
    assert len(bars) == 5
    assert [one for one in bars if contrast(one) < 3] == []
    page.close()


STRUCTURE = """() => {
  const all = query => [...document.querySelectorAll(query)];
  const ids = all('[id]').map(one => one.id);
  return {
    twice: ids.filter((id, place) => ids.indexOf(id) !== place),
    nowhere: all('a[href], [aria-labelledby]').map(one => one.getAttribute('aria-labelledby') || one.hash.slice(1))
      .concat(all('svg use').map(one => one.href.baseVal.slice(1))).filter(id => !document.getElementById(id)),
    unnamed: all('img').filter(one => !one.alt).length + all('section:not([aria-labelledby])').length,
    headings: all('h1, h2, h3, h4, h5, h6').map(one => +one.tagName[1]),
    cells: all('table').filter(one => !one.querySelector('thead th[scope=col]')).length,
    heads: all('th:not([scope])').length,
    landmarks: ['header', 'nav', 'main', 'footer'].map(name => all(name).length),
    language: document.documentElement.lang,
    scripts: all('script, iframe, object, embed, link, form').length,
  };
}"""


def test_page_has_the_structure_that_a_screen_reader_needs(opened: Browser, pages: dict[str, Path], name: str) -> None:
    page = show(opened, pages[name])
    found = page.evaluate(STRUCTURE)
    levels = found.pop("headings")
    assert found == {
        "twice": [],
        "nowhere": [],
        "unnamed": 0,
        "cells": 0,
        "heads": 0,
        "landmarks": [1, 1, 1, 1],
        "language": "en",
        "scripts": 0,
    }
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels))
    page.close()


def test_screen_reader_hears_the_verdict_the_parts_and_the_pictures(opened: Browser, pages: dict[str, Path]) -> None:
    page = show(opened, pages["refused"])
    heard = page.locator("body").aria_snapshot()
    order = [
        'heading "A & B\'s <shop>" [level=1]',
        'heading "Refused: this release was not published" [level=2]',
        'navigation "Parts of this page"',
        "main:",
        'heading "Counts" [level=2]',
        'heading "Chosen items" [level=2]',
        f'img "picture of {NAMES[0]}"',
        'heading "Failures" [level=2]',
        'columnheader "precision"',
        'heading "Gates" [level=2]',
    ]
    places = [heard.replace('\\"', '"').find(line) for line in order]
    assert -1 not in places
    assert places == sorted(places)
    page.close()


def test_keyboard_reaches_everything_and_shows_where_it_is(opened: Browser, pages: dict[str, Path]) -> None:
    page = show(opened, pages["passed"])
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to the pictures"
    assert page.locator(":focus").bounding_box()["y"] >= 0  # type: ignore[index]
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main"
    page.goto(pages["passed"].as_uri())
    expected = page.locator("a, summary").count()
    reached = set()
    for _ in range(expected):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("[...document.querySelectorAll('a, summary')].indexOf(document.activeElement)"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert reached == set(range(expected))
    page.keyboard.press("Enter")  # on the last one, the settings
    assert page.get_by_text("similar.recall_floor", exact=True).last.is_visible()
    page.close()


def test_hostile_names_are_shown_and_do_nothing(opened: Browser, pages: dict[str, Path]) -> None:
    page = opened.new_page()
    asked: list[str] = []
    page.on("dialog", lambda dialog: pytest.fail(f"it ran: {dialog.message}"))
    page.on("request", lambda request: asked.append(request.url[:5]))
    page.on("console", lambda message: pytest.fail(f"the browser complains: {message.text}"))
    page.goto(pages["passed"].as_uri())
    text = page.locator("body").inner_text()
    assert NAMES[0] in text
    assert NAMES[1] in text
    assert "\\u202egpj.exe\\u202c" in text  # seen, and without effect on what stands around it
    assert NAMES[4] in text
    assert "x" * 200 not in text
    assert set(asked) == {"file:"}  # itself, and what data: URIs hold is asked of nobody
    assert page.locator("main h1").count() == 0
    page.close()


def test_page_prints_without_what_only_a_screen_needs(opened: Browser, pages: dict[str, Path]) -> None:
    page = show(opened, pages["passed"], width=720)
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") == 720
    assert page.locator("nav, .skip, details").evaluate_all("all => all.every(one => !one.checkVisibility())")
    printed = page.pdf(path=SCREENSHOTS / "report-passed.pdf", format="A4", print_background=False)
    assert printed.startswith(b"%PDF")
    page.close()
