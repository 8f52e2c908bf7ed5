"""Open the catalogue at a path of this machine, of whatever format it is. Starts no Spark."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lookalike.catalogue.columns import Columns
from lookalike.catalogue.convert import RowFiles
from lookalike.catalogue.files import DataFile, find_files, refuse_part_of_table, shown
from lookalike.catalogue.footers import read_footers
from lookalike.catalogue.formats import kinds
from lookalike.catalogue.formats.csv_files import CsvFiles
from lookalike.catalogue.formats.json_lines import JsonLines
from lookalike.catalogue.formats.live_files import LiveTable
from lookalike.catalogue.formats.pictures import PictureFolder, holds_pictures
from lookalike.catalogue.source import CatalogueFiles
from lookalike.errors import CatalogueError
from lookalike.warehouse.shared_files import ON_DISK, SharedFiles

if TYPE_CHECKING:
    from lookalike.catalogue.formats.iceberg import IcebergTable

Opened = CatalogueFiles | RowFiles


def open_files(path: str, encoding: str = "utf-8", shared: SharedFiles = ON_DISK) -> Opened | None:
    """Return the catalogue at a local path or a pattern; None if nothing is there.

    Tasks fetch the files from where they are `shared`; `encoding` is that of CSV. Raises
    CatalogueError.
    """
    kind, files = _kind_at(path)
    if kind == "delta" or kind == "iceberg":
        return _open_table(path, kind, shared)
    if kind == "pictures":
        pictures = PictureFolder(os.path.abspath(path))
        return RowFiles(pictures, pictures.files())
    if files is None:
        return None
    if not files:
        raise CatalogueError(
            f"catalogue.path: {shown(path)} holds no Parquet file, no other table and no picture; give a file, or a "
            "folder with some"
        )
    if kind == "parquet":
        return _of_parquet(files, shared)
    return RowFiles(CsvFiles(encoding) if kind == "csv" else JsonLines(), files, shared)


Kind = Literal["parquet", "csv", "json", "pictures", "delta", "iceberg"]


def _kind_at(path: str) -> tuple[Kind, list[DataFile] | None]:
    """Return the format of a catalogue at a local path, and its files, unless it is a table with a log."""
    if (table := kinds.table_kind(path)) is not None:
        return table, None
    files = find_files(path)
    if files is not None and not any(kinds.is_data(file.path) for file in files) and holds_pictures(path):
        return "pictures", files
    return kinds.kind_of_all(files, path) if files else "parquet", files


def kind_at(path: str) -> Kind:
    """Return the format of a catalogue at a local path, or of a name; Parquet where nothing says otherwise."""
    return "iceberg" if is_named_table(path) else _kind_at(path)[0]


def _of_parquet(files: list[DataFile], shared: SharedFiles) -> CatalogueFiles:
    footers = read_footers([file.path for file in files])
    return CatalogueFiles(files, footers, Columns(files, footers), shared)


def _open_table(path: str, kind: Literal["delta", "iceberg"], shared: SharedFiles) -> CatalogueFiles:
    """Open a table with a log; what reads the log is imported here, since it costs up to a second."""
    if kind == "delta":
        from lookalike.catalogue.formats.delta_lake import open_delta

        refuse_part_of_table(path)
        return of_live_files(open_delta(path), shared)
    from lookalike.catalogue.formats import iceberg

    metadata = path if os.path.isfile(path) else os.path.join(path, "metadata")
    folder = os.path.dirname(os.path.dirname(metadata)) if os.path.isfile(path) else path
    refuse_part_of_table(folder)
    if metadata != path:
        hint = Path(metadata, "version-hint.text")
        known = hint.read_text(encoding="utf-8", errors="replace") if hint.is_file() else None
        metadata = os.path.join(metadata, iceberg.current_metadata(os.listdir(metadata), known, path))
    return of_iceberg(iceberg.load_metadata(os.path.abspath(metadata), path), path)


def is_named_table(path: str) -> bool:
    """Return whether a name is that of an Iceberg table in a catalog that pyiceberg's configuration has."""
    if not kinds.TABLE_NAME.fullmatch(path):
        return False
    from lookalike.catalogue.formats import iceberg

    return iceberg.is_named(path)


def of_iceberg(table: IcebergTable, name: str) -> CatalogueFiles:
    """Return the catalogue that an Iceberg table on a disk is; raises CatalogueError."""
    from lookalike.catalogue.formats import iceberg

    return of_live_files(iceberg.find_files(table, name, iceberg.on_this_machine))


def of_live_files(table: LiveTable, shared: SharedFiles = ON_DISK) -> CatalogueFiles:
    """Return the catalogue that a table with a log is; raises CatalogueError."""
    if not table.files:
        raise CatalogueError(f"catalogue.path: {shown(table.name)} has no rows; nothing to do")
    files, footers = table.open()
    return CatalogueFiles(files, footers, Columns(files, footers), shared)
