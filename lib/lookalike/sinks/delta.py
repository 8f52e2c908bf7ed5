"""Delta tables in place: a log beside the Parquet files of each table of a release, by delta-rs, without a JVM.

    <release>/similar_items/_delta_log/00000000000000000000.json

The log has one version, since a release never changes. It is hidden from all who read Parquet, and files.json does not
list it: it can be made at any time, also for a release of an older version.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from deltalake import Schema
from deltalake.transaction import AddAction, create_table_with_add_actions

from lookalike.errors import SinkError, WarehouseError
from lookalike.sinks.base import Sink
from lookalike.sinks.tables import Table, tables_of
from lookalike.storage import disk
from lookalike.storage.files import write_atomic
from lookalike.warehouse.release import ReleaseFolder

LOG = Path("_delta_log", "00000000000000000000.json")


class DeltaTables(Sink):
    """A log in each table's folder."""

    name = "Delta tables"

    def prepare(self, release: ReleaseFolder) -> None:
        """Write the logs before the release is current, so that no reader finds it without them."""
        for table in tables_of(release):
            try:
                _write_log(table, release)
            except OSError as error:
                reason = f"{release.root / table.name / LOG} cannot be written ({error.strerror or error})"
                raise SinkError(f"its table {table.name} is no Delta table: {reason}; {disk.advice(error)}") from None
            except WarehouseError as error:
                raise SinkError(f"its table {table.name} is no Delta table: {error}") from None

    def publish(self, release: ReleaseFolder) -> None:
        """Write the logs of a release that was made without them."""
        self.prepare(release)


def _write_log(table: Table, release: ReleaseFolder) -> None:
    """Write the log, unless it is there and names the files of the table."""
    path, shared = release.root / table.name / LOG, release.shared
    with suppress(FileNotFoundError):
        if _is_sound(shared.fetch(path).read_bytes(), table):
            return
    write_atomic(shared.here(path), _log(table, release))
    shared.save(path)


def _is_sound(log: bytes, table: Table) -> bool:
    try:
        actions = [json.loads(line) for line in log.splitlines()]
        added = {(one["add"]["path"], one["add"]["size"]) for one in actions if "add" in one}
    except (ValueError, KeyError, TypeError):  # no JSON, or of another shape
        return False
    has_columns = any("metaData" in one for one in actions)
    return has_columns and added == {(file.name.partition("/")[2], file.bytes) for file in table.files}


def _log(table: Table, release: ReleaseFolder) -> bytes:
    """Return the log. It is made in a folder of this machine, whose name can hold what delta-rs takes for a code."""
    files = [
        AddAction(
            file.name.partition("/")[2],
            file.bytes,
            {},
            int(time.time() * 1000),
            True,
            json.dumps({"numRecords": file.rows}),
        )
        for file in table.files
    ]
    with tempfile.TemporaryDirectory(prefix="lookalike-") as folder:
        try:
            create_table_with_add_actions(
                folder,
                Schema.from_arrow(table.columns),
                files,
                name=table.name,
                description=f"{table.name} of the release {release.release_id}",
                configuration={"delta.appendOnly": "true"},
            )
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - errors of three libraries; and a panic of Rust's is no Exception
            reason = " ".join(re.sub(r"\x1b\[\d*m", "", str(error)).split())
            named = disk.disk_error_in(reason) or f"{reason}; leave out the column that Delta has no type for"
            raise SinkError(f"its table {table.name} is no Delta table: {named}") from None
        return _without_place(Path(folder, LOG).read_bytes())


def _without_place(log: bytes) -> bytes:
    """Return the log without the folder in which it was made."""
    actions = [json.loads(line) for line in log.splitlines()]
    for action in actions:
        action.get("commitInfo", {}).get("operationParameters", {}).pop("location", None)
    return "".join(f"{json.dumps(action)}\n" for action in actions).encode()
