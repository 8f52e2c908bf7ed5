"""What every format that is turned into Parquet gives: batches of rows, and a report of what could not be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from lookalike.catalogue.files import DataFile, shown
from lookalike.catalogue.footers import Footer
from lookalike.errors import CatalogueError

# Damaged lines that a message names.
EXAMPLES = 3

# Key of the metadata of a batch with the line that its first row is in, where types may change from there on.
LINE = b"line"


@dataclass(frozen=True)
class Wanted:
    """The columns that a run may ask for: by name, without regard to capitals, or in the text of a predicate."""

    names: frozenset[str]
    predicate: str = ""
    everything: bool = False

    @classmethod
    def of(cls, names: Iterable[str], predicate: str | None) -> Wanted:
        """Return those of some names, and of the predicate `similar.eligible`."""
        return cls(frozenset(name.lower() for name in names), (predicate or "").lower())

    def has(self, name: str) -> bool:
        """Return whether a column is wanted; of the others the name alone is kept, for messages."""
        low = name.lower()
        # In SQL's quotes a backtick is written twice.
        return self.everything or low in self.names or (bool(low) and low.replace("`", "``") in self.predicate)


@dataclass
class Report:
    """What was found in one file beside its rows: damaged lines, with the first of them, and notes for the log."""

    damaged: int = 0
    examples: list[str] = field(default_factory=list)
    advice: str = ""
    notes: list[str] = field(default_factory=list)

    def add(self, where: str, problem: str, advice: str) -> None:
        """Count one damaged line."""
        self.damaged += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(f"{where} {problem}")
            self.advice = self.advice or advice


class RowFormat(Protocol):
    """A format of which tasks read rows; it knows no Spark, and a task needs nothing but pyarrow to run it."""

    @property
    def name(self) -> str:
        """The format's name in messages."""

    def footer(self, file: DataFile) -> Footer | None:
        """Return the columns of a file, as its beginning tells; None where only the whole file does.

        Raises CatalogueError for a file that is no such file at all.
        """

    def batches(self, file: DataFile, wanted: Wanted, report: Report) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a file, from the first to the last, in constant memory; raises CatalogueError.

        A column that is not wanted is null, whatever it holds. Of a damaged line the report knows.
        """


def refusal(file: DataFile, problem: str) -> CatalogueError:
    """Return the error of a file."""
    return CatalogueError(f"catalogue.path: {shown(file.name)} {problem}")
