"""Find the live files of an Iceberg table: with rows deleted by position, and columns that were renamed or dropped."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO, _read_deletes, schema_to_pyarrow
from pyiceberg.manifest import FileFormat
from pyiceberg.table import FileScanTask, StaticTable, Table
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import (
    DateType,
    IcebergType,
    TimestampNanoType,
    TimestampType,
    TimestamptzNanoType,
    TimestamptzType,
)
from pyiceberg.utils.config import Config

from lookalike import config
from lookalike.catalogue.files import local_path, shown
from lookalike.catalogue.footers import Column
from lookalike.catalogue.formats.live_files import LiveFile, LiveTable
from lookalike.errors import CatalogueError
from lookalike.storage import bounded, object_store
from lookalike.storage.uri import parse

IcebergTable = Table

_TIMES = (TimestampType, TimestamptzType, TimestampNanoType, TimestamptzNanoType)

# A table is loaded by a few small requests, of which PyIceberg limits no time.
_SECONDS = 120.0

_VERSION = re.compile(r"v?(\d+)[.-].*metadata\.json.*", re.DOTALL)

# Where a file of a table, given by its URIs, is on this machine.
Fetch = Callable[[Sequence[str]], Mapping[str, str]]


class StoreIO(PyArrowFileIO):
    """Reads manifests and deletes of a table in an object store, by the settings `stores`."""

    def __init__(self, stores: config.StoreSettings) -> None:
        super().__init__()
        self._stores = stores

    def new_input(self, location: str) -> PyArrowFile:
        """Return an object to read."""
        place = parse(location)
        store = object_store.open_store(place, object_store.FILE_TIMEOUTS, self._stores, object_store.FILE_TRIES)
        return PyArrowFile(location=location, path=object_store.key(place), fs=store)


def is_named(path: str) -> bool:
    """Return whether a name is that of a table, lake.shop.products, in a catalog that pyiceberg's configuration has."""
    return os.path.lexists(path) is False and Config().get_catalog_config(path.partition(".")[0]) is not None


def load_named(path: str) -> Table:
    """Return the table of a name; raises CatalogueError."""
    catalog, _, name = path.partition(".")
    known: dict[str, Any] = Config().get_catalog_config(catalog) or {}
    try:
        return bounded.call(lambda: load_catalog(catalog, **known).load_table(name), _SECONDS, path)
    except (NoSuchTableError, NoSuchNamespaceError):
        raise CatalogueError(f"catalogue.path: the Iceberg catalog '{catalog}' has no table '{name}'") from None
    except Exception as error:  # noqa: BLE001 - of any of a dozen kinds of catalog, and its network
        raise CatalogueError(
            f"catalogue.path: the Iceberg catalog '{catalog}' does not answer ({_reason(error)}); see pyiceberg's "
            "configuration, .pyiceberg.yaml"
        ) from None


def load_metadata(location: str, name: str, io: FileIO | None = None) -> Table:
    """Return the table of a metadata file, which messages call `name`; raises CatalogueError."""
    try:
        table = StaticTable.from_metadata(location)
    except Exception as error:  # noqa: BLE001 - pydantic's, JSON's and those of its stores
        raise _refusal(name, f"cannot be read ({_reason(error)})") from None
    table.io = io or table.io
    return table


def current_metadata(names: Sequence[str], hint: str | None, table: str) -> str:
    """Return the current metadata file of a table: that of the hint, or the highest; raises CatalogueError."""
    numbers = {name: int(found[1]) for name in names if (found := _VERSION.fullmatch(name))}
    wanted = int(hint) if hint and hint.strip().isdigit() else max(numbers.values(), default=None)
    current = sorted(name for name, number in numbers.items() if number == wanted)
    if len(current) == 1:
        return current[0]
    if not current:
        raise _refusal(table, "has no metadata file with a number in its name")
    raise CatalogueError(
        f"catalogue.path: {shown(table)} is an Iceberg table with two metadata files of one number, {current[0]} and "
        f"{current[1]}; set catalogue.path to the current one, or to the table's name in its catalog"
    )


