"""Turn files that are not Parquet into Parquet in the run's work folder, in one task for each file.

From there on they are a catalogue like any other: read by columns, row groups to a task, as often as it takes, and the
same all through the run, whatever happens to the files meanwhile.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from lookalike import config
from lookalike.catalogue import checks
from lookalike.catalogue.columns import Columns
from lookalike.catalogue.files import DataFile, shown
from lookalike.catalogue.footers import Column, Footer, Source, read_footers
from lookalike.catalogue.formats.rows import EXAMPLES, LINE, Report, RowFormat, Wanted
from lookalike.catalogue.source import CatalogueFiles
from lookalike.errors import CatalogueError, CountError
from lookalike.progress import say_detail
from lookalike.spark import arrow_files
from lookalike.spark.parquet import SMALL_ROWS
from lookalike.warehouse.release import check_there, saved
from lookalike.warehouse.release_files import StoredFile
from lookalike.warehouse.shared_files import ON_DISK, SharedFiles


@dataclass(frozen=True)
class Place:
    """A folder that all machines see, for what a run alone reads."""

    folder: Path
    shared: SharedFiles = ON_DISK


@dataclass(frozen=True)
class RowFiles:
    """The files of a catalogue in a format that is read from the first row to the last."""

    format: RowFormat
    files: list[DataFile]
    shared: SharedFiles = ON_DISK

    def check(self, settings: config.Settings) -> None:
        """Check that the columns in use are there, as far as the files' beginnings tell; raises CatalogueError."""
        known = [(file, footer) for file in self.files if (footer := self.format.footer(file))]
        if known:
            files, footers = [file for file, _ in known], [footer for _, footer in known]
            CatalogueFiles(files, footers, Columns(files, footers)).check(settings)

    def convert(self, settings: config.Settings, place: Place, run_all: RunAll) -> CatalogueFiles:
        """Write the rows as Parquet, with the columns that the run may ask for; raises CatalogueError.

        `run_all(files, work)` returns what `work` returns for each file, from tasks.
        """
        wanted = Wanted.of(checks.columns_in_use(settings), settings.similar.eligible)
        task = _Task(self.format, wanted, self.shared, place)
        done = run_all(list(enumerate(self.files)), lambda one: task.run(*one))
        _check_reports(done)
        stored = [part.stored for one in done for part in one.parts]
        check_there(place.shared, place.folder.parent, place.folder.name, stored, alone=False)
        files = [part.file for one in done for part in one.parts]
        footers = _with_all_names([part.footer for one in done for part in one.parts])
        say_detail(self._line(sum(file.rows or 0 for file in stored), done))
        return CatalogueFiles(files, footers, Columns(files, footers), place.shared)

    def _line(self, rows: int, done: list[_Done]) -> str:
        notes = [f"{note} in {shown(one.name)}" for one in done for note in one.report.notes]
        passed = f"; passed over: {', '.join(notes[:EXAMPLES])}{', …' * (len(notes) > EXAMPLES)}" if notes else ""
        files = "1 file" if len(self.files) == 1 else f"{len(self.files):,} files"
        return f"{self.format.name}: {rows:,} rows of {files}{passed}"


RunAll = Callable[[list[tuple[int, DataFile]], Callable[[tuple[int, DataFile]], "_Done"]], list["_Done"]]


@dataclass(frozen=True)
class _Part:
    """A file of Parquet that a task has written."""

    file: DataFile
    footer: Footer
    stored: StoredFile


@dataclass(frozen=True)
class _Done:
    """What a task made of one file."""

    name: str
    report: Report
    parts: list[_Part] = field(default_factory=list)
    problem: CatalogueError | None = None  # no exception: Spark would try the task again


@dataclass(frozen=True)
class _Task:
    format: RowFormat
    wanted: Wanted
    source: SharedFiles
    place: Place

    def run(self, number: int, file: DataFile) -> _Done:
        """Write the rows of one file, a file of Parquet for all that follow each other in the same types."""
        done = _Done(file.name, Report())
        try:
            here = replace(file, path=str(self.source.fetch(Path(file.path))), made_of=file.name)
            batches = self.format.batches(here if self.source.in_store else file, self.wanted, done.report)
            for at, (schema, same) in enumerate(groupby(batches, lambda batch: batch.schema)):
                done.parts.append(self._write(f"part-{number:05d}-{at:05d}", schema, same, file))
        except CatalogueError as problem:
            return replace(done, problem=problem)
        return done

    def _write(self, name: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch], file: DataFile) -> _Part:
        shared, folder = self.place.shared, self.place.folder
        path = folder / f"{name}-{secrets.token_hex(8)}.parquet"  # of each try of a task its own
        plain = schema.remove_metadata()
        same = (batch.replace_schema_metadata(None) for batch in batches)
        rows = arrow_files.write_file(shared.here(path), plain, same, SMALL_ROWS)
        (footer,) = read_footers([str(shared.here(path))])
        stored = saved(shared, folder.parent, path)
        if stored.rows != rows:
            raise CountError(f"{path} holds {stored.rows or 0:,} of the {rows:,} rows that were written; run again")
        line = int((schema.metadata or {}).get(LINE, 1))
        made_of = f"{file.name} from line {line:,}" if line > 1 else file.name
        return _Part(DataFile(str(path), file.partitions, made_of), footer, stored)


def _check_reports(done: list[_Done]) -> None:
    """Raise CatalogueError for a file that cannot be read, or for all damaged lines of all files together."""
    if problem := next((one.problem for one in done if one.problem), None):
        raise problem
    damaged = [one for one in done if one.report.damaged]
    if not damaged:
        return
    count, first = sum(one.report.damaged for one in damaged), damaged[0]
    lines = "1 line" if count == 1 else f"{count:,} lines"
    others = f" of {len(damaged):,} files" if len(damaged) > 1 else ""
    raise CatalogueError(
        f"catalogue.path: {lines}{others} cannot be read, as in {shown(first.name)}: "
        f"{'; '.join(first.report.examples)}. To correct them, {first.report.advice}"
    )


def _with_all_names(footers: list[Footer]) -> list[Footer]:
    """Return the footers with all columns of each other: objects of JSON leave out what is null."""
    names = dict.fromkeys(name for footer in footers for name in footer.columns)
    absent = Column("null", pa.null(), Source(None))
    known: dict[tuple[Column, ...], dict[str, Column]] = {}  # files of the same columns share theirs
    found = []
    for footer in footers:
        columns = {name: footer.columns.get(name, absent) for name in names}
        found.append(replace(footer, columns=known.setdefault(tuple(columns.values()), columns)))
    return found
