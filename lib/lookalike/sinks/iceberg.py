"""Iceberg tables over the files of releases: a snapshot and a tag a release, and `main` at the current one.

The files stay where they are. A snapshot of a release names its files and no others, so that it can be expired with
them. Tables move one after another, each in one step; CURRENT stays the step that moves all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from functools import partial
from typing import TypeVar

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError
from pyiceberg.table import Table as IcebergTable

from lookalike.errors import LockError, SinkError
from lookalike.progress import say_detail
from lookalike.sinks import iceberg_table
from lookalike.sinks.base import Sink
from lookalike.sinks.iceberg_catalog import FILE, FOLDER, quiet
from lookalike.sinks.tables import SCHEMAS, Table, tables_of
from lookalike.storage import bounded, disk
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder

# A commit is a few small requests, of which PyIceberg limits no time.
_SECONDS = 120.0

# How often a table is loaded again and moved, where somebody else commits to it just then.
_TRIES = 3

_DROP = "drop the table, which removes no file of a release"

T = TypeVar("T")


class IcebergTables(Sink):
    """A table in one namespace for each table of a release."""

    def __init__(self, warehouse: Warehouse, namespace: str, open_catalog: Callable[[], Catalog], *, own: bool) -> None:
        """Name the tables; `own` says that the catalog is the file of this warehouse, and shows nobody else's."""
        self.name = f"Iceberg tables of {namespace}"
        self.holder = f"iceberg {namespace}"
        self._warehouse, self._namespace, self._open, self._own = warehouse, namespace, open_catalog, own

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
        return {iceberg_table.release_of(one) for one in table.metadata.snapshots} - {""} if table else set()

    def _hold(self, release_id: str) -> Catalog:
        held = self._warehouse.shown.get(self.holder, [])
        self._warehouse.write_shown(self.holder, [release_id, *held])
        catalog = self._open()
        catalog.create_namespace_if_not_exists((self._namespace,))
        return catalog

    def _move(self, catalog: Catalog, name: str, table: Table | None, release_id: str) -> None:
        for _ in range(_TRIES - 1):
            try:
                return self._move_once(catalog, name, table, release_id)
            except CommitFailedException:
                pass
        return self._move_once(catalog, name, table, release_id)

    def _move_once(self, catalog: Catalog, name: str, table: Table | None, release_id: str) -> None:
        found = self._load(catalog, name)
        if found is None:
            if table is None:  # a release without it, and none had it before
                return
            properties = iceberg_table.properties(self._warehouse.name)
            found = catalog.create_table((self._namespace, name), table.columns, properties=properties)
        snapshot = found.snapshot_by_name(release_id)
        if snapshot is None:
            files = f"{self._warehouse.name}/releases/{release_id}"
            iceberg_table.commit(found, table or Table(name, (), found.schema().as_arrow()), release_id, files)
        elif snapshot != found.current_snapshot():
            found.manage_snapshots().set_current_snapshot(snapshot_id=snapshot.snapshot_id).commit()

    def _load(self, catalog: Catalog, name: str) -> IcebergTable | None:
        """Return a table of this warehouse; raises SinkError for another's.

        The warehouse's own catalog can name the metadata of the folder that it was moved or copied from, or what is
        gone: such a table is made again, and what it named is left alone.
        """
        try:
            table = catalog.load_table((self._namespace, name))
        except NoSuchTableError:
            return None
        except FileNotFoundError:
            if not self._own:
                raise
            self._drop(catalog, name, "its metadata is gone")
            return None
        owner = iceberg_table.owner(table)
        if owner == self._warehouse.name:
            return table
        whose = f"it is that of the warehouse {owner}" if owner else "lookalike has not made it"
        if not self._own:
            raise SinkError(
                f"the Iceberg table {self._namespace}.{name} cannot be changed, since {whose}; name another namespace, "
                f"or {_DROP}"
            )
        self._drop(catalog, name, whose)
        return None

    def _drop(self, catalog: Catalog, name: str, why: str) -> None:
        """Remove a table from the catalog, and no file."""
        say_detail(f"the Iceberg table {self._namespace}.{name} is made again: {why}", level="warning")
        catalog.drop_table((self._namespace, name))

    def _expire(self, catalog: Catalog, name: str, release_ids: Collection[str]) -> None:
        if (table := self._load(catalog, name)) is not None:
            iceberg_table.expire(table, release_ids)

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
            reason = " ".join(lines[0].split())
            raise SinkError(f"the Iceberg {what} cannot be changed ({reason}); {self._advice(error)}") from None

    def _advice(self, error: Exception) -> str:
        if isinstance(error, FileNotFoundError):
            return _DROP
        if isinstance(error, OSError) and error.errno:
            return disk.advice(error)
        if refused := disk.advice_in(str(error)):
            return refused
        if re.search("fields for name|Cannot add column", str(error)):
            return "a.b is b in a to Iceberg: leave one of them out of catalogue.keep_columns"
        if self._own:
            file = f"{self._warehouse.name}/{FOLDER}/{FILE}"
            return f"check the rights of {file}, and who holds it; if it is damaged, remove it: it is made again"
        return "check the catalog that publish.iceberg names, and its rights"
