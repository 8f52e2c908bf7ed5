"""A folder of pictures as a catalogue. Without Spark."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lookalike import config
from lookalike.catalogue.files import DataFile
from lookalike.catalogue.formats.pictures import PictureObjects
from lookalike.catalogue.formats.rows import Report, Wanted
from lookalike.storage.prefix import Prefix
from support.catalogue_files import converted, rows_of
from support.items_table import refusal

# Names that shops, cameras and phones give, and some that nobody should.
NAMES = [
    "a.jpg",
    "B.JPEG",
    "c.d.webp",
    "shoes/a.jpg",
    "shoes/red/a.heic",
    "shoes.jpg/a.png",
    "a folder/IMG 1 (2).tif",
    "kind=x/a.jpg",
    "Möbel/日本.avif",
    "100%/a#b?c:d.gif",
    "[x]{y}*.bmp",
    "line\nend.jpg",
    "'quotes\".png",
    "no picture/drawing.svg",
    "-rf.jpg",
    "$(touch x).jpg",
]
NO_ITEMS = [
    ".DS_Store",
    "._a.jpg",
    ".hidden/x.jpg",
    "Thumbs.db",
    "@eaDir/a.jpg",
    "__MACOSX/a.jpg",
    "notes.txt",
    "LICENSE",
]


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def read(folder: Path, **catalogue: Any) -> list[dict[str, Any]]:
    found = converted(folder, folder.parent / "work" / "rows", **catalogue)
    return rows_of(found, "item_id", "image_path", *catalogue.get("keep_columns", ()))


def test_each_picture_is_an_item_named_by_its_path_without_suffix(tmp_path: Path, capfd: Any) -> None:
    root = tmp_path / "photos"
    make(root, *NAMES, *NO_ITEMS)
    found = read(root, keep_columns=["folder"])
    assert {row["item_id"]: row["image_path"] for row in found} == {
        os.path.splitext(name)[0]: f"{root}/{name}" for name in NAMES
    }
    assert {row["item_id"]: row["folder"] for row in found}["shoes/red/a"] == "shoes/red"
    assert {row["item_id"]: row["folder"] for row in found}["a"] is None
    said = capfd.readouterr().err
    assert "a folder of pictures: 16 rows" in said
    assert "passed over: 2 files that are no pictures by their names, such as LICENSE in" in said


@pytest.mark.parametrize("folder", ["", "shoes/"])
@pytest.mark.parametrize("other", ["a.png", "a.JPG"])
def test_two_pictures_of_one_id_are_named(tmp_path: Path, folder: str, other: str) -> None:
    make(tmp_path / "photos", f"{folder}a.jpg", f"{folder}{other}", "b.jpg")
    message = refusal(lambda: read(tmp_path / "photos"))
    assert f"{tmp_path}/photos/{folder}" in message
    assert "a.jpg" in message
    assert other in message
    assert f"are both the item '{folder}a'" in message


def test_link_to_a_picture_and_to_nothing_are_items_and_a_circle_is_named(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    make(root, "in/a.jpg")
    (root / "in" / "b.jpg").symlink_to(root / "in" / "a.jpg")
    (root / "in" / "c.jpg").symlink_to("gone")
    assert [row["item_id"] for row in read(root)] == ["in/a", "in/b", "in/c"]
    (root / "in" / "up").symlink_to(root / "in")
    assert "/in/up is a link to a folder above it" in refusal(lambda: read(root))


def test_name_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    make(tmp_path / "photos", "in/a.jpg", "in/\udcfc.jpg")
    assert "/in/\\xfc.jpg has a name that is not UTF-8; rename it" in refusal(lambda: read(tmp_path / "photos"))


def test_column_that_pictures_do_not_have_is_named(tmp_path: Path) -> None:
    make(tmp_path / "photos", "a.jpg")
    message = refusal(lambda: read(tmp_path / "photos", keep_columns=["price"]))
    assert "which the catalogue lacks; it has: item_id, image_path, folder" in message


def test_pictures_next_to_a_table_are_no_catalogue(tmp_path: Path) -> None:
    make(tmp_path / "shop", "images/a.jpg", "b.jpg")
    (tmp_path / "shop" / "items.csv").write_text("item_id,image_path\nx,images/a.jpg\n")
    assert [row["item_id"] for row in read(tmp_path / "shop")] == ["x"]


def test_objects_of_a_store_are_items_like_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = [name for name in NAMES if ":" not in name]

    def listed(self: Prefix, below: str = "", *, recursive: bool = True) -> dict[str, object]:
        base = f"{below}/" if below else ""
        found = [name for name in [*names, *NO_ITEMS] if name.startswith(base)]
        return {name: object() for name in found if recursive or "/" not in name.removeprefix(base)}

    monkeypatch.setattr(Prefix, "objects", listed)
    monkeypatch.setattr(
        Prefix, "folders", lambda *_: sorted({n.partition("/")[0] for n in [*names, *NO_ITEMS] if "/" in n})
    )
    pictures = PictureObjects("s3://shop/photos", config.StoreSettings())
    parts = pictures.files()
    batches = [one for part in parts for one in pictures.batches(part, Wanted(frozenset()), Report())]
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert sorted(row["image_path"] for row in rows) == sorted(f"s3://shop/photos/{name}" for name in names)
    assert len({row["item_id"] for row in rows}) == len(names)
    assert DataFile("") in parts
