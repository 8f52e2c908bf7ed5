"""Iceberg tables over the files of releases: a snapshot and a tag a release, and `main` at the current one.

The files stay where they are. A snapshot of a release names its files and no others, so that it can be expired with
them. Tables move one after another, each in one step; CURRENT stays the step that moves all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import TypeVar

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat, ManifestFile
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table import TableProperties, Transaction
from pyiceberg.table.snapshots import Operation, Snapshot
from pyiceberg.table.update.snapshot import ExpireSnapshots, ManageSnapshots, _FastAppendFiles
from pyiceberg.typedef import Record

from lookalike.errors import LockError, SinkError
from lookalike.sinks.base import Sink
from lookalike.sinks.iceberg_catalog import quiet
from lookalike.sinks.tables import OPTIONAL, SCHEMAS, Table, TableFile, tables_of
from lookalike.storage import bounded, disk
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder

# A commit is a few small requests, of which PyIceberg limits no time.
_SECONDS = 120.0

T = TypeVar("T")

# Of a snapshot: the release whose files it names.
RELEASE_ID = "lookalike.release-id"

_PROPERTIES = {
    "gc.enabled": "false",  # no engine removes the files: `releases clean` does
    TableProperties.METADATA_DELETE_AFTER_COMMIT_ENABLED: "true",
    TableProperties.METADATA_PREVIOUS_VERSIONS_MAX: "10",
}


class IcebergTables(Sink):
    """A table in one namespace for each table of a release."""

    def __init__(self, warehouse: Warehouse, namespace: str, open_catalog: Callable[[], Catalog]) -> None:
        self.name = f"Iceberg tables of {namespace}"
        self.holder = f"iceberg {namespace}"
        self._warehouse, self._namespace, self._open = warehouse, namespace, open_catalog

    def publish(self, release: ReleaseFolder) -> None:
        """Move each table to the release. That it is held is written down first, so that no clean-up removes it."""
        catalog = self._ask("", partial(self._hold, release.release_id))
        tables = {table.name: table for table in tables_of(release)}
        for name in SCHEMAS:
            self._ask(name, partial(self._move, catalog, name, tables.get(name), release.release_id))
        self._note_held(catalog)

    def forget(self, release_ids: Collection[str]) -> None:
        """Remove the tags and snapshots of releases; one that `main` of a table still shows stays held."""
        catalog = self._ask("", self._open)
        for name in SCHEMAS:
            self._ask(name, partial(self._expire, catalog, name, release_ids))
        self._note_held(catalog)

    def _note_held(self, catalog: Catalog) -> None:
        """Write down which releases the tables name, as the catalog says: VIEWS may have been lost meanwhile."""
        held = set[str]().union(*(self._ask(name, partial(self._releases_in, catalog, name)) for name in SCHEMAS))
        self._ask("", partial(self._warehouse.write_shown, self.holder, sorted(held)))

    def _releases_in(self, catalog: Catalog, name: str) -> set[str]:
        table = self._load(catalog, name)
        return {_release_of(one) for one in table.metadata.snapshots} - {""} if table else set()

    def _hold(self, release_id: str) -> Catalog:
        held = self._warehouse.shown.get(self.holder, [])
        self._warehouse.write_shown(self.holder, [release_id, *held])
        catalog = self._open()
        catalog.create_namespace_if_not_exists((self._namespace,))
        return catalog

    def _move(self, catalog: Catalog, name: str, table: Table | None, release_id: str) -> None:
        found = self._load(catalog, name)
        if found is None:
            if table is None:  # a release without duplicates, and none had any before
                return
            found = catalog.create_table((self._namespace, name), table.columns, properties=_PROPERTIES)
        snapshot = found.snapshot_by_name(release_id)
        if snapshot is None:
            files = f"{self._warehouse.name}/releases/{release_id}"
            _commit(found, table or Table(OPTIONAL, (), found.schema().as_arrow()), release_id, files)
        elif snapshot != found.current_snapshot():
            with found.transaction() as transaction, ManageSnapshots(transaction) as refs:
                refs.set_current_snapshot(snapshot_id=snapshot.snapshot_id)

    def _load(self, catalog: Catalog, name: str) -> IcebergTable | None:
        try:
            return catalog.load_table((self._namespace, name))
        except NoSuchTableError:
            return None

    def _expire(self, catalog: Catalog, name: str, release_ids: Collection[str]) -> None:
        if (table := self._load(catalog, name)) is not None:
            _expire(table, release_ids)

    def _ask(self, name: str, request: Callable[[], T]) -> T:
        """Raise SinkError for whatever a catalog, its database, its server or a disk refused, or did not answer."""
        try:
            with quiet():
                return bounded.call(request, _SECONDS, self.name)
        except (SinkError, LockError):
            raise
        except Exception as error:  # noqa: BLE001 - it passes on errors of a dozen libraries
            lines = str(error).strip().splitlines() or [type(error).__name__]
            what = f"table {self._namespace}.{name}" if name else f"tables of {self._namespace}"
            todo = "check the catalog that publish.iceberg names, and its rights"
            if isinstance(error, OSError) and error.errno:
                todo = disk.advice(error)
            reason = " ".join(lines[0].split())
            raise SinkError(f"the Iceberg {what} cannot be changed ({reason}); {todo}") from None


class _ReplaceAll(_FastAppendFiles):
    """A snapshot of the files that are added, and of none before."""

    def _existing_manifests(self) -> list[ManifestFile]:
        return []


def _commit(found: IcebergTable, table: Table, release_id: str, place: str) -> None:
    """Make a snapshot of the release's files, which are below `place`, the current one, with a tag, in one step."""
    with found.transaction() as transaction:
        _widen(transaction, table)
        files = _ReplaceAll(Operation.OVERWRITE, transaction, found.io, snapshot_properties={RELEASE_ID: release_id})
        for file in table.files:
            files.append_data_file(_data_file(file, place))
        files.commit()
        with ManageSnapshots(transaction) as refs:
            refs.create_tag(files.snapshot_id, release_id)


