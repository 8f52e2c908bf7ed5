"""The page of a release."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from pyspark.sql import SparkSession

from lookalike import config
from lookalike.report import page as report
from lookalike.report import pictures
from lookalike.report.contents import Changes
from support import made_page, records, staging
from support.made_page import NAMES
from support.small_release import HOSTILE, make_record, make_settings, write_tables

RED, BLUE = (200, 20, 20), (20, 20, 200)


def save_picture(path: Path, size: tuple[int, int] = (60, 80), colour: tuple[int, ...] = RED) -> str:
    Image.new("RGB", size, colour).save(path)
    return path.name


class Page(HTMLParser):
    """What a browser would find: the elements with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text += " ".join(data.split()) + " "

    def having(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Three items, one of a hostile id and one whose picture is gone since; one failure."""
    root = tmp_path_factory.mktemp("page")
    staged = staging.stage(root, "20260102T030405Z-abc123")
    tables = write_tables(
        spark,
        staged,
        items=[
            ("a", save_picture(root / "a.png"), "shoes"),
            (HOSTILE, save_picture(root / "b.png", colour=BLUE), HOSTILE),
            ("c", "gone.png", None),
        ],
        similar=[("a", 1, HOSTILE, 0.98765), ("a", 2, "c", 0.5)],
        failed=[(HOSTILE, f"images/{HOSTILE}.jpg", "not_found", f"no such file {HOSTILE}")],
    )
    settings, before = make_settings(root), set(staged.written)
    report.write(report.collect(tables, None, settings), make_record(root), report.Past(None), settings, staged)
    assert [name for name in staged.written if name not in before] == ["report.html"]  # as files.json will say
    return Page(staged.report.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """A page with a part of each kind, of a release that was refused."""
    folder = tmp_path_factory.mktemp("full")
    return Page(made_page.write(made_page.hostile(folder), folder, title="Shoes & Sons"))


def test_page_says_first_which_shop_when_and_that_it_was_refused(full: Page) -> None:
    words = full.text[full.text.index("Similar items") :]
    assert words.startswith("Similar items Shoes & Sons Friday, 2 January 2026, 03:04 UTC Release r1 Refused: this")
    assert "Items without a usable picture: 25 % , at most 5 %." in words
    assert "Readers still have the release before, before-1 of Thursday, 1 January 2026" in words


def test_page_of_a_release_that_passed_says_who_knows_what_came_later(tmp_path: Path) -> None:
    text = Page(made_page.write(made_page.NONE, tmp_path, gates=[])).text
    assert "Published: passed all 0 gates" in text
    assert "lookalike releases list" in text
    assert "Refused" not in text


def test_refused_first_release_leaves_readers_without_any(tmp_path: Path) -> None:
    text = Page(made_page.write(made_page.NONE, tmp_path, nights=0)).text
    assert "There was no release before it: readers have none yet." in text
    assert "before:" not in text


def test_page_shows_the_counts_next_to_those_of_the_release_before(page: Page, full: Page) -> None:
    assert "items 4 in the catalogue new 2 not there before changed 0" in page.text
    assert "items 4 in the catalogue before: 4 new 2 not there before before: 2" in full.text


def test_run_that_embedded_nothing_was_not_slow(tmp_path: Path, full: Page) -> None:
    nothing = Page(made_page.write(made_page.NONE, tmp_path, pictures={"read": 1, "embedded": 0})).text
    assert "0 pictures embedded." in nothing
    assert "2 pictures embedded, 1 a second through the whole step." in full.text


def test_page_says_which_gate_passed_and_which_refused(page: Page) -> None:
    gates = page.text[page.text.index("What a release must pass") :]
    assert "✗ refused Items without a usable picture: 25 %, at most 5 % gates.max_failed_share" in gates
    assert "✓ passed Recall, the lower end of its 95 % interval: 0.9951, at least 0.99 similar.recall_floor" in gates


def test_page_says_where_the_recall_is_worst(page: Page) -> None:
    assert f"{HOSTILE} 0.9700 0.9000 to 0.9900 2 of 1,200 no value 1.0000 1.0000 to 1.0000 1 of 1" in page.text


def test_hostile_names_are_text_and_not_markup(page: Page, full: Page) -> None:
    for one in (page, full):
        assert one.having("script") == one.having("b")[:0]
        assert all(
            image["src"] is not None and image["src"].startswith("data:image/jpeg") for image in one.having("img")
        )
    assert page.text.count(HOSTILE) >= 5  # as neighbour, as item, as label, thrice as failure
    assert f"picture of {HOSTILE}" in [image["alt"] for image in page.having("img")]
    assert "\u202e" not in full.text
    assert NAMES[4] in full.text


def test_names_without_end_do_not_fill_the_page(full: Page) -> None:
    assert len(full.text) < 20_000
    assert all(len(image["alt"] or "") < 300 for image in full.having("img"))


def test_page_needs_nothing_else(full: Page) -> None:
    links = [
        value
        for _, attributes in full.elements
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "srcset", "data", "action") or name.startswith("on")
    ]
    assert any(link is not None and link.startswith("data:image/jpeg") for link in links)
    assert all(link is not None and link.startswith(("data:image/jpeg", "#")) for link in links)


def test_missing_picture_is_a_placeholder_with_the_reason(page: Page) -> None:
    assert "no picture: not_found: no such file" in page.text
    assert all(image["alt"] != "picture of c" for image in page.having("img"))


def test_night_does_not_wait_for_pictures_of_a_store_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "ALL_SECONDS", -1.0)
    one = Page(made_page.write(made_page.hostile(tmp_path), tmp_path))
    assert "no picture: the pictures before it took too long" in one.text
    assert one.having("img") == []


def test_null_label_leaves_no_trace(page: Page) -> None:
    assert "None" not in page.text


def test_page_names_every_setting(page: Page) -> None:
    keys = [key for key in config.known_keys() if "." in key]
    assert [key for key in keys if key not in page.text] == []


def test_neighbours_that_came_and_went_are_marked(full: Page) -> None:
    changes = full.text[full.text.index("Before and after Of") :]
    assert "Of 2,000 lists that are drawn by a hash of the item, 31 (1.55 %) have other neighbours" in changes
    marks = [
        attributes["class"] for name, attributes in full.elements if (attributes.get("class") or "").startswith("mark")
    ]
    assert marks == ["mark left", "mark new"]


def test_first_row_of_pictures_comes_with_how_to_read_it(tmp_path: Path, full: Page) -> None:
    assert full.text.count("A score is a cosine") == 1
    assert full.text.index("Chosen items The items") < full.text.index("A score is a cosine")
    unknown = replace(made_page.hostile(tmp_path), chosen=())
    text = Page(made_page.write(unknown, tmp_path)).text
    assert text.index("A sample Items") < text.index("A score is a cosine")


def test_lists_that_are_all_the_same_are_said_to_be(tmp_path: Path) -> None:
    same = replace(made_page.NONE, changes=Changes(2_000, 0))
    assert (
        "All of 2,000 lists, drawn by a hash of the item, have the same" in Page(made_page.write(same, tmp_path)).text
    )


def test_labels_without_lists_are_not_said_to_be_missing(tmp_path: Path) -> None:
    kept = replace(made_page.NONE, kept_columns=("colour",))
    text = Page(made_page.write(kept, tmp_path)).text
    assert "Label precision No item has a neighbour." in text
    assert "No column to compare by" not in text


def test_page_of_a_release_where_every_picture_failed(tmp_path: Path) -> None:
    nothing = {**records.COUNTS, "items": 1, "embedded": 0, "failed": 1, "similar_items": 0}
    text = Page(made_page.write(made_page.NONE, tmp_path, counts=nothing, model={"model_id": "0a206ad4f4c2def1"})).text
    assert "failed 1 100 % of the items" in text
    assert "No item has a neighbour." in text


def test_advice_shows_its_code_as_code(full: Page) -> None:
    assert "or correct the path; detail shows blanks" in full.text
    assert "`" not in full.text
