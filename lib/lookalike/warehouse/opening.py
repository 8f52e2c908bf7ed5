"""Which warehouse the settings name: a folder that all machines see, or one in an object store."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from lookalike import config
from lookalike.storage.prefix import Prefix, in_store
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.remote import RemoteWarehouse
from lookalike.warehouse.shared_files import InStore


def open_warehouse(settings: config.Settings) -> Warehouse:
    """Return the warehouse of the settings; raises WarehouseError."""
    return at(settings.warehouse, settings.stores)


def at(where: config.WarehouseSettings, stores: config.StoreSettings) -> Warehouse:
    """Return the warehouse at a path or URI; raises WarehouseError."""
    if not in_store(where.path):
        return Warehouse(where.path)
    copies = folder(where)
    return RemoteWarehouse(InStore(Prefix(where.path.rstrip("/"), stores), copies, copies, where.cache_bytes))


def folder(where: config.WarehouseSettings) -> Path:
    """Return the warehouse's folder on this machine: the warehouse itself, or the copies of what is in a store."""
    if not in_store(where.path):
        return Warehouse(where.path).path
    if where.cache:
        return Warehouse(where.cache).path
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "lookalike", hashlib.sha256(where.path.rstrip("/").encode()).hexdigest()[:16])
