"""The site through Flask's test client, over a warehouse with hostile names: what it shows, and what it refuses."""

from __future__ import annotations

import io
import re
import shutil
import threading
from html import unescape
from pathlib import Path
from urllib.parse import quote, urlencode

import pyarrow.parquet as pq
import pytest
from flask.testing import FlaskClient
from PIL import Image

from lookalike import config
from lookalike.browse import held as held_module
from lookalike.browse import shelf as shelf_module
from lookalike.browse.app import Site
from lookalike.browse.kept_files import KeptFiles
from lookalike.browse.pictures import Pictures
from lookalike.browse.security import Door
from lookalike.browse.shelf import Shelf
from lookalike.models.network import CompiledModel
from lookalike.serving.client import open_release
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder
from support import browsed, constraint_items, records, served
from support.browsed import FAILED, FIRST, HOSTILE, IDS, SECOND
from support.drawn import Drawn
from support.ruled_release import write_ruled_release

VIEWS = (
    *("", "find", "find?q=shoes", "groups", "group?id=shoes", "failures", "failures?reason=corrupt"),
    *("changes", "releases", *(f"worst?kind={kind}" for kind in ("lowest", "short", "hubs", "labels", "duplicates"))),
)

TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> config.Settings:
    return browsed.write(tmp_path_factory.mktemp("browsed"))


def open_site(
    settings: config.Settings, folder: Path, host: str = "127.0.0.1", token: str | None = None
) -> FlaskClient:
    return make_site(settings, folder, host, token).app().test_client()


def make_site(settings: config.Settings, folder: Path, host: str = "127.0.0.1", token: str | None = None) -> Site:
    pictures = Pictures(KeptFiles(folder / "cache"))
    return Site(Shelf(settings), pictures, Door.of(host, token), settings.report.title)


@pytest.fixture
def site(written: config.Settings, tmp_path: Path) -> FlaskClient:
    return open_site(written, tmp_path)


@pytest.fixture
def changing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[FlaskClient, Path]:
    """A site over a warehouse of its own, which it looks at for each page."""
    monkeypatch.setattr(shelf_module, "_SECONDS", -1.0)
    settings = browsed.write(tmp_path)
    return open_site(settings, tmp_path), tmp_path / "warehouse"


def to(view: str = "", release_id: str = SECOND, **arguments: str) -> str:
    return f"/r/{release_id}/{view}" + (f"?{urlencode(arguments)}" if arguments else "")


def text(site: FlaskClient, address: str, status: int = 200) -> str:
    answer = site.get(address)
    assert answer.status_code == status, answer.text
    return answer.text


def test_start_leads_to_the_current_release(site: FlaskClient) -> None:
    assert site.get("/").headers["Location"] == to()


@pytest.mark.parametrize("view", VIEWS)
def test_views_show_hostile_names_as_text(site: FlaskClient, view: str) -> None:
    answer = site.get(f"/r/{SECOND}/{view}")
    assert answer.status_code == 200
    for forbidden in (HOSTILE, "<img src=x", "</style><h1>", "\u202e", "<b>gone", "x" * 300, "y" * 300):
        assert forbidden not in re.sub(r'(href|src|value)="[^"]*"', "", answer.text), forbidden
    assert "<script" not in answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "script-src" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("number", range(len(IDS)))
def test_each_item_is_found_by_the_link_to_it(site: FlaskClient, number: int) -> None:
    shown = text(site, to("item", id=IDS[number]))
    neighbours = [IDS[(number + step) % len(IDS)] for step in (2, 3)]
    links = {unescape(link) for link in re.findall(r'class="id" href="([^"]*)"', shown)}
    assert links == {to("item", id=one) for one in neighbours[: 1 if number == len(IDS) - 1 else 2]}
    assert all(site.get(link).status_code == 200 for link in links)


def test_item_marks_labels_that_differ_and_links_to_why(site: FlaskClient) -> None:
    shown = text(site, to("item", id="a\0b"))
    found = re.findall(r'<span class="(differs|label)">([^<]*)<', shown)
    assert [kind for kind, _ in found] == ["differs", "differs"]
    assert found[0][1] == "bags"
    assert len(found[1][1]) == 40
    assert to("why", id="a\0b", other="\u202egpj.exe") in unescape(shown)


def test_items_are_found_by_parts_of_ids_words_and_whole_ids(site: FlaskClient) -> None:
    assert "4 items" in text(site, to("find", q="SHOES"))
    assert "1 item" in text(site, to("find", q="shoes red"))
    assert "Nothing found" in text(site, to("find", q="shoes bags"))
    assert unescape(site.get(to("find", q="red-1")).headers["Location"]) == to("item", id="red-1")
    assert quote("<b>gone</b>") in text(site, to("find", q="gone")).replace("%2F", "/")
    assert "Nothing found" in text(site, to("find", q="\0" * 10_000))
    assert "1 item" in text(site, to("find", q="gro\u0308\u00dfe"))  # as another keyboard writes it


