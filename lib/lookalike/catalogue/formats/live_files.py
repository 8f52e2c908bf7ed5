"""The live files of a table whose log says which rows are live, and where each of its columns is in each file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lookalike.catalogue.arrow_types import as_spark
from lookalike.catalogue.files import DataFile, shown
from lookalike.catalogue.footers import Column, Footer, Source, field_ids, read_footers
from lookalike.errors import CatalogueError

# Deleted rows that the driver holds and the tasks get: 40 MB. A table with more is due for its own clean-up.
MOST_DELETED = 5_000_000


@dataclass(frozen=True)
class LiveFile:
    """A file of the table: its path on this machine, the deleted rows, and values of columns that are not in it."""

    path: str
    deleted: NDArray[np.int64] | None = None
    values: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class LiveTable:
    """A table: what it is called, its columns by name with their types, its files, and where a file has a column.

    `stored_as` gives, for a file with these columns, the names in it of those columns of the table that it has.
    """

    name: str
    schema: pa.Schema
    files: Sequence[LiveFile]
    stored_as: Callable[[Mapping[str, Column]], Mapping[str, str]]

    def open(self) -> tuple[list[DataFile], list[Footer]]:
        """Return the files with their footers, which tell of the table's columns; raises CatalogueError."""
        self._check_deleted()
        files = [DataFile(file.path, deleted=file.deleted) for file in self.files]
        try:
            footers = read_footers([file.path for file in files])
        except CatalogueError as error:  # its advice would damage a table
            raise CatalogueError(f"{str(error).partition(';')[0]}; repair the table") from None
        stored = {id(footer.columns): self.stored_as(footer.columns) for footer in footers}
        known: dict[tuple[int, str], dict[str, Column]] = {}  # files of the same columns share theirs
        for number, (file, footer) in enumerate(zip(self.files, footers, strict=True)):
            key = id(footer.columns), repr(file.values)
            if key not in known:
                known[key] = self._columns(file, footer, stored[key[0]])
            footers[number] = replace(footer, columns=known[key])
        return files, footers

    def _columns(self, file: LiveFile, footer: Footer, stored: Mapping[str, str]) -> dict[str, Column]:
        columns = {}
        for field in self.schema:
            name = stored.get(field.name)
            source = Source(name) if name else Source(None, (file.values or {}).get(field.name))
            readable = name is None or _is_same_inside(footer.columns[name], field)
            written_as = str(field.type) if readable else "stored with other types or fields than those of the table"
            columns[field.name] = Column(written_as, as_spark(field.type) if readable else None, source)
        return columns

    def _check_deleted(self) -> None:
        deleted = sum(len(file.deleted) for file in self.files if file.deleted is not None)
        if deleted > MOST_DELETED:
            raise CatalogueError(
                f"catalogue.path: {shown(self.name)} marks {deleted:,} rows of its files as deleted, and "
                f"{MOST_DELETED:,} at most are read; compact it (OPTIMIZE, REORG TABLE … APPLY (PURGE), "
                "rewrite_data_files)"
            )


def _is_same_inside(column: Column, field: pa.Field) -> bool:
    """Return whether a column of a file can be read as a column of the table: with the same fields within, if any.

    Arrow takes fields within by their names: one that was renamed would be null, one of an old name another.
    """
    kind = as_spark(field.type)
    if column.kind is None or kind is None or not pa.types.is_nested(kind):
        return column.kind is not None
    ids = tuple(field_ids(field))
    are_known = None not in ids and None not in column.field_ids
    same_names = list(_names_inside(column.kind)) == list(_names_inside(kind))
    return same_names and (column.field_ids == ids or not are_known)


def _names_inside(kind: pa.DataType) -> Iterator[str]:
    for number in range(kind.num_fields):
        field = kind.field(number)
        if pa.types.is_struct(kind):
            yield field.name
        yield from _names_inside(field.type)
