"""Check that the catalogue has the columns that the settings name, before a row is read."""

from __future__ import annotations

import difflib

from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    DataType,
    DecimalType,
    IntegralType,
    MapType,
    StringType,
    StructType,
)

from lookalike import config
from lookalike.errors import CatalogueError
from lookalike.spark import schemas

# Names that a kept column cannot have, in lower case: Spark's names are case-insensitive.
_RESERVED = {*schemas.EMBEDDINGS.fieldNames(), *schemas.FAILURES.fieldNames(), *schemas.CONSTRAINTS}


def is_derived(column: str, settings: config.Settings) -> bool:
    """Return whether `similar.eligible` makes a kept column, which the catalogue then does not have."""
    return settings.similar.eligible is not None and column == config.ELIGIBLE


def columns_in_use(settings: config.Settings) -> list[str]:
    """Return the columns that the settings name, each once; not those in the text of `similar.eligible`."""
    source = settings.catalogue
    kept = [name for name in settings.kept_columns if not is_derived(name, settings)]
    named = (source.item_id_column, source.image_path_column, source.fingerprint_column, *kept)
    return list(dict.fromkeys(name for name in named if name is not None))


def check_columns(schema: StructType, settings: config.Settings) -> None:
    """Check that the catalogue has every column that the settings name, in a usable type; raises CatalogueError."""
    source = settings.catalogue
    for key, column in (
        ("catalogue.item_id_column", source.item_id_column),
        ("catalogue.image_path_column", source.image_path_column),
    ):
        if column not in schema.names:
            raise CatalogueError(f"catalogue.path has no column '{column}'; {_hint(column, schema)}. Set {key}.")
        if "`" in column:
            raise CatalogueError(f"{key}: '{column}' has a backtick in its name; rename it in a view")
    _check_fingerprint(schema, source.fingerprint_column)
    for column in settings.kept_columns:
        if not is_derived(column, settings):
            _check_kept(schema, column, _key(column, settings.similar))
    _check_capitals(settings.kept_columns)
    _check_type(schema, "catalogue.item_id_column", source.item_id_column, "use strings or integers")
    _check_type(schema, "catalogue.image_path_column", source.image_path_column, "use strings")


def _hint(column: str, schema: StructType) -> str:
    """Return which columns there are, and first the one that may be meant."""
    by_name = {name.lower(): name for name in schema.names}
    near = difflib.get_close_matches(column.strip().lower(), by_name, n=1)
    return "".join(f"did you mean '{by_name[name]}'? " for name in near) + f"it has: {_names(schema)}"


def _names(schema: StructType) -> str:
    return ", ".join(schema.names) or "no columns"


def _check_type(schema: StructType, key: str, column: str, advice: str) -> None:
    found = schema[column].dataType
    is_whole = isinstance(found, IntegralType) or (isinstance(found, DecimalType) and found.scale == 0)
    if not isinstance(found, StringType) and not (is_whole and "integers" in advice):
        raise CatalogueError(f"{key} '{column}' is {found.simpleString()}; {advice}")


def _check_capitals(kept: tuple[str, ...]) -> None:
    """Refuse kept columns that SQL cannot tell apart: they become columns of one table."""
    seen: dict[str, str] = {}
    for name in kept:
        if seen.setdefault(name.lower(), name) != name:
            raise CatalogueError(
                f"catalogue: columns '{seen[name.lower()]}' and '{name}' differ in capitals only; keep one of them"
            )


def _is_nested(kind: DataType) -> bool:
    return isinstance(kind, BinaryType | ArrayType | MapType | StructType)


def _check_fingerprint(schema: StructType, column: str | None) -> None:
    if column is None:
        return
    key = "catalogue.fingerprint_column"
    if column not in schema.names or "`" in column:
        raise CatalogueError(f"{key} names '{column}', which the catalogue lacks; {_hint(column, schema)}")
    kind = schema[column].dataType
    if _is_nested(kind):
        raise CatalogueError(f"{key} names '{column}', which is {kind.simpleString()}; take a text, number or time")


def _check_kept(schema: StructType, column: str, key: str) -> None:
    if column not in schema.names:
        raise CatalogueError(f"{key} names '{column}', which the catalogue lacks; {_hint(column, schema)}")
    kind = schema[column].dataType
    if key.startswith("similar.") and _is_nested(kind):
        raise CatalogueError(f"{key} names '{column}', which is {kind.simpleString()}; take a column of plain values")
    if column.lower() in _RESERVED or "`" in column:
        raise CatalogueError(f"{key} names '{column}', a name that the embed step uses itself; rename it in a view")


def _key(column: str, similar: config.SimilarSettings) -> str:
    """Return the setting that names a kept column."""
    if column == similar.group_by:
        return "similar.group_by"
    if column in similar.group_fallback:
        return "similar.group_fallback"
    return "similar.variant_of" if column == similar.variant_of else "catalogue.keep_columns"