def test_failed_item_says_why_and_what_to_do(site: FlaskClient) -> None:
    shown = text(site, to("item", id=FAILED[1]))
    assert "corrupt" in shown
    assert "upload the picture again" in shown


def test_failures_are_by_reason_with_advice(site: FlaskClient) -> None:
    shown = text(site, to("failures"))
    assert "upload the picture, or correct the path" in shown
    assert "it ends early" in text(site, to("failures", reason="corrupt"))


def test_pictures_are_those_of_items_made_once(
    written: config.Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = open_site(written, tmp_path)
    for side, longest in (("small", 224), ("large", 720)):
        answer = site.get(to(side, id=IDS[1]))
        assert answer.mimetype == "image/jpeg"
        assert max(Image.open(io.BytesIO(answer.data)).size) == longest
    monkeypatch.setattr("lookalike.browse.pictures.thumbnails", None)  # nothing can be made any more
    assert site.get(to("small", id=IDS[1])).mimetype == "image/jpeg"


def test_no_path_of_the_visitor_is_opened(site: FlaskClient) -> None:
    for path in ("unnamed.png", "0.png", "/etc/passwd"):
        assert site.get(to("small", id=path)).status_code == 404
    for path in ("/asked/..%2f..%2fetc%2fpasswd", "/asked/" + "a" * 32, "/r/..%2f..%2f/report", "/r/../report"):
        assert site.get(path).status_code in (404, 410)


def test_picture_that_is_gone_is_drawn_with_the_reason(site: FlaskClient) -> None:
    answer = site.get(to("small", id=IDS[-1]))
    assert answer.mimetype == "image/svg+xml"
    assert "not_found" in answer.text


def test_worst_are_in_order(site: FlaskClient) -> None:
    shown = text(site, to("worst", kind="lowest"))
    scores = [float(one) for one in re.findall(r"best score ([\d.]+)", shown)]
    assert scores == sorted(scores)
    assert len(scores) == len(IDS)
    assert "1 of 2" in text(site, to("worst", kind="short"))
    assert "2 of the first 2" in text(site, to("worst", kind="labels"))


def test_items_that_look_alike_are_shown_without_a_cosine_of_duplicates(
    site: FlaskClient, tmp_path: Path, written: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = text(site, to("worst", kind="duplicates"))
    assert "a score of 0.999 or more" in shown
    assert "0 groups" in shown
    monkeypatch.setattr(held_module, "ALIKE", 0.7)  # of the first neighbour of each
    assert f"{len(IDS)} items" in text(open_site(written, tmp_path), to("worst", kind="duplicates"))


def test_changes_show_before_and_after(site: FlaskClient) -> None:
    shown = text(site, to("changes", since=FIRST))
    assert "10 items are in both releases" in shown
    assert '<span class="mark left">' in shown
    assert '<span class="mark new">' in shown


def test_comparison_with_the_release_before_is_prepared(
    written: config.Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_site(written, tmp_path)
    made.prepare_views()
    monkeypatch.setattr("lookalike.browse.changes.compare", None)
    monkeypatch.setattr("lookalike.browse.shelf.HeldRelease", None)  # nothing is read or compared any more
    assert "10 items are in both releases" in text(made.app().test_client(), to("changes"))


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/nothing", 404),
        (to("item"), 400),
        (to("item", id="no such"), 404),
        (to("item", id="x" * 9_000 + HOSTILE), 404),
        (to("group", id="no such"), 404),
        (to("worst", kind=HOSTILE), 400),
        (to("worst", kind="labels", column=HOSTILE), 400),
        (to("like", picture="../../x"), 400),
        (to("changes", since="../.."), 410),
        (to("find", page="-1"), 200),
        (to("find", page="9" * 400), 200),
        ("/r/20260101/", 410),
    ],
)
def test_wrong_addresses_are_answered_in_words(site: FlaskClient, address: str, status: int) -> None:
    shown = text(site, address, status)
    assert HOSTILE not in shown
    assert "Traceback" not in shown


def test_page_that_is_not_shown_keeps_the_way_to_the_others(site: FlaskClient) -> None:
    text(site, to())
    shown = text(site, to("item", FIRST, id="no such"), 404)
    assert f'href="{to("groups", FIRST)}"' in shown
    assert 'role="search"' in shown
    answer = site.post(to("search", FIRST), data={})
    assert f'href="{to("groups", FIRST)}"' in answer.text


def test_page_of_a_release_that_has_none_is_not_found(changing: tuple[FlaskClient, Path]) -> None:
    site, warehouse = changing
    assert site.get(to("report")).status_code == 200
    (warehouse / "releases" / SECOND / "report.html").unlink()
    assert str(warehouse) not in text(site, to("report"), 404)


def test_item_says_whether_it_may_be_recommended_and_no_card_does(tmp_path: Path) -> None:
    rules = config.SimilarSettings(k=2, eligible="in_stock")
    items = constraint_items.all_cases()
    write_ruled_release(tmp_path / "warehouse/releases/r1", items, rules)
    browsed.point_to(tmp_path / "warehouse", "r1")
    raw = {"catalogue": {"path": "c.parquet"}, "warehouse": {"path": str(tmp_path / "warehouse")}}
    site = open_site(config.Settings.model_validate(raw), tmp_path)
    for one in items[:3] + [item for item in items if not item.eligible][:3]:
        shown = text(site, to("item", "r1", id=one.item_id))
        assert f"may be recommended</th><td>{'yes' if one.eligible else 'no'}, by" in shown
        assert '">true</span>' not in shown


def test_site_changes_nothing(site: FlaskClient) -> None:
    assert site.post(to("item", id="red-1")).status_code == 405
    assert site.delete(to()).status_code == 405


@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "localhost.evil", "[::2]", ""])
def test_site_does_not_answer_to_names_of_others(site: FlaskClient, name: str) -> None:
    assert site.get(to(), headers={"Host": name}).status_code == 421