def _widen(transaction: Transaction, table: Table) -> None:
    """Add the columns that the table lacks. Files know columns by name, and the table's mapping knows their ids."""
    try:
        with transaction.update_schema() as schema:
            schema.union_by_name(table.columns)
    except Exception as error:  # noqa: BLE001 - ValueError, ValidationError, ResolveError and others
        reason = " ".join(str(error).split())
        raise SinkError(
            f"the Iceberg table {table.name} has a column of another type ({reason}); drop the table, which removes no "
            "file of a release"
        ) from None
    mapping = transaction.table_metadata.schema().name_mapping.model_dump_json()
    transaction.set_properties({TableProperties.DEFAULT_NAME_MAPPING: mapping})


def _data_file(file: TableFile, place: str) -> DataFile:
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=f"{place}/{file.name}",
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=file.rows,
        file_size_in_bytes=file.bytes,
        column_sizes={},
        value_counts={},
        null_value_counts={},
        nan_value_counts={},
        lower_bounds={},
        upper_bounds={},
        spec_id=0,  # no partitions
        sort_order_id=None,
        equality_ids=None,
        key_metadata=None,
    )


def _release_of(snapshot: Snapshot) -> str:
    """Return the release whose files a snapshot names, "" for one that somebody else has made."""
    return (snapshot.summary and snapshot.summary.additional_properties.get(RELEASE_ID)) or ""


def _expire(table: IcebergTable, release_ids: Collection[str]) -> None:
    """Remove the tags and snapshots of releases, and the files that describe these snapshots alone."""
    current = table.current_snapshot()
    gone = [one for one in table.metadata.snapshots if _release_of(one) in release_ids and one != current]
    if not gone:
        return
    stay = [one for one in table.metadata.snapshots if one not in gone]
    described = _described_by(table, gone) - _described_by(table, stay)
    ids = {one.snapshot_id for one in gone}
    with table.transaction() as transaction:
        with ManageSnapshots(transaction) as refs:
            for name, ref in table.refs().items():
                if ref.snapshot_id in ids:
                    refs.remove_tag(name)
        with ExpireSnapshots(transaction) as expired:
            expired.by_ids(sorted(ids))
    for path in described:
        table.io.delete(path)


def _described_by(table: IcebergTable, snapshots: list[Snapshot]) -> set[str]:
    """Return the manifest lists and manifests of snapshots."""
    manifests = (manifest.manifest_path for one in snapshots for manifest in one.manifests(table.io))
    return {*(one.manifest_list for one in snapshots), *manifests}
