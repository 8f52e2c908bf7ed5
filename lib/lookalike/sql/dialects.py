"""How SparkDialect's SQL and DuckDBDialect's write names, texts and tables of Parquet files. No SparkDialect."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from pathlib import Path

_PLAIN_NAME = re.compile(r"[A-Za-z_]\w*")
_TABLE_NAME = re.compile(r"\w+(\.\w+){0,2}")


class Dialect(ABC):
    """What the two do not have in common."""

    quote: str  # around a name

    def name(self, column: str) -> str:
        """A column's name, quoted where it has to be."""
        return column if _PLAIN_NAME.fullmatch(column) else _quoted(column, self.quote)

    def catalogue(self, path: str) -> str:
        """What `catalogue.path` says, as a table: Parquet, which it may name by wildcards, or a table as it is."""
        if "://" in path:
            return self.parquet(path)
        if _TABLE_NAME.fullmatch(path) and not Path(path).exists():
            return path
        return self.parquet(str(Path(path).absolute()))

    @abstractmethod
    def text(self, value: str) -> str:
        """A literal."""

    @abstractmethod
    def parquet(self, path: str) -> str:
        """The table in a path or URI of Parquet; it may hold wildcards."""

    @abstractmethod
    def folder(self, path: Path) -> str:
        """The table in just this folder, whatever its name holds."""

    @abstractmethod
    def structs_by_rank(self, *columns: str) -> str:
        """An aggregate: an array of structs of the columns, in the order of the first one."""


class SparkDialect(Dialect):
    """SparkDialect's SQL."""

    quote = "`"

    def text(self, value: str) -> str:
        """A backslash escapes."""
        return _quoted(value.replace("\\", r"\\"), "'")

    def parquet(self, path: str) -> str:
        """A folder as it is."""
        return f"parquet.{_quoted(path, self.quote)}"

    def folder(self, path: Path) -> str:
        """Hadoop's wildcards are escaped by a backslash; the scheme keeps a cluster's own file system out."""
        escaped = re.sub(r"[\]{}\[*?\\]", r"\\\g<0>", str(path.absolute()))
        return self.parquet(f"file://{escaped}")

    def structs_by_rank(self, *columns: str) -> str:
        """Structs are ordered by their first field."""
        return f"sort_array(collect_list(struct({', '.join(columns)})))"


class DuckDBDialect(Dialect):
    """DuckDBDialect's."""

    quote = '"'

    def text(self, value: str) -> str:
        """A backslash is one."""
        return _quoted(value, "'")

    def parquet(self, path: str) -> str:
        """A folder is a glob."""
        pattern = path if path.endswith(".parquet") and not Path(path).is_dir() else f"{path}/*.parquet"
        return f"read_parquet({self.text(pattern)})"

    def folder(self, path: Path) -> str:
        """A wildcard in brackets is itself."""
        return self.parquet(re.sub(r"[\[*?]", r"[\g<0>]", str(path.absolute())))

    def structs_by_rank(self, *columns: str) -> str:
        """The same with an order of its own."""
        fields = ", ".join(f"{column} := {column}" for column in columns)
        return f"list(struct_pack({fields}) ORDER BY {columns[0]})"


SPARK, DUCKDB = SparkDialect(), DuckDBDialect()


def _quoted(name: str, quote: str) -> str:
    return f"{quote}{name.replace(quote, 2 * quote)}{quote}"
