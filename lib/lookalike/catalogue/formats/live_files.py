"""The live files of a table whose log says which rows are live, and where each of its columns is in each file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lookalike.catalogue.arrow_types import as_spark
from lookalike.catalogue.files import DataFile, shown
from lookalike.catalogue.footers import Column, Footer, Source, read_footers
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

    `stored_as` gives the name that a column of the table has in a file with these columns, or None.
    """

    name: str
    schema: pa.Schema
    files: Sequence[LiveFile]
    stored_as: Callable[[str, Mapping[str, Column]], str | None]

    def open(self) -> tuple[list[DataFile], list[Footer]]:
        """Return the files with their footers, which tell of the table's columns; raises CatalogueError."""
        self._check_deleted()
        files = [DataFile(file.path, deleted=file.deleted) for file in self.files]
        try:
            footers = read_footers([file.path for file in files])
        except CatalogueError as error:  # its advice would damage a table
            raise CatalogueError(f"{str(error).partition(';')[0]}; repair the table") from None
        known: dict[Any, dict[str, Column]] = {}  # files of the same columns share theirs
        for number, (file, footer) in enumerate(zip(self.files, footers, strict=True)):
            values = tuple((file.values or {}).items())
            columns = known.setdefault((id(footer.columns), values), self._columns(file, footer))
            footers[number] = replace(footer, columns=columns)
        return files, footers

    def _columns(self, file: LiveFile, footer: Footer) -> dict[str, Column]:
        columns = {}
        for field in self.schema:
            stored = self.stored_as(field.name, footer.columns)
            if file.values and field.name in file.values and stored is None:
                source = Source(None, file.values[field.name])
            else:
                source = Source(stored)
            readable = stored is None or footer.columns[stored].kind is not None
            columns[field.name] = Column(str(field.type), as_spark(field.type) if readable else None, source)
        return columns

    def _check_deleted(self) -> None:
        deleted = sum(len(file.deleted) for file in self.files if file.deleted is not None)
        if deleted > MOST_DELETED:
            raise CatalogueError(
                f"catalogue.path: {shown(self.name)} marks {deleted:,} rows of its files as deleted, and "
                f"{MOST_DELETED:,} at most are read; compact it (OPTIMIZE, REORG TABLE … APPLY (PURGE), "
                "rewrite_data_files)"
            )
