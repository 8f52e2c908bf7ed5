"""The tables of a release for those who publish them: names, files and columns, without a look at any row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.catalogue import arrow_types
from lookalike.errors import SinkError
from lookalike.spark import schemas
from lookalike.warehouse.release import ReleaseFolder, Staged
from lookalike.warehouse.release_files import StoredFile

# The tables for readers, and the columns of one without a file. `neighbours` is for the next run alone.
SCHEMAS = {
    "similar_items": schemas.SIMILAR_ITEMS,
    "embeddings": schemas.EMBEDDINGS,
    "failures": schemas.FAILURES,
    "changes": schemas.CHANGES,
    "duplicates": schemas.DUPLICATES,
}
# Not every release has these.
OPTIONAL = ("changes", "duplicates")


@dataclass(frozen=True)
class TableFile:
    """One Parquet file of a table, by its name below the folder of the release."""

    name: str
    bytes: int
    rows: int


@dataclass(frozen=True)
class Table:
    """One table of a release; `columns` are all nullable, with times in microseconds."""

    name: str
    files: tuple[TableFile, ...]
    columns: pa.Schema


def tables_of(release: ReleaseFolder) -> list[Table]:
    """Return the tables of a release, also of one in the making; raises SinkError or WarehouseError."""
    files = _files_by_table(release)
    return [
        Table(name, files.get(name, ()), _columns(name, files.get(name, ()), release))
        for name in SCHEMAS
        if name not in OPTIONAL or name in files
    ]


def _files_by_table(release: ReleaseFolder) -> dict[str, tuple[TableFile, ...]]:
    found: dict[str, tuple[TableFile, ...]] = {}
    for file in _listed(release):
        if file.part in SCHEMAS and file.name.endswith(".parquet"):
            one = TableFile(file.name, file.bytes, file.rows or 0)
            found[file.part] = (*found.get(file.part, ()), one)
    return found


def _listed(release: ReleaseFolder) -> Iterable[StoredFile]:
    if isinstance(release, Staged):
        return [release.written[name] for name in sorted(release.written)]
    listed = release.files()
    return listed.files if listed else _unlisted(release)


def _unlisted(release: ReleaseFolder) -> Iterable[StoredFile]:
    """Yield the files of a release of a version before 0.3.0, by their footers."""
    for path, size in release.shared.sizes(release.root).items():
        if path.suffix == ".parquet":
            rows = _footer(path, release).num_rows
            yield StoredFile(name=path.relative_to(release.root).as_posix(), bytes=size, sha256="", rows=rows)


def _columns(name: str, files: tuple[TableFile, ...], release: ReleaseFolder) -> pa.Schema:
    """Return the columns of a table: one run wrote all files of a table, or found theirs to be the same."""
    known = schemas.as_arrow(SCHEMAS[name])
    stored = _footer(release.root / files[0].name, release).schema.to_arrow_schema() if files else known
    fields = []
    for field in stored:
        kind = known.field(field.name).type if field.name in known.names else _kind(field.type)
        if kind is None or pa.types.is_null(kind):
            raise SinkError(
                f"the column '{field.name}' of {name} has a type that no table of this kind has: {field.type}"
            )
        fields.append(pa.field(field.name, kind))
    return pa.schema(fields)


def _kind(stored: pa.DataType) -> pa.DataType | None:
    """Return the type of a kept column; nanoseconds are the INT96 of a version before 0.3.0, which is in UTC."""
    if pa.types.is_timestamp(stored) and stored.unit == "ns":
        return arrow_types.TIMESTAMP_UTC
    return arrow_types.as_spark(stored)


def _footer(path: Path, release: ReleaseFolder) -> pq.FileMetaData:
    try:
        return pq.read_metadata(release.shared.fetch(path))
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise SinkError(
            f"{path} cannot be read ({reason}); roll back to another release, or run the job again"
        ) from None
