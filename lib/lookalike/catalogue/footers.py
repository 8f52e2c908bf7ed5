"""Read the footers of Parquet files: which columns they have, in which types, and how their rows lie."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
from pyarrow import parquet as pq

from lookalike.catalogue.arrow_types import TIMESTAMP_UTC, as_spark
from lookalike.catalogue.files import MAGIC, shown
from lookalike.errors import CatalogueError

# A footer is read in 0.3 ms from a disk, and in tens of ms from a file server.
_THREADS = 8

# How a column is written whose name a file has more than once.
TWICE = "there twice"

_FIELD_ID = b"PARQUET:field_id"


@dataclass(frozen=True)
class Source:
    """Where the values of a column are in a file: in the column `name`, or all are `value`."""

    name: str | None
    value: Any = None


@dataclass(frozen=True)
class Column:
    """A column of a file: its type as the file has it, and as Spark has it; None if Spark has none."""

    written_as: str
    kind: pa.DataType | None
    source: Source | None = None  # where the column's values are, if not in the column of its name
    field_ids: tuple[int | None, ...] = ()  # by which Iceberg knows it and the fields within, whatever their names


@dataclass(frozen=True)
class Footer:
    """Rows and bytes of each row group, the columns by name, and a digest: another footer is another file."""

    rows: tuple[int, ...]
    sizes: tuple[int, ...]
    columns: Mapping[str, Column]
    digest: int


def read_footers(paths: Sequence[str]) -> list[Footer]:
    """Return the footers of files; raises CatalogueError for the first that is not Parquet."""
    known: dict[tuple[tuple[str, Column], ...], Mapping[str, Column]] = {}  # files of one writer share theirs
    with ThreadPoolExecutor(_THREADS) as pool:
        return [_shared(footer, known) for footer in pool.map(_read_footer, paths)]


def _shared(footer: Footer, known: dict[tuple[tuple[str, Column], ...], Mapping[str, Column]]) -> Footer:
    columns = known.setdefault(tuple(footer.columns.items()), footer.columns)
    return Footer(footer.rows, footer.sizes, columns, footer.digest)


def _read_footer(path: str) -> Footer:
    file, digest = open_file(path)
    with file:
        ids = {field.name: tuple(field_ids(field)) for field in file.schema_arrow}
        groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
        return Footer(
            tuple(group.num_rows for group in groups),
            tuple(group.total_byte_size for group in groups),
            {name: replace(column, field_ids=ids[name]) for name, column in _columns(file)},
            digest,
        )


def open_file(path: str) -> tuple[pq.ParquetFile, int]:
    """Open a Parquet file, and return it with the digest of its footer; raises CatalogueError."""
    try:
        source = pa.OSFile(path)
        digest = _checked_end(source, path)
        return pq.ParquetFile(source, coerce_int96_timestamp_unit="us", page_checksum_verification=True), digest
    except FileNotFoundError:
        raise CatalogueError(
            f"catalogue.path: {shown(path)} is gone, or not seen on this machine; run again when all files are there"
        ) from None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise not_parquet(path, " ".join(str(error).split())[:100]) from None


def not_parquet(path: str, reason: str) -> CatalogueError:
    """Return the error of a file that is not what its name or its folder promises."""
    return CatalogueError(
        f"catalogue.path: {shown(path)} cannot be read as Parquet ({reason}); write it again, remove it, or set "
        "catalogue.path to a pattern of the files to read, such as <folder>/*.parquet"
    )


def _checked_end(source: pa.NativeFile, path: str) -> int:
    """Return the digest of a file's footer; raises CatalogueError if the file does not end as Parquet does."""
    size = source.size()
    if size == 0:
        raise not_parquet(path, "it is empty")
    head, end = source.read_at(min(size, 4), 0), source.read_at(min(size, 8), max(0, size - 8))
    if end[-4:] != MAGIC or size < 12:
        reasons = {b"PARE": "it is encrypted", MAGIC: "it is cut short"}
        raise not_parquet(path, reasons.get(end[-4:], reasons.get(head, "it is another kind of file")))
    length = min(size, int.from_bytes(end[:4], "little") + 8)
    return zlib.crc32(source.read_at(length, size - length))


def field_ids(field: pa.Field) -> Iterator[int | None]:
    """Yield the id of a field, and those of the fields within, the outer ones first; None where it has none."""
    known = field.metadata or {}
    yield int(known[_FIELD_ID]) if _FIELD_ID in known else None
    for number in range(field.type.num_fields):
        yield from field_ids(field.type.field(number))


def _columns(file: pq.ParquetFile) -> Iterator[tuple[str, Column]]:
    leaves = {leaf.path: leaf for leaf in map(file.schema.column, range(len(file.schema)))}
    names = file.schema_arrow.names
    for field in file.schema_arrow:
        leaf = leaves.get(field.name)
        if names.count(field.name) > 1:
            yield field.name, Column(TWICE, None)
        elif leaf is not None and leaf.physical_type == "INT96":  # a moment, though it says no zone
            yield field.name, Column("timestamp", TIMESTAMP_UTC)
        elif leaf is not None and leaf.logical_type.type == "INTERVAL":
            yield field.name, Column("interval", None)
        else:
            yield field.name, Column(str(field.type), as_spark(field.type))
