"""SQL to copy: the similar items joined to the catalogue, for Spark and for DuckDB."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lookalike.sql import views
from lookalike.sql.dialects import Dialect


@dataclass(frozen=True)
class Join:
    """The item to ask for, and the columns of the catalogue to show with its neighbours."""

    warehouse: Path
    catalogue: views.LiveCatalogue
    columns: tuple[str, ...]
    item_id: str
    path_column: str | None = None  # with the picture; in the release it is image_path

    @property
    def similar_items(self) -> Path:
        """The folder that always holds the current release's table."""
        return self.warehouse.absolute() / "current" / "similar_items"

    @property
    def embeddings(self) -> Path:
        """The folder that always holds the current release's items."""
        return self.warehouse.absolute() / "current" / "embeddings"


def join(wanted: Join, dialect: Dialect) -> str:
    """Return a query for the neighbours of an item with columns of the catalogue, or of the release that keeps them."""
    source = wanted.catalogue.source(dialect)
    name = wanted.catalogue.item_id_column if source else "item_id"
    path = wanted.path_column and (wanted.path_column if source else "image_path")
    columns = "".join(f", c.{dialect.name(column)}" for column in (*wanted.columns, path) if column)
    # The table's ids are text, whatever type the catalogue gives them.
    key = f"CAST(c.{dialect.name(name)} AS STRING)"
    return "\n".join(
        [
            f"SELECT s.item_id, s.rank, s.similar_item_id, s.score{columns}",
            f"FROM {dialect.folder(wanted.similar_items)} AS s",
            f"JOIN {source or dialect.folder(wanted.embeddings)} AS c ON {key} = s.similar_item_id",
            f"WHERE s.item_id = {dialect.text(wanted.item_id)}",
            "ORDER BY s.rank;",
        ]
    )


def live(wanted: Join, k: int, dialect: Dialect) -> str:
    """Return a query for the first k neighbours of an item that are still in the catalogue."""
    items = wanted.catalogue.items(dialect.folder(wanted.embeddings), dialect)
    query = views.live(dialect.folder(wanted.similar_items), str(k), items)
    return f"SELECT * FROM (\n{query}\n) AS live\nWHERE item_id = {dialect.text(wanted.item_id)}\nORDER BY rank;"