def find_files(table: Table, name: str, fetch: Fetch) -> LiveTable:
    """Return the live files of a table, which messages call `name`; raises CatalogueError."""
    try:
        tasks = list(table.scan().plan_files())
        deleted = _deleted(table, tasks)
    except Exception as error:  # noqa: BLE001 - of files, stores, and of what pyiceberg does not read
        raise _refusal(name, f"cannot be read ({_reason(error)})") from None
    if other := next((task.file for task in tasks if task.file.file_format != FileFormat.PARQUET), None):
        raise _refusal(name, f"has files that are not Parquet, such as {other.file_path}")
    places = fetch([task.file.file_path for task in tasks])
    ids = {field.name: field.field_id for field in table.schema().fields}
    mapping = table.name_mapping()
    mapped = {one: field.field_id for field in mapping or () for one in field.names}

    def stored_as(columns: Mapping[str, Column]) -> dict[str, str]:
        known = {
            mapped.get(one) if column.field_ids[0] is None else column.field_ids[0]: one
            for one, column in columns.items()
        }
        return {name: known[field_id] for name, field_id in ids.items() if field_id in known}

    files = [
        LiveFile(places[task.file.file_path], deleted.get(task.file.file_path), _values(table, task)) for task in tasks
    ]
    return LiveTable(name, schema_to_pyarrow(table.schema()), files, stored_as)


def on_this_machine(uris: Sequence[str]) -> dict[str, str]:
    """Return the paths of files of a disk; raises CatalogueError for others."""
    places = {uri: local_path(uri) for uri in uris}
    if far := next((uri for uri, place in places.items() if place is None), None):
        raise CatalogueError(f"catalogue.path: {shown(far)}, a file of the table, is not on this machine")
    return {uri: str(place) for uri, place in places.items()}


def _deleted(table: Table, tasks: Sequence[FileScanTask]) -> dict[str, NDArray[np.int64]]:
    """Return the positions of deleted rows of each data file that has any."""
    wanted = {task.file.file_path for task in tasks if task.delete_files}
    found: dict[str, list[NDArray[np.int64]]] = {}
    for file in {one for task in tasks for one in task.delete_files}:
        for path, positions in _read_deletes(table.io, file).items():
            if path in wanted:
                found.setdefault(path, []).append(positions.to_numpy())
    return {path: np.unique(np.concatenate(parts)) for path, parts in found.items()}


def _values(table: Table, task: FileScanTask) -> dict[str, Any]:
    """Return the values of columns that a file may lack: those by which it is partitioned, and defaults."""
    schema = table.schema()
    values = {field.name: field.initial_default for field in schema.fields if field.initial_default is not None}
    for place, part in enumerate(table.specs()[task.file.spec_id].fields):
        column = schema.find_column_name(part.source_id)
        if isinstance(part.transform, IdentityTransform) and column is not None:
            values[column] = _plain(task.file.partition[place], schema.find_type(part.source_id))
    return values


def _plain(value: Any, kind: IcebergType) -> Any:
    """Return a value of a partition as the column holds it."""
    if value is None:
        return None
    if isinstance(kind, DateType):  # days since 1970
        return date(1970, 1, 1) + timedelta(days=value)
    if not isinstance(kind, _TIMES):
        return value
    zone = UTC if isinstance(kind, TimestamptzType | TimestamptzNanoType) else None
    passed = value // 1000 if isinstance(kind, TimestampNanoType | TimestamptzNanoType) else value
    return datetime(1970, 1, 1, tzinfo=zone) + timedelta(microseconds=passed)


def _refusal(name: str, problem: str) -> CatalogueError:
    return CatalogueError(
        f"catalogue.path: {shown(name)} is an Iceberg table that {problem}; rewrite its files (rewrite_data_files), or "
        "write its live rows as plain Parquet"
    )


def _reason(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:150]
