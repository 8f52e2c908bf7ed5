"""The drawn catalogue: repeatable, complete, decodable, and it knows what it was drawn from."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lookalike.demo import catalogue
from lookalike.demo.pictures import COLOURS, PATTERNS
from lookalike.demo.shapes import KINDS

COLUMNS = {
    "item_id": pa.string(),
    "image_path": pa.string(),
    "kind": pa.string(),
    "colour": pa.string(),
    "pattern": pa.string(),
    "price": pa.float64(),
    "in_stock": pa.bool_(),
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pa.Table]:
    """Draw 60 items once for the tests that only look at them."""
    folder = tmp_path_factory.mktemp("catalogue")
    return folder, catalogue.draw_catalogue(folder, items=60)


def files(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every picture by file name."""
    return {path.name: path.read_bytes() for path in (folder / "images").iterdir()}


def test_same_seed_gives_same_bytes_and_rows(tmp_path: Path) -> None:
    first = catalogue.draw_catalogue(tmp_path / "first", items=13)
    second = catalogue.draw_catalogue(tmp_path / "second", items=13)
    assert first.equals(second)
    assert files(tmp_path / "first") == files(tmp_path / "second")


def test_another_seed_gives_another_picture_for_every_item(tmp_path: Path) -> None:
    catalogue.draw_catalogue(tmp_path / "first", items=5, seed=7)
    catalogue.draw_catalogue(tmp_path / "second", items=5, seed=8)
    first, second = files(tmp_path / "first"), files(tmp_path / "second")
    assert first.keys() == second.keys()
    assert all(first[name] != second[name] for name in first)


def test_an_item_does_not_depend_on_the_size_of_the_catalogue(tmp_path: Path, drawn: tuple[Path, pa.Table]) -> None:
    large_folder, large = drawn
    small = catalogue.draw_catalogue(tmp_path, items=17)
    assert small.equals(large.slice(0, 17))
    assert files(tmp_path).items() <= files(large_folder).items()


def test_no_two_items_share_a_picture(drawn: tuple[Path, pa.Table]) -> None:
    found = files(drawn[0])
    assert len(set(found.values())) == len(found) == 60


def test_every_picture_decodes_as_an_rgb_jpeg(drawn: tuple[Path, pa.Table]) -> None:
    folder, table = drawn
    for image_path in table["image_path"].to_pylist():
        with Image.open(folder / image_path) as picture:
            picture.load()
            assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (320, 400))


def test_table_has_its_columns_one_row_an_item_and_no_nulls(drawn: tuple[Path, pa.Table]) -> None:
    table = drawn[1]
    assert dict(zip(table.schema.names, table.schema.types, strict=True)) == COLUMNS
    assert table["item_id"].to_pylist() == [f"item-{number:04d}" for number in range(1, 61)]
    assert all(column.null_count == 0 for column in table.columns)


def test_prices_are_positive_with_two_decimals(drawn: tuple[Path, pa.Table]) -> None:
    prices = drawn[1]["price"].to_pylist()
    assert all(price > 0 and price == round(price, 2) for price in prices)
    assert len(set(prices)) > 30


def test_parquet_on_disk_equals_the_returned_table(drawn: tuple[Path, pa.Table]) -> None:
    folder, table = drawn
    assert pq.read_table(folder / "catalogue.parquet").equals(table)


def test_an_empty_catalogue_is_a_table_with_columns_and_no_rows(tmp_path: Path) -> None:
    catalogue.draw_catalogue(tmp_path, items=0)
    table = pq.read_table(tmp_path / "catalogue.parquet")
    assert (table.num_rows, table.schema.names) == (0, list(COLUMNS))


def test_twelve_items_show_every_kind(drawn: tuple[Path, pa.Table]) -> None:
    assert set(drawn[1]["kind"].to_pylist()[:12]) == set(KINDS)


def test_all_kinds_colours_patterns_and_stock_states_are_present(
    drawn: tuple[Path, pa.Table],
) -> None:
    table = drawn[1]
    assert set(table["kind"].to_pylist()) == set(KINDS)
    assert set(table["colour"].to_pylist()) == set(COLOURS)
    assert set(table["pattern"].to_pylist()) == set(PATTERNS)
    assert set(table["in_stock"].to_pylist()) == {True, False}


def test_five_hundred_items_have_twenty_of_each_kind_and_colour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The rows are wanted, not the pictures: drawing 500 takes seconds.
    dot = Image.new("RGB", (1, 1))
    monkeypatch.setattr(catalogue, "draw_picture", lambda *_: dot)
    table = catalogue.draw_catalogue(tmp_path, items=500)
    for column, names in (("kind", KINDS), ("colour", COLOURS)):
        values = table[column].to_pylist()
        counts = {name: values.count(name) for name in names}
        assert min(counts.values()) >= 20, counts
        assert max(counts.values()) > 1.5 * min(counts.values()), counts


def test_catalogue_knows_what_it_was_drawn_from(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.parquet"
    assert catalogue.drawn_from(path) is None
    catalogue.draw_catalogue(tmp_path, items=2, seed=3)
    assert catalogue.drawn_from(path) == catalogue.origin(2, 3)
    assert len({catalogue.origin(*case) for case in ((2, 3), (3, 2), (2, 4))}) == 3
    pq.write_table(pq.read_table(path).replace_schema_metadata({}), path)
    assert catalogue.drawn_from(path) == ""
    pq.write_table(pq.read_table(path).drop_columns(["price"]), path)
    assert catalogue.drawn_from(path) is None


def test_each_item_is_told_when_it_is_drawn(tmp_path: Path) -> None:
    told: list[tuple[int, bool]] = []
    there = lambda number: (tmp_path / f"images/item-{number:04d}.jpg").exists()  # noqa: E731
    catalogue.draw_catalogue(tmp_path, items=3, drawn=lambda number: told.append((number, there(number))))
    assert told == [(1, True), (2, True), (3, True)]
