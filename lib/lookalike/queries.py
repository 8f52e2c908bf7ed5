"""SQL that people paste: the similar items joined to the catalogue, for Spark and for DuckDB. No Spark."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_PLAIN_NAME = re.compile(r"[A-Za-z_]\w*")
_TABLE_NAME = re.compile(r"\w+(\.\w+){0,2}")


@dataclass(frozen=True)
class Join:
    """Whose neighbours to ask for, and which columns of the catalogue to show with them."""

    warehouse: Path
    catalogue: str  # a path or URI of Parquet, or the name of a table
    item_id_column: str
    columns: tuple[str, ...]
    item_id: str

    @property
    def similar_items(self) -> Path:
        """The folder that always holds the current release's table."""
        return self.warehouse.absolute() / "current" / "similar_items"


def spark_sql(join: Join) -> str:
    """The join for Spark SQL."""

    def parquet(path: str) -> str:
        return f"parquet.{_quoted(path, '`')}"

    catalogue = _located(join.catalogue)
    source = join.catalogue if catalogue is None else parquet(catalogue)
    return _select(join, parquet(str(join.similar_items)), source, "`")


def duckdb_sql(join: Join) -> str:
    """The join for DuckDB; a folder of Parquet files is a glob there."""

    def parquet(path: str) -> str:
        pattern = path if path.endswith(".parquet") and not Path(path).is_dir() else f"{path}/*.parquet"
        return f"read_parquet({_text(pattern)})"

    catalogue = _located(join.catalogue)
    source = join.catalogue if catalogue is None else parquet(catalogue)
    return _select(join, parquet(str(join.similar_items)), source, '"')


def _select(join: Join, similar: str, catalogue: str, quote: str) -> str:
    columns = "".join(f", c.{_name(column, quote)}" for column in join.columns)
    # The table's ids are text, whatever type the catalogue gives them.
    key = f"CAST(c.{_name(join.item_id_column, quote)} AS STRING)"
    return "\n".join(
        [
            f"SELECT s.item_id, s.rank, s.similar_item_id, s.score{columns}",
            f"FROM {similar} AS s",
            f"JOIN {catalogue} AS c ON {key} = s.similar_item_id",
            f"WHERE s.item_id = {_text(join.item_id)}",
            "ORDER BY s.rank;",
        ]
    )


def _located(catalogue: str) -> str | None:
    """The catalogue's URI or absolute path; None for the name of a table, which is no file here."""
    if "://" in catalogue:
        return catalogue
    if _TABLE_NAME.fullmatch(catalogue) and not Path(catalogue).exists():
        return None
    return str(Path(catalogue).absolute())


def _name(column: str, quote: str) -> str:
    return column if _PLAIN_NAME.fullmatch(column) else _quoted(column, quote)


def _quoted(name: str, quote: str) -> str:
    return f"{quote}{name.replace(quote, 2 * quote)}{quote}"


def _text(value: str) -> str:
    return _quoted(value, "'")
