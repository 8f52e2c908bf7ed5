"""Read Parquet files on Spark's executors: some row groups a task, in batches, with the columns in use alone.

Not by Spark's own reader of Parquet: it reads names of files by the locale, refuses a catalogue for a column that
nobody asked for, passes over files in silence, and ends with a stack trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc
from pyarrow import parquet as pq

from lookalike.catalogue.files import DataFile, shown
from lookalike.catalogue.footers import Footer, Source, open_file
from lookalike.errors import CatalogueError
from lookalike.warehouse.shared_files import ON_DISK, SharedFiles

# Rows of a batch: a thread reads 1,000,000 ids and paths in 0.4 s, as with 65,536; long texts stay small.
# On Spark, two cores, these rows take 4.4 to 5.2 s to an aggregate, and 3.6 to 5.0 s by spark.read.parquet.
BATCH_ROWS = 8192

# Bytes of a task, before compression: enough to pay for its start, and few enough for all cores to end together.
_LEAST_BYTES, _MOST_BYTES = 4 << 20, 64 << 20

# What opening a file costs, in bytes that are read in that time.
_OPEN_BYTES = 1 << 20


@dataclass(frozen=True)
class FilePart:
    """Row groups of a file, and where the values of each column are."""

    file: DataFile
    footer: int  # digest of the footer by which the columns were agreed
    groups: range
    sources: tuple[Source, ...]


def plan_tasks(files: Iterable[tuple[DataFile, Footer, tuple[Source, ...]]], cores: int) -> list[list[FilePart]]:
    """Return the parts of files of each task, in the order of the files."""
    known = list(files)
    total = sum(sum(footer.sizes) + _OPEN_BYTES for _, footer, _ in known)
    limit = min(_MOST_BYTES, max(_LEAST_BYTES, total // (2 * cores)))
    tasks: list[list[FilePart]] = [[]]
    filled = 0
    for file, footer, sources in known:
        start, filled = 0, filled + _OPEN_BYTES
        for number, size in enumerate(footer.sizes):
            filled += size
            if filled >= limit or number == len(footer.sizes) - 1:
                tasks[-1].append(FilePart(file, footer.digest, range(start, number + 1), sources))
                start = number + 1
            if filled >= limit:
                tasks.append([])
                filled = 0
    return [task for task in tasks if task]


def read_rows(parts: Sequence[FilePart], schema: pa.Schema, shared: SharedFiles = ON_DISK) -> Iterator[pa.RecordBatch]:
    """Yield the rows of some parts, with the columns of `schema`; raises CatalogueError."""
    for part in parts:
        yield from _read_file_part(part, schema, shared)


def _read_file_part(part: FilePart, schema: pa.Schema, shared: SharedFiles) -> Iterator[pa.RecordBatch]:
    file, footer = open_file(str(shared.fetch(Path(part.file.path))) if shared.in_store else part.file.path)
    with file:
        if footer != part.footer:
            raise _refusal(part, "has changed since the run began to read it; run again when nothing writes to it")
        names = [source.name for source in part.sources if source.name is not None]
        at, left = (_rows(file, groups) for groups in (range(part.groups.start), part.groups))
        batches = file.iter_batches(BATCH_ROWS, list(part.groups), columns=names, use_threads=False)
        for batch in _to_the_end(batches, part):
            live = _without_deleted(batch, at, part.file)
            at, left = at + batch.num_rows, left - batch.num_rows
            arrays = [_values(live, *pair, part) for pair in zip(part.sources, schema, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)
        if left:
            raise _refusal(part, f"cannot be read to its end ({left:,} rows are missing); write it again")


def _rows(file: pq.ParquetFile, groups: range) -> int:
    return sum(file.metadata.row_group(number).num_rows for number in groups)


def _without_deleted(batch: pa.RecordBatch, start: int, file: DataFile) -> pa.RecordBatch:
    """Return the live rows of a batch, the first of which is the row `start` of its file."""
    if file.deleted is None:
        return batch
    first, end = np.searchsorted(file.deleted, (start, start + batch.num_rows))
    keep = np.ones(batch.num_rows, dtype=bool)
    keep[file.deleted[first:end] - start] = False
    return batch.filter(pa.array(keep))


def _to_the_end(batches: Iterator[pa.RecordBatch], part: FilePart) -> Iterator[pa.RecordBatch]:
    try:
        yield from batches
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:100]
        raise _refusal(part, f"cannot be read to its end ({reason}); write it again") from None


def _values(batch: pa.RecordBatch, source: Source, field: pa.Field, part: FilePart) -> pa.Array:
    if source.name is None:
        if source.value is None:
            return pa.nulls(batch.num_rows, field.type)
        values = pa.repeat(pa.scalar(source.value), batch.num_rows)
    else:
        values = batch.column(source.name)
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    try:
        return pc.cast(values, options=pc.CastOptions(field.type, allow_time_truncate=True))
    except pa.ArrowException as error:
        reason = " ".join(str(error).split())[:100]
        raise _refusal(
            part,
            f"has a value in column '{source.name}' that is no {field.type} ({reason}), the type of all files; "
            "write the files with one type",
        ) from None


def _refusal(part: FilePart, problem: str) -> CatalogueError:
    return CatalogueError(f"catalogue.path: {shown(part.file.name)} {problem}")
