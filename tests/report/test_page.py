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
from lookalike.spark.release_tables import ReleaseTables
from lookalike.warehouse.record import ReleaseRecord
from support import records, staging
from support.small_release import HOSTILE, make_record, make_settings, make_tables

RED, BLUE = (200, 20, 20), (20, 20, 200)


def save_picture(path: Path, size: tuple[int, int] = (60, 80), colour: tuple[int, ...] = RED) -> str:
    Image.new("RGB", size, colour).save(path)
    return path.name


def write_page(tables: ReleaseTables, record: ReleaseRecord, folder: Path) -> str:
    staged = staging.stage(folder, "20260102T030405Z-abc123")
    settings = make_settings(folder)
    report.write(report.collect(replace(tables, release=staged), settings), record, settings, staged)
    assert list(staged.written.values()) == staging.files_of(staged)  # as files.json will say
    return staged.report.read_text(encoding="utf-8")


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
        self.text += " ".join(data.split()) + " "

    def having(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Three items, one of a hostile id and one whose picture is gone since; one failure."""
    root = tmp_path_factory.mktemp("page")
    tables = make_tables(
        spark,
        items=[
            ("a", save_picture(root / "a.png"), "shoes"),
            (HOSTILE, save_picture(root / "b.png", colour=BLUE), HOSTILE),
            ("c", "gone.png", None),
        ],
        similar=[("a", 1, HOSTILE, 0.98765), ("a", 2, "c", 0.5)],
        failed=[(HOSTILE, f"images/{HOSTILE}.jpg", "not_found", f"no such file {HOSTILE}")],
    )
    return Page(write_page(tables, make_record(root), root))


def test_page_shows_the_headline_figures(page: Page) -> None:
    expected = ["items 4", "embedded 3", "failed 1", "pictures/s 1", "recall 0.9951", "fidelity 0.9984"]
    assert [headline for headline in expected if headline not in " ".join(page.text.split())] == []


def test_page_says_which_gate_passed_and_which_refused(page: Page) -> None:
    words = " ".join(page.text.split())
    assert "gates.max_failed_share 0.2500 at most 0.05 ✗ refused" in words
    assert "similar.recall_floor 0.9951 at least 0.99 ✓ passed" in words


def test_page_says_how_sure_the_recall_is_and_where_it_is_worst(page: Page) -> None:
    words = " ".join(page.text.split())
    assert "recall 0.9951 0.9912 to 0.9980, on 3 items" in words
    assert f"{HOSTILE} 0.9700 0.9000 to 0.9900 2 of 1,200 no value 1.0000 1.0000 to 1.0000 1 of 1" in words


def test_longest_step_has_the_longest_bar() -> None:
    found = report.bars({"read": 1.0, "embed": 4.0, "quality": 0.0})
    assert [(bar.name, bar.share) for bar in found] == [("read", 25), ("embed", 100), ("quality", 0)]


def test_bars_of_steps_that_took_no_time_are_empty() -> None:
    assert [bar.share for bar in report.bars({"read": 0.0})] == [0]


def test_hostile_item_id_is_text_and_not_markup(page: Page) -> None:
    assert page.having("script") == []
    assert page.text.count(HOSTILE) >= 5  # as neighbour, as item, as label, thrice as failure
    alts = [image["alt"] for image in page.having("img")]
    assert f"picture of {HOSTILE}" in alts


def test_page_needs_nothing_else(page: Page) -> None:
    links = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "data", "action") or name.startswith("on")
    ]
    assert links
    assert all(link is not None and link.startswith("data:image/jpeg") for link in links)


def test_missing_picture_is_a_placeholder_with_the_reason(page: Page) -> None:
    assert "no picture: not_found: no such file" in page.text
    assert all(image["alt"] != "picture of c" for image in page.having("img"))


def test_null_label_leaves_no_trace(page: Page) -> None:
    assert "None" not in page.text


def test_page_names_every_setting(page: Page) -> None:
    keys = [key for key in config.known_keys() if "." in key]
    assert [key for key in keys if key not in page.text] == []


def test_page_of_a_release_where_every_picture_failed(spark: SparkSession, tmp_path: Path) -> None:
    nothing = {**records.COUNTS, "items": 1, "embedded": 0, "failed": 1, "similar_items": 0}
    record = make_record(tmp_path, counts=nothing, model={"model_id": "0a206ad4f4c2def1"})
    tables = make_tables(spark, [], failed=[("a", "a.jpg", "not_found", "no such file")])
    text = Page(write_page(tables, record, tmp_path)).text
    assert "measured of int8 only" in text
    assert "0 items drawn" in text


def test_failures_are_grouped_commonest_first_with_bounded_examples(spark: SparkSession) -> None:
    failed = [(f"{i}", f"{i}.jpg", "empty", "0 bytes") for i in range(5)]
    failed += [("x", "x.jpg", "corrupt", "bad")]
    tables = make_tables(spark, [], failed=failed)
    found = report.failures(report.examples_of(tables.failed), {"corrupt": 1, "empty": 5})
    assert [(group.reason, group.count) for group in found] == [("empty", 5), ("corrupt", 1)]
    assert [[one.item_id for one in group.examples] for group in found] == [["0", "1", "2"], ["x"]]
