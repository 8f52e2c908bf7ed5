"""Try the stores and folders of the settings, from the driver and from the executors."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lookalike import config
from lookalike.doctor import clocks
from lookalike.doctor.check import Check
from lookalike.errors import WarehouseError
from lookalike.storage.prefix import Prefix, in_store
from lookalike.warehouse import opening

_RIGHTS = "check the name, the credentials of this machine and stores.* of the settings"

# Below the warehouse; each trial has a name of its own, and removes what it wrote.
FOLDER = "doctor"


@dataclass(frozen=True)
class Trial:
    """What came of trying a store: the check, and by how many seconds its clock is surely off."""

    check: Check
    offset: float | None = None  # None: it has no clock of its own


def places(settings: config.Settings) -> dict[str, str]:
    """Return what the job reads in a store, by its key of the settings."""
    named = {
        "catalogue.path": settings.catalogue.path,
        "catalogue.image_root": settings.catalogue.image_root or "",
        "model.weights": settings.model.weights,
    }
    return {key: uri for key, uri in named.items() if in_store(uri)}


def check_readable(key: str, uri: str, stores: config.StoreSettings) -> Check:
    """Check that there is an object, or a prefix with objects, at a URI."""
    try:
        there = Prefix(uri.rstrip("/"), stores).is_there()
    except WarehouseError as error:
        return Check(key, "fail", str(error))
    if not there:
        return Check(key, "fail", f"there is nothing at {uri}", _RIGHTS)
    return Check(key, "ok", f"{uri} can be read")


def try_warehouse(settings: config.Settings) -> Trial:
    """Do in the warehouse what a run relies on: in a store, what its lock does; raises WarehouseError."""
    where = settings.warehouse
    if in_store(where.path):
        return _try_store(Prefix(where.path.rstrip("/"), settings.stores))
    warehouse = opening.open_warehouse(settings)
    warehouse.check_writable()
    return Trial(_try_folder(warehouse.path))


def _try_store(prefix: Prefix) -> Trial:
    """Write, list, read, replace and remove an object, each seen at once by the next.

    The lock asks for no more: each run writes an object of its own and then lists all. So no store has to create an
    object only where none is.
    """
    name, before = f"{FOLDER}/{secrets.token_hex(8)}", time.time()
    try:
        prefix.write(name, b"first")
        listed = prefix.objects(FOLDER).get(name)
        after = time.time()
        seen = {"a list has what was written before": listed is not None}
        prefix.write(name, b"second")
        seen["a reader gets what was written last"] = prefix.read(name) == b"second"
    finally:
        prefix.remove(name)
    seen["a list has nothing that was removed"] = name not in prefix.objects(FOLDER)
    offset = clocks.provable(listed.modified.timestamp(), before, after) if listed else None
    return Trial(_judged(f"{prefix.uri} can be written", seen), offset)


def _try_folder(folder: Path) -> Check:
    """Create a file that may not be there yet, twice, and replace it: what the lock and the pointer rely on."""
    path = folder / f".{FOLDER}-{secrets.token_hex(8)}"
    other = path.with_name(f"{path.name}.new")
    try:
        path.write_bytes(b"first")
        seen = {"a second run cannot create the file of a first": not _creates(path)}
        other.write_bytes(b"second")
        os.replace(other, path)
        seen["a reader gets what was written last"] = path.read_bytes() == b"second"
        seen["a list has nothing that was replaced"] = other not in set(folder.iterdir())
    except OSError as error:
        return Check("warehouse", "fail", f"{folder}: {error.strerror}", "give this user the right to write there")
    finally:
        path.unlink(missing_ok=True)
        other.unlink(missing_ok=True)
    return _judged(f"{folder} can be written", seen)


def _creates(path: Path) -> bool:
    try:
        path.open("xb").close()
    except FileExistsError:
        return False
    return True


def _judged(what: str, seen: dict[str, bool]) -> Check:
    broken = [promise for promise, kept in seen.items() if not kept]
    if broken:
        return Check(
            "warehouse",
            "fail",
            f"{what}, but not relied on: it is not so that {broken[0]}",
            "put the warehouse into another store, or on another file system: two runs could write at once",
        )
    return Check("warehouse", "ok", f"{what}, and {', '.join(seen)}")


def try_or_fail(settings: config.Settings) -> Trial:
    """Try the warehouse; what it raises is a check that failed."""
    try:
        return try_warehouse(settings)
    except WarehouseError as error:
        return Trial(Check("warehouse", "fail", str(error)))


def needs_executors(settings: config.Settings) -> bool:
    """Return whether the executors use a store themselves."""
    return in_store(settings.warehouse.path) or bool(places(settings))


def on_executor(settings: config.Settings) -> Callable[[object], dict[str, object]]:
    """Return a question for `hosts.ask`: what of the settings' stores cannot be read or written there."""

    def problems(_: object) -> dict[str, object]:
        checks = [check_readable(key, uri, settings.stores) for key, uri in places(settings).items()]
        if in_store(settings.warehouse.path):
            checks.append(try_or_fail(settings).check)
        return {"host": socket.gethostname(), "problems": [one.found for one in checks if one.state == "fail"]}

    return problems


def check_executors(answers: Sequence[Mapping[str, Any]]) -> Check:
    """Return what the executors' answers to that mean."""
    wrong = [one for one in answers if one["problems"]]
    if not wrong:
        return Check("stores", "ok", f"they can be read and written from every host, {len(answers)} in all")
    more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    found = f"on {wrong[0]['host']}{more}: {wrong[0]['problems'][0]}"
    return Check("stores", "fail", found, "give the executors the same credentials and the same way to the store")
