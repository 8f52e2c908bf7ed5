"""lookalike.duckdb: a database of views over the current release, for DuckDB and the tools that read its files.

It is made anew as a whole and takes the place of the one before in one step: a reader who has that open goes on with
it. The views read `<warehouse>/current`, so they follow the pointer even there.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

import duckdb

from lookalike import config
from lookalike.catalogue.objects import kind_for_sql
from lookalike.errors import ConfigError, SinkError
from lookalike.progress import say_detail
from lookalike.sinks import duckdb_views
from lookalike.sinks.base import Sink
from lookalike.sinks.duckdb_views import Release
from lookalike.sinks.tables import tables_of
from lookalike.sql.views import LiveCatalogue, View
from lookalike.storage import disk
from lookalike.storage.files import sync
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder

FILE = "lookalike.duckdb"

_OPTIONS: dict[str, str | bool | int | float | list[str]] = {
    "storage_compatibility_version": "v1.0.0",  # version 2.0 writes what no DuckDB of before can open
    "autoinstall_known_extensions": False,  # the night asks no server on the web
}


class DuckDBFile(Sink):
    """A file in the warehouse."""

    def __init__(self, warehouse: Warehouse, settings: config.Settings) -> None:
        if warehouse.shared.in_store:
            raise ConfigError(
                f"publish.duckdb: the warehouse {warehouse.name} is in a store, where no DuckDB can open the file; "
                "leave it out, and read the Parquet files by their URIs"
            )
        self.name = f"views of {FILE}"
        self._warehouse, self._settings = warehouse, settings

    def publish(self, release: ReleaseFolder) -> None:
        """Make the file of this release."""
        there = {one.release_id: one for one in self._warehouse.releases()}
        self._write(release, there.get(release.record().parent or ""))

    def forget(self, release_ids: Collection[str]) -> None:
        """Make the file without the changes against a release that goes."""
        current = self._warehouse.need_current()
        if current.record().parent in release_ids:
            self._write(current, None)

    def _write(self, release: ReleaseFolder, parent: ReleaseFolder | None) -> None:
        path = self._warehouse.path / FILE
        part = path.with_name(f".{FILE}.{secrets.token_hex(4)}")
        record, current = release.record(), self._warehouse.path / "current"
        shown = Release(current, record.config.similar.k, tables_of(release), parent, record.parent is None)
        try:
            _make(
                part,
                duckdb_views.always(shown),
                duckdb_views.live(shown, LiveCatalogue.of(self._settings, kind_for_sql(self._settings))),
            )
            sync(part)
            # What somebody has written into the file before goes with it: its log would change the new one, too.
            path.with_name(f"{FILE}.wal").unlink(missing_ok=True)
            part.replace(path)
            sync(path.parent)
        except (duckdb.Error, OSError) as error:
            reason, todo = _reason(error)
            raise SinkError(f"{path} cannot be made ({reason}); {todo}") from None
        finally:
            for left in (part, part.with_name(f"{part.name}.wal")):
                with suppress(OSError):
                    left.unlink(missing_ok=True)


def _reason(error: duckdb.Error | OSError) -> tuple[str, str]:
    """Return what DuckDB or the disk refused, and what to do."""
    if isinstance(error, OSError):
        return error.strerror or str(error), disk.advice(error)
    line = str(error).strip().splitlines()[0]
    return line, disk.advice_in(line) or "repair that"


def _make(path: Path, views: Iterator[View], live: View) -> None:
    with duckdb.connect(str(path), config=_OPTIONS) as database:
        for view in views:
            database.execute(_statement(view))
        try:
            database.execute(_statement(live))
        except duckdb.Error as error:
            reason = str(error).strip().splitlines()[0]
            say_detail(f"{FILE} has no view {live.name}, since DuckDB cannot read the catalogue: {reason}")


def _statement(view: View) -> str:
    return f"CREATE VIEW {view.name} AS\n{view.query}"
