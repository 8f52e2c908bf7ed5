"""Agree on the columns of a catalogue of several files: where each is in each file, and its type."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
from pyspark.sql.pandas.types import from_arrow_type
from pyspark.sql.types import DataType, NullType, StructField, StructType

from lookalike.catalogue.arrow_types import common
from lookalike.catalogue.files import DataFile, shown
from lookalike.catalogue.footers import TWICE, Column, Footer, Source
from lookalike.errors import CatalogueError

Agree = Callable[[pa.DataType, pa.DataType], pa.DataType | None]

_OF_A_FOLDER = Column("the text of a folder's name", pa.string())


@dataclass(frozen=True)
class Layout:
    """The columns of files that have the same ones, their folders' included; `example` is one of them."""

    columns: Mapping[str, Column]
    example: str


class Columns:
    """The columns of a catalogue: a name is taken as it is written, or else without regard to capitals, as SQL does."""

    def __init__(self, files: Sequence[DataFile], footers: Sequence[Footer]) -> None:
        self._layouts: dict[tuple[int, tuple[str, ...]], Layout] = {}
        for file, footer in zip(files, footers, strict=True):
            self._layouts.setdefault(_key(file, footer), _layout(file, footer))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All names; of those that differ in capitals only, and never in one file, the first."""
        found: dict[str, str] = {}
        for name in dict.fromkeys(name for layout in self._layouts.values() for name in layout.columns):
            found.setdefault(name if name.lower() in self._repeated else name.lower(), name)
        return tuple(found.values())

    @cached_property
    def _repeated(self) -> set[str]:
        """Names, in lower case, that one file has more than once."""
        repeated = set()
        for layout in self._layouts.values():
            lower = [name.lower() for name in layout.columns]
            repeated |= {name for name in lower if lower.count(name) > 1}
        return repeated

    @property
    def capitals_matter(self) -> bool:
        """Whether names differ in nothing but capitals."""
        return bool(self._repeated)

    def source(self, name: str, file: DataFile, footer: Footer) -> Source:
        """Return where the values of a column are in one file; they are null where the file lacks it."""
        found, of_folders = self._source(name, self._layouts[_key(file, footer)]), dict(file.partitions)
        if found is None:
            return Source(None)
        if found in of_folders:
            return Source(None, of_folders[found])
        return footer.columns[found].source or Source(found)

    def _source(self, name: str, layout: Layout) -> str | None:
        if name in layout.columns:
            return name
        if name.lower() in self._repeated:
            return None
        return next((one for one in layout.columns if one.lower() == name.lower()), None)

    def kind(self, name: str, agree: Agree = common) -> pa.DataType:
        """Return the type that holds a column's values in all files; raises CatalogueError."""
        agreed, first = pa.null(), ("", "")
        for layout in self._layouts.values():
            source = self._source(name, layout)
            if source is None:
                continue
            column = layout.columns[source]
            if column.kind is None:
                advice = "rename one of the two" if column.written_as == TWICE else "write it as text or as a number"
                raise CatalogueError(
                    f"catalogue.path: column '{name}' is {column.written_as} in {shown(layout.example)}, which cannot "
                    f"be read; {advice}"
                )
            both = agree(agreed, column.kind)
            if both is None:
                raise CatalogueError(
                    f"catalogue.path: column '{name}' is {first[0]} in {shown(first[1])} and {column.written_as} in "
                    f"{shown(layout.example)}, and no type holds both without loss; write the files with one type"
                )
            if both != agreed:
                first = (column.written_as, layout.example)
            agreed = both
        return pa.string() if pa.types.is_null(agreed) else agreed

    def check_required(self, name: str) -> None:
        """Check that every file has a column, if one has it; raises CatalogueError."""
        layouts = list(self._layouts.values())
        lacking = [layout for layout in layouts if self._source(name, layout) is None]
        if lacking and len(lacking) < len(layouts):
            raise CatalogueError(
                f"catalogue.path: {shown(lacking[0].example)} has no column '{name}', which other files have; write "
                "it again, or remove it"
            )

    def offered(self, in_use: Iterable[str] = ()) -> StructType:
        """Return the columns by name and type of Spark; those `in_use` must be readable, of others void may be none.

        A name `in_use` stands for the one that differs in capitals only. Raises CatalogueError.
        """
        named = {name.lower(): name for name in in_use if name.lower() not in self._repeated}
        names = [named.get(name.lower(), name) for name in self.names]
        needed = set(in_use)
        return StructType([StructField(name, self._spark_type(name, name in needed)) for name in names])

    def _spark_type(self, name: str, needed: bool) -> DataType:
        try:
            return from_arrow_type(self.kind(name))
        except CatalogueError:
            if needed:
                raise
            return NullType()


def _key(file: DataFile, footer: Footer) -> tuple[int, tuple[str, ...]]:
    return id(footer.columns), tuple(name for name, _ in file.partitions)


def _layout(file: DataFile, footer: Footer) -> Layout:
    return Layout({**footer.columns, **{name: _OF_A_FOLDER for name, _ in file.partitions}}, file.name)
