"""The section about where else a release is published: SQL views, tables of other kinds, figures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from lookalike.config.values import PathOrUri, SettingsSection, sound_text

_SECRETS = re.compile(
    r"token|secret|passw|credential|access-?key|account-?key|key-id|sas\b|private|\bauth\.|header\.authorization",
    re.IGNORECASE,
)


def _as_texts(value: object) -> object:
    """Read the plain values of a mapping as texts, which PyIceberg's properties are: `rest.sigv4-enabled: true`."""
    if not isinstance(value, Mapping):
        return value
    return {str(key): _as_text(one) for key, one in value.items()}


def _as_text(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _sound(properties: dict[str, str]) -> dict[str, str]:
    """Refuse credentials, since the settings are kept in every release.json, and a namespace that is no one name."""
    if not re.fullmatch(r"\w{1,128}", properties.get("namespace", "lookalike"), re.ASCII):
        raise ValueError(f"namespace {properties['namespace']!r} is more than letters, digits and _")
    for key, value in properties.items():
        if _SECRETS.search(key):
            name = re.sub(r"[.]", "__", key.upper().replace("-", "_"))
            raise ValueError(f"'{key}' belongs in the environment: PYICEBERG_CATALOG__LOOKALIKE__{name}")
        sound_text(value)
    return properties


def _collected(path: str) -> str:
    if not path.endswith(".prom") or "://" in path:
        raise ValueError(f"the node exporter reads local files that end in .prom alone; {path!r} is none")
    return path


def _told(place: str) -> str:
    if "://" in place and not place.startswith(("http://", "https://")):
        raise ValueError(f"{place!r} is neither an http(s) URL nor a file of this machine")
    return place


Properties = Annotated[dict[str, str], BeforeValidator(_as_texts), AfterValidator(_sound)]


class PublishSettings(SettingsSection):
    """Where else the current release is published: SQL views, Delta, Iceberg and DuckDB tables, figures, events."""

    # A database of the session's catalog; Hive's metastore keeps no capitals.
    catalog: str | None = Field(
        None,
        pattern=r"^[a-z][a-z0-9_]{0,127}$",
        description="Database for the SQL views, such as lookalike; null: no views, no metastore.",
    )
    delta: bool = Field(False, description="Make each table of a release a Delta table, where it lies.")
    iceberg: Properties | None = Field(
        None,
        description="Catalog of Iceberg tables, as PyIceberg's properties; {}: a SQLite file in the warehouse.",
    )
    duckdb: bool = Field(
        False, description="Keep lookalike.duckdb in the warehouse, with views of the current release."
    )
    metrics: Annotated[PathOrUri, AfterValidator(_collected)] | None = Field(
        None, description="File of figures for Prometheus's node exporter, such as /var/lib/node_exporter/shop.prom."
    )
    openlineage: Annotated[PathOrUri, AfterValidator(_told)] | None = Field(
        None, min_length=1, description="OpenLineage server, http(s)://host:port, or file, for events of each run."
    )