@pytest.mark.parametrize("name", ["localhost:9", "127.0.0.1", "[::1]:8765", "LOCALHOST"])
def test_site_answers_to_names_of_this_machine(site: FlaskClient, name: str) -> None:
    assert site.get(to(), headers={"Host": name}).status_code == 200


def test_token_is_asked_for_once(written: config.Settings, tmp_path: Path) -> None:
    site = open_site(written, tmp_path, "10.0.0.1", TOKEN)
    for wrong in ("", "?token=wrong", "?token=%F0%9F%98%80"):
        assert "Token" in text(site, f"/r/{SECOND}/{wrong}", 401)
        assert site.get(f"{to('small', id=IDS[1])}{wrong.replace('?', '&')}").status_code == 401
    answer = site.get(f"/r/{SECOND}/find?q=a%26b&token={TOKEN}")
    assert answer.headers["Location"] == to("find", q="a&b")
    assert re.search(r"; HttpOnly;.*SameSite=Lax|SameSite=Lax.*HttpOnly", answer.headers["Set-Cookie"])
    assert "Find" in text(site, to())


def test_token_of_the_form_leads_back_to_this_site_alone(written: config.Settings, tmp_path: Path) -> None:
    for given, wanted in ((to(), to()), ("//evil.example", "/"), ("https://evil.example", "/"), ("/\\evil", "/")):
        site = open_site(written, tmp_path, "10.0.0.1", TOKEN)
        assert site.post("/enter", data={"token": "no", "to": given}).status_code == 401
        assert site.post("/enter", data={"token": TOKEN, "to": given}).headers["Location"] == wanted


def test_new_release_is_offered_and_old_links_go_on(changing: tuple[FlaskClient, Path]) -> None:
    site, warehouse = changing
    assert "not the current release" not in text(site, to("groups"))
    browsed.point_to(warehouse, FIRST)
    shown = text(site, to("group", id="shoes"))
    assert "not the current release" in shown
    assert to("group", FIRST, id="shoes") in unescape(shown)


def test_refused_release_is_named_and_the_first_one_is_shown_where_there_is_no_other(
    changing: tuple[FlaskClient, Path],
) -> None:
    site, warehouse = changing
    refuse(warehouse, SECOND)
    browsed.point_to(warehouse, FIRST)
    assert to(release_id=SECOND) in text(site, to("releases", FIRST))
    shutil.rmtree(warehouse / "releases")
    (warehouse / "CURRENT").unlink()
    assert site.get("/").headers["Location"] == to()
    assert "A gate refused this release" in text(site, to())
    text(site, to("releases"))
    text(site, to("changes"))


def refuse(warehouse: Path, release_id: str) -> None:
    """Make a release what the warehouse keeps of one that a gate refused."""
    (warehouse / "refused").mkdir()
    (warehouse / "releases" / release_id).rename(warehouse / "refused" / release_id)
    (warehouse / "refused" / release_id / "release.json").rename(warehouse / "refused" / release_id / "refused.json")


