"""A night on a current release with damaged files: nothing of them is in the next release, and no item is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from lookalike.models.network import CompiledModel
from lookalike.spark import release_check
from support.shop import Shop, new_warehouse, refresh, rows

ITEMS = 12


def flip(file: Path) -> None:
    """Change one bit in the middle of a file that may have other names."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.unlink()
    file.write_bytes(data)


def foreign(file: Path) -> None:
    """Copy a file of the table under another name."""
    (file.parent / "part-99.parquet").write_bytes(file.read_bytes())


def largest(folder: Path) -> Path:
    return max((path for path in folder.iterdir() if path.is_file()), key=lambda path: path.stat().st_size)


# Three damaged files of the release that is current, and how many pictures the next run embeds at most.
NIGHTS: list[tuple[dict[str, Callable[[Path], None]], int]] = [
    ({"index": flip, "similar_items": Path.unlink, "embeddings": foreign}, 0),
    ({"embeddings": flip, "failures": flip, "neighbours": flip}, ITEMS),
]


def test_night_on_a_damaged_release_makes_again_what_is_damaged(
    spark: SparkSession, model: CompiledModel, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shop = Shop.of(tmp_path / "shop", ITEMS)
    shop.path("item-07").write_bytes(b"")
    rules = {"group_by": "kind", "k": 3, "duplicate_cosine": 0.99}
    settings = shop.settings(new_warehouse(tmp_path / "wh", model), similar=rules)
    current = refresh(spark, shop, settings)
    lists = rows(current.similar_items, "release_id")
    for damages, pictures in NIGHTS:
        for part, damage in damages.items():
            damage(largest(current.root / part))
        capfd.readouterr()
        damaged, current = current, refresh(spark, shop, settings)
        said = capfd.readouterr().err
        assert all(f"the current release is damaged: {part}/" in said for part in damages)
        assert current.root != damaged.root
        assert release_check.find_damage(spark, current) == []
        assert [len(rows(current.root / name)) for name in ("embeddings", "failures")] == [ITEMS - 1, 1]
        assert rows(current.similar_items, "release_id") == lists
        made, told = current.record().pictures, current.record().changes_table
        assert made is not None
        assert told is not None
        assert (told.since, told.item_upserts) == (None, ITEMS - 1)  # what it was is not known
        assert made.embedded <= pictures
