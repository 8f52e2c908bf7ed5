"""The views of lookalike.duckdb, as SQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from lookalike.sinks.tables import SCHEMAS, Table
from lookalike.spark import schemas
from lookalike.sql import views
from lookalike.sql.dialects import DUCKDB
from lookalike.sql.views import LiveCatalogue, View
from lookalike.warehouse.release import ReleaseFolder


@dataclass(frozen=True)
class Release:
    """The release that the views show, by the folder that always holds the current one."""

    root: Path
    k: int  # neighbours of an item, without the spare ones
    tables: Sequence[Table]
    parent: ReleaseFolder | None  # that it is compared with
    is_first: bool  # that there was none before it, rather than one that is gone

    def has(self, name: str) -> bool:
        """Whether the release has a table."""
        return any(table.name == name for table in self.tables)

    def source(self, name: str) -> str:
        """Return a table of the release as what stands behind FROM."""
        for table in self.tables:
            if table.name == name and table.files:
                return DUCKDB.folder(self.root / name)
        return _empty(next((one.columns for one in self.tables if one.name == name), _columns(name)))

    def before(self, name: str) -> str:
        """Return a table of the release before."""
        folder = self.parent.root / name if self.parent else None
        return DUCKDB.folder(folder) if folder and any(folder.glob("*.parquet")) else _empty(_columns(name))


def always(release: Release) -> Iterator[View]:
    """Yield the views that need the release alone."""
    similar = f"SELECT * FROM {release.source('similar_items')} WHERE rank <= {release.k}"
    yield View("similar_items", "the neighbours of each item, a row a neighbour", similar)
    yield View("similar_items_nested", "the same, a row an item", views.nested(f"({similar})", DUCKDB))
    for name, about in _TABLES.items():
        yield View(name, about, f"SELECT * FROM {release.source(name)}")
    if release.has("changes"):  # an empty one would say that nothing changed
        yield View("changes", _CHANGES, f"SELECT * FROM {release.source('changes')}")
    compared = "items that are new, removed or changed since the release before, and their lists"
    yield View("changed_items", compared, _changed_items(release))
    yield View("current_release", "the release that all views show", _current(release))


def live(release: Release, catalogue: LiveCatalogue) -> View:
    """Return the view that reads the catalogue, too."""
    items = catalogue.items(release.source("embeddings"), DUCKDB)
    query = views.live(release.source("similar_items"), str(release.k), items)
    return View("similar_items_live", "the neighbours that the catalogue still has when they are read", query)


_TABLES = {
    "embeddings": "the vectors of the items",
    "failures": "the items without a vector, and why",
    "duplicates": "items that show the same picture as another; empty where duplicates are not searched",
}

_CHANGES = "what to upsert and to delete so that a copy of the release before becomes this one"


def _current(release: Release) -> str:
    """Read release.json, so that it is the current release's whenever the view is read."""
    path = DUCKDB.text(str(release.root.absolute() / "release.json"))
    columns = "{release_id: 'VARCHAR', parent: 'VARCHAR', created_at: 'TIMESTAMPTZ', counts: 'JSON'}"
    return f"SELECT * FROM read_json({path}, columns = {columns})"


def _changed_items(release: Release) -> str:
    """Compare pictures and lists of two releases: of items with a vector. Without the release before, no row."""

    def lists(source: str) -> str:
        query = f"SELECT * FROM {source} WHERE rank <= {release.k}"
        return f"SELECT item_id, list(similar_item_id ORDER BY rank) AS ids FROM ({query}) GROUP BY item_id"

    def items(embeddings: str, similar: str) -> str:
        columns = "e.item_id, e.image_hash, COALESCE(l.ids, []) AS ids"  # a kept column may be called ids, too
        return f"SELECT {columns} FROM {embeddings} AS e LEFT JOIN ({lists(similar)}) AS l ON l.item_id = e.item_id"

    now = items(release.source("embeddings"), release.source("similar_items"))
    before = items(release.before("embeddings"), release.before("similar_items"))
    return f"""SELECT COALESCE(n.item_id, b.item_id) AS item_id,
  CASE WHEN b.item_id IS NULL THEN 'new' WHEN n.item_id IS NULL THEN 'removed' ELSE 'changed' END AS change,
  n.image_hash IS DISTINCT FROM b.image_hash AS picture_changed,
  n.ids IS DISTINCT FROM b.ids AS neighbours_changed,
  n.ids AS neighbours_now, b.ids AS neighbours_before
FROM ({now}) AS n FULL JOIN ({before}) AS b ON n.item_id = b.item_id
WHERE {release.parent is not None or release.is_first}
  AND (n.image_hash IS DISTINCT FROM b.image_hash OR n.ids IS DISTINCT FROM b.ids)"""


def _columns(name: str) -> pa.Schema:
    return schemas.as_arrow(SCHEMAS[name])


def _empty(columns: pa.Schema) -> str:
    """Return a table of no rows with the columns that a reader expects: DuckDB reads no folder without a file."""
    typed = ", ".join(f"CAST(NULL AS {_sql(field.type)}) AS {DUCKDB.name(field.name)}" for field in columns)
    return f"(SELECT * FROM (SELECT {typed}) WHERE FALSE)"


_SQL = {pa.string(): "VARCHAR", pa.int32(): "INTEGER", pa.float32(): "FLOAT", pa.bool_(): "BOOLEAN"}


def _sql(kind: pa.DataType) -> str:
    """Return the type of one of our own columns."""
    if pa.types.is_list(kind):
        return f"{_sql(kind.value_type)}[]"
    return _SQL.get(kind, "TIMESTAMPTZ" if pa.types.is_timestamp(kind) else "VARCHAR")