def test_labels_of_two_releases_are_compared_by_their_columns(tmp_path: Path) -> None:
    settings = browsed.write(tmp_path)
    release = ReleaseFolder(tmp_path / "warehouse/releases" / SECOND)
    path = release.embeddings / "part-0.parquet"
    table = pq.read_table(path)
    pq.write_table(table.rename_columns([*table.column_names[:-1], "colour"]), path, write_page_checksum=True)
    counts = release.record().counts.model_dump(mode="json")
    stored = settings.model_copy(update={"similar": config.SimilarSettings(k=2)}).model_dump(mode="json")
    records.write_record(release, FIRST, counts=counts, config=stored)
    shown = text(open_site(settings, tmp_path), to("changes"))
    before, now = re.split(r">Now<", shown, maxsplit=1)
    assert "differs" not in before
    assert "differs" in now


def test_removed_release_says_so(changing: tuple[FlaskClient, Path]) -> None:
    site, warehouse = changing
    text(site, to(release_id=FIRST))
    shutil.rmtree(warehouse / "releases" / FIRST)
    assert "was removed" in text(site, to(release_id=FIRST), 410)


def test_page_does_not_wait_for_a_warehouse_that_does_not_answer(
    changing: tuple[FlaskClient, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    site, _ = changing
    text(site, to())
    answers = threading.Event()
    monkeypatch.setattr(shelf_module, "_PATIENCE", 0.01)
    monkeypatch.setattr(Warehouse, "releases", lambda _: [answers.wait(60)][:0])
    try:
        text(site, to("groups"))  # and another, while the first one still looks
        text(site, to("failures"))
        assert sum(one.name.endswith("(_look_again)") for one in threading.enumerate()) == 1
    finally:
        answers.set()


def send(site: FlaskClient, data: bytes, release_id: str = SECOND) -> str:
    answer = site.post(to("search", release_id), data={"picture": (io.BytesIO(data), "x.jpg")})
    assert answer.status_code == 400
    return str(answer.text)


def test_pictures_that_are_too_large_or_empty_are_refused(site: FlaskClient) -> None:
    assert "no picture was chosen" in send(site, b"")
    assert "larger than 20 MiB" in send(site, bytes((20 << 20) + 1))
    assert site.post(to("search"), data={"picture": (io.BytesIO(bytes(22 << 20)), "x.jpg")}).status_code == 413


def test_picture_finds_its_item(
    model: CompiledModel, drawn: Drawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = drawn.table.slice(0, 4).to_pylist()
    pictures = {row["item_id"]: drawn.folder / row["image_path"] for row in rows}
    warehouse = served.write_warehouse(tmp_path / "warehouse", model, pictures)
    raw = {"catalogue": {"path": "c.parquet"}, "warehouse": {"path": str(warehouse)}}
    made = make_site(config.Settings.model_validate(raw), tmp_path)
    made.prepare_questions()
    monkeypatch.setattr("lookalike.models.store.find", None)  # the network and the index are open
    monkeypatch.setattr("lookalike.index.annoy.load", None)
    site = made.app().test_client()
    name, file = next(iter(pictures.items()))
    answer = site.post(to("search", "r1"), data={"picture": (io.BytesIO(file.read_bytes()), "x.jpg")})
    assert answer.status_code == 303
    shown = text(site, answer.headers["Location"])
    first = re.search(r'class="id" href="([^"]*)">[^<]*</a>\s*<span class="note">([^<]*)<', shown)
    assert first
    assert (unescape(first[1]), first[2]) == (to("item", "r1", id=name), "1.000")
    assert site.get(re.search(r'src="(/asked/[^"]*)"', shown)[1]).mimetype == "image/jpeg"  # type: ignore[index]
    assert "not_an_image" in send(site, b"<html>", "r1")


def test_why_says_what_the_command_says(tmp_path: Path) -> None:
    rules = config.SimilarSettings(k=2, group_by="kind", group_fallback=("dept",))
    warehouse = tmp_path / "warehouse"
    write_ruled_release(warehouse / "releases/r1", constraint_items.fewer_than_k(), rules)
    browsed.point_to(warehouse, "r1")
    raw = {"catalogue": {"path": "c.parquet"}, "warehouse": {"path": str(warehouse)}}
    site = open_site(config.Settings.model_validate(raw), tmp_path)
    shown = unescape(text(site, to("why", "r1", id="020", other="010")))
    for line in open_release(warehouse).why("020", "010").lines():
        assert line in shown
    assert "is not in release r1" in unescape(text(site, to("why", "r1", id="020", other=HOSTILE), 404))


def test_cache_is_bounded(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path / "cache", most_bytes=10_000)
    for number in range(50):
        kept.keep(f"{number}.jpg", bytes(1_000))
    assert sum(path.stat().st_size for path in (tmp_path / "cache").iterdir()) <= 12_000
    assert kept.read("49.jpg") is not None
