"""Answers in a notebook: pictures with scores and labels, bounded, and nothing of the catalogue is markup."""

from __future__ import annotations

import base64
import io
import re
import shutil
import threading
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from lookalike import config
from lookalike.config import SimilarSettings
from lookalike.errors import WarehouseError
from lookalike.images import thumbnails
from lookalike.serving import notebook
from lookalike.serving.client import Release, open_release
from lookalike.serving.gallery import Card, Gallery, image_settings, read_thumbnails
from lookalike.storage.image_reader import ImageReader
from support import constraint_items, records
from support.constraint_oracle import Item
from support.ruled_release import write_ruled_release

HOSTILE = "<script>alert(1)</script>\"'&\x1b[2J\u202e"


class Page(HTMLParser):
    """The elements and the text of a fragment; each element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data}\n"

    @property
    def pictures(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == "img"]


def items(count: int) -> list[Item]:
    columns = {"kind": "shoe", "dept": HOSTILE, "brand": None, "product": None}
    return [Item(f"item-{n:02d}", constraint_items.signs(n), columns) for n in range(count)]


def write(root: Path, shown: list[Item], *, pictures: bool = True) -> Release:
    """A release whose record names the folder of its pictures."""
    similar = SimilarSettings(k=40, group_by="kind")
    write_ruled_release(root, shown, similar)
    stored = {"images": config.ImageSettings().model_dump(mode="json"), "similar": similar.model_dump(mode="json")}
    release = open_release(root)._folder
    record = {**stored, "catalogue": {"image_root": str(root.parent / "pictures"), "keep_columns": ["dept", "kind"]}}
    counts = {**records.COUNTS, "items": len(shown), "embedded": len(shown)}
    records.write_record(release, config=record, counts=counts)
    (root.parent / "pictures").mkdir()
    for n, one in enumerate(shown if pictures else []):
        Image.new("RGB", (60, 30), (9 * n, 0, 0)).save(root.parent / f"pictures/{one.item_id}.jpg")
    return open_release(root)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return write(tmp_path_factory.mktemp("notebook") / "r", items(29))


def test_neighbours_are_shown_with_pictures_scores_and_labels(release: Release) -> None:
    found = release.similar("item-03", 5)
    page = Page(found._repr_html_())
    names = ["item-03", *(one.item_id for one in found)]
    assert [one["alt"] for one in page.pictures] == names
    for n, one in zip([3, *(int(name[-2:]) for name in names[1:])], page.pictures, strict=True):
        kind, _, data = str(one["src"]).partition(",")
        picture = Image.open(io.BytesIO(base64.b64decode(data)))
        assert (kind, picture.size) == ("data:image/jpeg;base64", (112, 56))
        assert picture.getpixel((50, 20))[0] == pytest.approx(9 * n, abs=3)  # type: ignore[index]
    assert "asked for" in page.text
    assert [line for line in page.text.split() if re.fullmatch(r"-?\d\.\d{3}", line)] == [
        f"{one.score:.3f}" for one in found
    ]
    assert page.text.count("shoe") == 6


def test_nothing_of_the_catalogue_is_markup(tmp_path: Path) -> None:
    ids = [HOSTILE, "<b>", "https://shop/x?password=hunter2", "x" * 5000]
    columns = {"kind": HOSTILE, "dept": HOSTILE, "brand": "<img src=x onerror=alert(1)>", "product": HOSTILE}
    hostile = [Item(one, constraint_items.signs(n), columns) for n, one in enumerate(ids)]
    root = write_ruled_release(tmp_path / "r", hostile, SimilarSettings(k=3))
    release = open_release(root)
    answers = (release.similar(HOSTILE), release.similar_many(ids), release.items(), release.search_many([[1.0] * 16]))
    for answer in answers:
        text = answer._repr_html_()
        assert {tag for tag, _ in Page(text).elements} <= {"div", "figure", "figcaption", "img", "br", "b", "p"}
        assert "&lt;script&gt;" in Page(text).text or "<script>" in Page(text).text
        assert not {"\x1b", "\u202e"} & set(text)
        assert "hunter2" not in text
        assert len(text) < 60_000


def test_pictures_are_bounded_in_number_and_the_rest_is_counted(release: Release) -> None:
    for answer, shown, more in (
        (release.similar("item-00", 40), 24, "… and 5 more neighbours"),
        (release.items(), 24, "… and 5 more items"),
        (release.similar_many(release.items(), 6), 24, "… and 25 more lists"),
        (release.search_many(release.embeddings(["item-00"] * 5), 3), 12, "… and 1 more list\n"),
    ):
        page = Page(answer._repr_html_())
        assert len(page.pictures) == shown
        assert more in page.text
    assert "… and 1 more neighbour\n" in Page(release.similar_many(["item-00", "item-01"], 6)._repr_html_()).text


def test_items_without_neighbours_say_so(tmp_path: Path) -> None:
    release = write(tmp_path / "r", items(1))
    page = Page(release.similar("item-00")._repr_html_())
    assert len(page.pictures) == 1
    assert "no neighbours" in Page(release.search([1.0] * 16, 1)[:0]._repr_html_()).text
    assert Page(release.similar_many([])._repr_html_()).text == ""


def test_picture_that_cannot_be_read_is_a_placeholder_with_the_reason(tmp_path: Path) -> None:
    release = write(tmp_path / "r", items(4))
    (tmp_path / "pictures/item-01.jpg").unlink()
    (tmp_path / "pictures/item-02.jpg").write_bytes(b"<html>")
    page = Page(release.items()._repr_html_())
    assert [one["alt"] for one in page.pictures] == ["item-00", "item-03"]
    titles = [attributes["title"] for _, attributes in page.elements if "title" in attributes]
    assert [str(title).partition(":")[0] for title in titles] == ["not_found", "not_an_image"]
    assert "not_found" in page.text


def test_pictures_are_read_from_where_the_release_may_read_them(tmp_path: Path) -> None:
    root = write_ruled_release(tmp_path / "r", items(2), SimilarSettings(k=1))
    limits = config.ImageSettings(allowed_roots=(str(tmp_path / "elsewhere"),))
    stored = {"images": limits.model_dump(mode="json"), "catalogue": {"image_root": str(tmp_path)}}
    folder = open_release(root)._folder
    records.write_record(folder, config=stored, counts={**records.COUNTS, "items": 2, "embedded": 2})
    Image.new("RGB", (8, 8)).save(tmp_path / "item-00.jpg")
    assert Gallery(folder).cards(["item-00"])["item-00"].problem.startswith("bad_uri: not below any of")


def test_slow_pictures_do_not_keep_a_notebook_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def make(path: str, reader: ImageReader) -> thumbnails.Thumbnail:
        if path == "slow":
            ended.wait(60)
        return thumbnails.Thumbnail(f"data:{path}")

    monkeypatch.setattr(thumbnails, "make", make)
    found = read_thumbnails(["a", "slow", "b", "slow"], ImageReader(), seconds=0.3)
    assert [one.uri for one in found] == ["data:a", None, "data:b", None]
    assert found[1].problem == "timeout: not read within 0.3 s"
    assert (
        read_thumbnails(["slow"] * 9 + ["a"], ImageReader(), seconds=0.1)[9].problem == "timeout: not read within 0.1 s"
    )
    assert read_thumbnails([], ImageReader()) == []
    ended.set()


def test_answer_of_a_release_that_is_gone_still_shows_what_it_knows(tmp_path: Path) -> None:
    release = write(tmp_path / "r", items(3))
    found = release.similar("item-00")
    shutil.rmtree(tmp_path / "r")
    page = Page(found._repr_html_())
    assert page.pictures == []
    assert found[0].item_id in page.text
    assert "no picture" in page.text


def test_settings_of_another_version_give_no_pictures_and_no_error(tmp_path: Path) -> None:
    release = write(tmp_path / "r", items(2))
    broken = records.record(config={"images": {"max_megabytes": 3}})
    with pytest.raises(WarehouseError, match=r"config\.images is not as this version"):
        image_settings(broken)
    folder = release._folder
    counts = {**records.COUNTS, "items": 2, "embedded": 2}
    records.write_record(folder, config={"images": {"max_megabytes": 3}}, counts=counts)
    assert "not as this version" in Gallery(folder).cards(["item-00"])["item-00"].problem


def test_card_without_anything_has_a_placeholder() -> None:
    assert "no picture" in notebook._figure("a", Card())
