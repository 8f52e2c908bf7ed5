"""The catalog of Iceberg tables that the settings name: a SQLite file in the warehouse, or any that PyIceberg knows."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import quote

from pyiceberg.catalog import Catalog, CatalogType, load_catalog

from lookalike import config
from lookalike.errors import ConfigError
from lookalike.warehouse.local import Warehouse

# Of its variables in the environment: PYICEBERG_CATALOG__LOOKALIKE__TOKEN.
NAME = "lookalike"
NAMESPACE = "namespace"

FOLDER, FILE = "iceberg", "catalog.db"


def namespace(given: Mapping[str, str]) -> str:
    """Return the namespace of the tables."""
    return given.get(NAMESPACE) or NAME


def properties(settings: config.Settings, warehouse: Warehouse) -> dict[str, str]:
    """Return what PyIceberg opens the catalog with; raises ConfigError for a store without a catalog of its own."""
    given = {key: value for key, value in (settings.publish.iceberg or {}).items() if key != NAMESPACE}
    if given.get("type", "rest") not in {kind.value for kind in CatalogType}:
        known = ", ".join(kind.value for kind in CatalogType)
        raise ConfigError(f"publish.iceberg: there is no catalog of the type '{given['type']}'; PyIceberg has {known}")
    own = {"warehouse": f"{warehouse.name}/{FOLDER}"}
    if is_own(settings):
        if warehouse.shared.in_store:
            raise ConfigError(
                f"publish.iceberg: the warehouse {warehouse.name} is in a store, which can hold no SQLite file; name a "
                "catalog, such as {type: rest, uri: https://host}"
            )
        database = warehouse.path / FOLDER / FILE
        own |= {"type": "sql", "uri": f"sqlite:///{quote(str(database))}"}
    return {**own, **_of_store(settings.stores), **given}


def is_own(settings: config.Settings) -> bool:
    """Return whether the catalog is the file in the warehouse, since the settings name no other."""
    return not {"type", "uri", "py-catalog-impl"} & (settings.publish.iceberg or {}).keys()


def _of_store(stores: config.StoreSettings) -> dict[str, str]:
    """Return PyIceberg's names of the settings of stores; credentials are found in the environment."""
    known = {"s3.endpoint": stores.s3_endpoint, "s3.region": stores.s3_region, "gcs.service.host": stores.gs_endpoint}
    return {key: value for key, value in known.items() if value is not None}


def open_catalog(found: Mapping[str, str], warehouse: Warehouse) -> Catalog:
    """Open the catalog, and make the folder of the warehouse's own."""
    if found.get("uri", "").startswith("sqlite:") and not warehouse.shared.in_store:
        (warehouse.path / FOLDER).mkdir(exist_ok=True)
    return load_catalog(NAME, **found)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep PyIceberg from printing while it works: what went wrong is told in one line."""
    log = logging.getLogger("pyiceberg")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
