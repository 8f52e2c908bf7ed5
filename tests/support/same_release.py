"""Whether two releases hold the same: rows and vectors, and the index byte for byte."""

from __future__ import annotations

from typing import Any

from lookalike.warehouse.release import ReleaseFolder
from support.shop import files, rows

# Columns that tell of the run.
OF_THE_RUN = {
    "embeddings": ("embedded_at",),
    "failures": ("first_failed_at", "last_failed_at"),
    "similar_items": ("release_id",),
    "duplicates": ("release_id",),
    "neighbours": (),
}


def content(release: ReleaseFolder, *but: str) -> dict[str, Any]:
    """All that does not tell of the run, but for some columns: the rows of each table, and the files of the index."""
    there = {name: columns for name, columns in OF_THE_RUN.items() if (release.root / name).is_dir()}
    tables = {name: rows(release.root / name, *columns) for name, columns in there.items()}
    for row in (row for table in tables.values() for row in table):
        for column in but:
            row.pop(column, None)
    return {**tables, "index": files(release.index)}


def assert_same(one: ReleaseFolder, other: ReleaseFolder, *but: str) -> None:
    """Fail with the names of the parts that differ, which would be long to print; columns `but` may differ."""
    first, second = content(one, *but), content(other, *but)
    assert first["similar_items"]
    assert first["index"]
    assert [name for name in {**first, **second} if first.get(name) != second.get(name)] == []
