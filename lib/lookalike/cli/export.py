"""`lookalike export`: the tables of a release for another store."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lookalike import config_file
from lookalike.cli import exits, options, output
from lookalike.errors import ConfigError

if TYPE_CHECKING:
    from lookalike.feeds.destination import Destination
    from lookalike.feeds.projection import Projection


class FileFormat(StrEnum):
    """Of the files of a folder."""

    parquet = "parquet"
    jsonl = "jsonl"


class Precision(StrEnum):
    """Of the numbers of a vector."""

    float16 = "float16"
    float32 = "float32"


_TO = "postgresql://HOST/DATABASE, with the password in PGPASSWORD or ~/.pgpass; or a folder."


def export(
    config_path: options.ConfigPath,
    to: Annotated[str, typer.Option("--to", metavar="PLACE", help=_TO)],
    release_id: Annotated[
        str | None, typer.Option("--release", metavar="RELEASE", help="Export this one, not the current release.")
    ] = None,
    dimensions: Annotated[
        int | None, typer.Option("--dimensions", min=1, help="Reduce the vectors to so many dimensions (PCA).")
    ] = None,
    projection: Annotated[
        Path | None,
        typer.Option("--projection", metavar="FILE", help="Reduce them as an earlier export did: its projection.npz."),
    ] = None,
    schema: Annotated[
        str | None, typer.Option("--schema", help="PostgreSQL: schema of the tables.  [default: lookalike]")
    ] = None,
    index: Annotated[
        bool, typer.Option("--index", help="PostgreSQL: build an HNSW index of the vectors, for searches.")
    ] = False,
    arrays: Annotated[bool, typer.Option("--arrays", help="PostgreSQL without pgvector: vectors as real[].")] = False,
    file_format: Annotated[
        FileFormat | None, typer.Option("--format", help="Folder: the files' format.  [default: parquet]")
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option("--precision", help="Folder: of the vectors.  [default: float32]")
    ] = None,
    overrides: options.Overrides = None,
    as_json: options.AsJson = False,
) -> None:
    """Export items, vectors, lists and failures of a release to PostgreSQL or to files; all of it, or nothing.

    Reads the release without Spark.
    """
    with exits.exit_code(as_json=as_json):
        given = {"--schema": schema, "--index": index, "--arrays": arrays}
        of_files = {"--format": file_format, "--precision": precision}
        from lookalike.feeds import export as exporting
        from lookalike.warehouse import opening

        warehouse = opening.open_warehouse(config_file.load(config_path, overrides or ()))
        release = warehouse.find(release_id) if release_id is not None else warehouse.need_current()
        if to.startswith(("postgresql://", "postgres://")):
            _refuse(of_files, "for a folder")
            destination = _postgres(to, schema or "lookalike", arrays=arrays, index=index)
        else:
            _refuse(given, "for PostgreSQL")
            destination = _folder(to, file_format, precision)
        reduction = dimensions if projection is None else _projection(projection, dimensions)
        found = exporting.export(warehouse.fetch(release), destination, reduction)
        if as_json:
            output.print_json(found.record)
        else:
            output.section(found.line(), [found.vectors_line()])


def _projection(path: Path, dimensions: int | None) -> Projection:
    if dimensions is not None:
        raise ConfigError("--dimensions: an earlier projection has its own; leave it out, or --projection")
    from lookalike.feeds.projection import Projection

    return Projection.load(path)


def _refuse(given: Mapping[str, object], what: str) -> None:
    for name, value in given.items():
        if value:
            raise ConfigError(f"{name}: is {what} only; leave it out")


def _postgres(to: str, schema: str, *, arrays: bool, index: bool) -> Destination:
    from lookalike.feeds.postgres import PostgresDestination

    return PostgresDestination(to, schema, arrays=arrays, index=index)


def _folder(to: str, file_format: FileFormat | None, precision: Precision | None) -> Destination:
    from lookalike.feeds.folder import FolderDestination

    kind = file_format or FileFormat.parquet
    return FolderDestination(to, kind.value, (precision or Precision.float32).value)
