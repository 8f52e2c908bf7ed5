"""What is committed to one Iceberg table: the files of a release as a snapshot, and that releases are gone."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

import pyarrow as pa
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table import TableProperties, Transaction
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update.snapshot import ExpireSnapshots, ManageSnapshots
from pyiceberg.typedef import Record

from lookalike.progress import say_detail
from lookalike.sinks.tables import Table, TableFile

# Of a table: the warehouse whose releases it shows. Of a snapshot: the release whose files it names.
WAREHOUSE, RELEASE_ID = "lookalike.warehouse", "lookalike.release-id"

_PROPERTIES = {
    "gc.enabled": "false",  # no engine removes the files: `releases clean` does
    TableProperties.METADATA_DELETE_AFTER_COMMIT_ENABLED: "true",
    TableProperties.METADATA_PREVIOUS_VERSIONS_MAX: "10",
    TableProperties.COMMIT_NUM_RETRIES: "0",  # PyIceberg's own would commit the snapshot again without its tag
}


def properties(warehouse: str) -> dict[str, str]:
    """Return the properties of a table for the releases of a warehouse."""
    return {**_PROPERTIES, WAREHOUSE: warehouse}


def owner(table: IcebergTable) -> str | None:
    """Return the warehouse whose releases a table shows, None for one that is none of ours."""
    return table.properties.get(WAREHOUSE)


def release_of(snapshot: Snapshot) -> str:
    """Return the release whose files a snapshot names, "" for one that somebody else has made."""
    return (snapshot.summary and snapshot.summary.additional_properties.get(RELEASE_ID)) or ""


def commit(found: IcebergTable, table: Table, release_id: str, place: str) -> None:
    """Make a snapshot of the release's files, which are below `place`, the current one, with a tag, in one step.

    Once there is a `main`, it is made on a branch that is not there before and after: so it has no parent, and no file
    of another release.
    """
    branch = f"new-{release_id}" if MAIN_BRANCH in found.refs() else MAIN_BRANCH
    with found.transaction() as transaction:
        _match_columns(transaction, table)
        files = transaction.update_snapshot({RELEASE_ID: release_id}, branch).fast_append()
        for file in table.files:
            files.append_data_file(_data_file(file, place))
        files.commit()
        with ManageSnapshots(transaction) as refs:
            refs.create_tag(files.snapshot_id, release_id)
            if branch != MAIN_BRANCH:
                refs.remove_branch(branch).set_current_snapshot(snapshot_id=files.snapshot_id)


def _match_columns(transaction: Transaction, table: Table) -> None:
    """Add the columns that the table lacks. Files know columns by name, and the table's mapping knows their ids."""
    if transaction.table_metadata.name_mapping() is None:
        mapping = transaction.table_metadata.schema().name_mapping.model_dump_json()
        transaction.set_properties({TableProperties.DEFAULT_NAME_MAPPING: mapping})
    _match_capitals(transaction, table.columns.names)
    if clashing := [field for field in table.columns if _clashes(transaction, field)]:
        _replace(transaction, clashing, table.name)
    with transaction.update_schema() as schema:
        schema.union_by_name(table.columns)


def _match_capitals(transaction: Transaction, names: list[str]) -> None:
    """Rename columns that differ from the release's in capitals alone, which most engines cannot tell apart."""
    by_lower = {name.lower(): name for name in names}
    with transaction.update_schema() as schema:
        for field in transaction.table_metadata.schema().fields:
            name = by_lower.get(field.name.lower(), field.name)
            if name != field.name:
                schema.rename_column((field.name,), name)


def _clashes(transaction: Transaction, field: pa.Field) -> bool:
    """Return whether a column has another type than the table's, that Iceberg does not change into one of both."""
    try:
        transaction.update_schema().union_by_name(pa.schema([field]))
    except Exception:  # noqa: BLE001 - ValueError, ValidationError, ResolveError and others
        return True
    return False


def _replace(transaction: Transaction, fields: list[pa.Field], name: str) -> None:
    """Remove columns, so that they come again with another type; and all tags: files know columns by name alone.

    So the files of earlier releases would be read without their values of these columns.
    """
    names = ", ".join(f"'{field.name}'" for field in fields)
    say_detail(f"the Iceberg table {name} has a new type for {names}, and no earlier release any more", level="warning")
    with ManageSnapshots(transaction) as refs:
        for ref in set(transaction.table_metadata.refs) - {MAIN_BRANCH}:
            refs.remove_tag(ref)
    with transaction.update_schema() as schema:
        for field in fields:
            schema.delete_column((field.name,))


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


def expire(table: IcebergTable, release_ids: Collection[str]) -> None:
    """Remove the tags and snapshots of releases, and the files that describe these snapshots alone."""
    current = table.current_snapshot()
    gone = [one for one in table.metadata.snapshots if release_of(one) in release_ids and one != current]
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
        with suppress(FileNotFoundError):
            table.io.delete(path)


def _described_by(table: IcebergTable, snapshots: list[Snapshot]) -> set[str]:
    """Return the manifest lists and manifests of snapshots; a list that is gone names none."""
    found = {one.manifest_list for one in snapshots}
    for one in snapshots:
        with suppress(FileNotFoundError):
            found.update(manifest.manifest_path for manifest in one.manifests(table.io))
    return found
