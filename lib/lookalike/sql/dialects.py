"""How names, texts and tables of Parquet files are written in Spark's SQL and in DuckDB's."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from pathlib import Path

_PLAIN_NAME = re.compile(r"[A-Za-z_]\w*")
_PACKED = re.compile(r"\.(bz2|xz|zst)$", re.IGNORECASE)  # what not every engine unpacks
_TABLE_NAME = re.compile(r"\w+(\.\w+){0,2}")


class Dialect(ABC):
    """The parts of SQL that differ between the two."""

    quote: str  # around a name

    def name(self, column: str) -> str:
        """Return a column's name, quoted where it must be."""
        return column if _PLAIN_NAME.fullmatch(column) else _quoted(column, self.quote)

    def catalogue(self, path: str, kind: str) -> str | None:
        """Return the table that `catalogue.path` names: a known table, or files of a kind, perhaps with wildcards.

        None where SQL does not read that kind in place.
        """
        if "://" not in path:
            if _TABLE_NAME.fullmatch(path) and not Path(path).exists():
                return path if kind == "parquet" else None
            path = str(Path(path).absolute())
        if kind == "parquet":
            return self.parquet(path)
        return None if _PACKED.search(path) else self.other_files(path, kind)

    @abstractmethod
    def text(self, value: str) -> str:
        """Return a text as a literal."""

    @abstractmethod
    def parquet(self, path: str) -> str:
        """Return the table in a path or URI of Parquet, which may hold wildcards."""

    @abstractmethod
    def other_files(self, path: str, kind: str) -> str | None:
        """Return the table in files of CSV, JSON Lines or a table with a log; None where that is not read."""

    @abstractmethod
    def folder(self, path: Path) -> str:
        """Return the table in exactly this folder, whatever characters its name holds."""

    @abstractmethod
    def structs_by_rank(self, *columns: str) -> str:
        """Return an aggregate: an array of structs of the columns, ordered by the first column."""


class SparkDialect(Dialect):
    """The SQL of Spark."""

    quote = "`"

    def text(self, value: str) -> str:
        """Escape backslashes, which Spark takes for escapes."""
        return _quoted(value.replace("\\", r"\\"), "'")

    def parquet(self, path: str) -> str:
        """Name the folder as it is."""
        return f"parquet.{_quoted(path, self.quote)}"

    def other_files(self, path: str, kind: str) -> str | None:
        """Name files of JSON; Spark takes the header of CSV for a row, and needs more for Delta and Iceberg."""
        return f"json.{_quoted(path, self.quote)}" if kind == "json" else None

    def folder(self, path: Path) -> str:
        """Escape Hadoop's wildcards, and give a scheme, without which a cluster uses its own file system."""
        escaped = re.sub(r"[\]{}\[*?\\]", r"\\\g<0>", str(path.absolute()))
        return self.parquet(f"file://{escaped}")

    def structs_by_rank(self, *columns: str) -> str:
        """Sort the structs, which compares their first field first."""
        return f"sort_array(collect_list(struct({', '.join(columns)})))"


class DuckDBDialect(Dialect):
    """The SQL of DuckDB."""

    quote = '"'

    def text(self, value: str) -> str:
        """Leave backslashes alone: they are plain characters."""
        return _quoted(value, "'")

    def parquet(self, path: str) -> str:
        """Name the files of a folder by a wildcard."""
        pattern = path if path.endswith(".parquet") and not Path(path).is_dir() else f"{path}/*.parquet"
        return f"read_parquet({self.text(pattern)})"

    def other_files(self, path: str, kind: str) -> str | None:
        """Read CSV as texts, as the job does. A table with a log would need an extension from the web."""
        call = {"csv": "read_csv({}, all_varchar = true, union_by_name = true)", "json": "read_json({})"}.get(kind)
        suffix = {"csv": "csv*", "json": "json*"}.get(kind)
        return call and call.format(self.text(f"{path}/*.{suffix}" if Path(path).is_dir() else path))

    def folder(self, path: Path) -> str:
        """Put wildcards into brackets, where they are plain characters; no folder's name, as shop=1, is a column."""
        table = self.parquet(re.sub(r"[\[*?]", r"[\g<0>]", str(path.absolute())))
        return f"{table.removesuffix(')')}, hive_partitioning = false)" if "=" in str(path.absolute()) else table

    def structs_by_rank(self, *columns: str) -> str:
        """Give the aggregate its order."""
        fields = ", ".join(f"{column} := {column}" for column in columns)
        return f"list(struct_pack({fields}) ORDER BY {columns[0]})"


SPARK, DUCKDB = SparkDialect(), DuckDBDialect()


def _quoted(name: str, quote: str) -> str:
    return f"{quote}{name.replace(quote, 2 * quote)}{quote}"
