"""What differs between two releases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from lookalike.report import compare
from lookalike.spark.release_tables import ReleaseTables, open_tables
from lookalike.warehouse.release import ReleaseFolder
from support import records
from support.release_files import fill


def before_and_after(
    spark: SparkSession, folder: Path, old: dict[str, Any], new: dict[str, Any]
) -> tuple[ReleaseTables, ReleaseTables]:
    sides = []
    for name, tables in (("old", old), ("new", new)):
        release = ReleaseFolder(folder / name)
        fill(release, **tables)
        records.write_record(release)
        sides.append(open_tables(spark, release))
    return sides[0], sides[1]


def test_comparison_finds_each_kind_of_difference_once(spark: SparkSession, tmp_path: Path) -> None:
    old = {
        "pictures": {"a": "h1", "b": "h2", "c": "h3", "d": "h4", "gone": "h5", "lost": "h6", "z": "h7"},
        "lists": {"a": "bc", "b": "ac", "c": "ab", "d": "ab", "gone": "ab", "z": ""},
        "failed": {"bad": "empty", "repaired": "corrupt", "worse": "server_error"},
    }
    new = {
        "pictures": {"a": "h1", "b": "h2", "c": "H3", "d": "h4", "repaired": "h8", "new": "h9", "z": "h7"},
        "lists": {"a": "bc", "b": "ca", "c": "ab", "d": "ac", "new": "ab", "z": "a", "repaired": "a"},
        "failed": {"bad": "empty", "lost": "not_found", "worse": "not_found", "newbad": "empty"},
    }
    found = compare.compare(*before_and_after(spark, tmp_path, old, new))
    assert found == compare.Comparison(
        in_both=9,
        added=2,
        removed=1,
        pictures=3,
        neighbours=4,
        added_examples=["new", "newbad"],
        removed_examples=["gone"],
        picture_examples=[
            compare.PictureChange("c", "h3", "H3"),
            compare.PictureChange("lost", "h6", "not_found"),
            compare.PictureChange("repaired", "corrupt", "h8"),
        ],
        neighbour_examples=[
            compare.ListChange("b", went=[], came=[]),
            compare.ListChange("d", went=["b"], came=["c"]),
            compare.ListChange("repaired", went=[], came=["a"]),
            compare.ListChange("z", went=[], came=["a"]),
        ],
    )


def test_release_does_not_differ_from_its_copy_nor_an_empty_one_from_another(
    spark: SparkSession, tmp_path: Path
) -> None:
    for tables in ({"pictures": {"a": "h", "b": "h"}, "lists": {"a": "b", "b": "a"}, "failed": {"c": "empty"}}, {}):
        found = compare.compare(*before_and_after(spark, tmp_path / str(len(tables)), tables, tables))
        assert (found.added, found.removed, found.pictures, found.neighbours) == (0, 0, 0, 0)
        assert found.in_both == len(tables)  # three, and none
