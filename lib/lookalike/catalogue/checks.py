"""Check that the catalogue has the columns that the settings name, before a row is read."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    DataType,
    IntegralType,
    MapType,
    StringType,
    StructType,
)

from lookalike import config
from lookalike.errors import CatalogueError
from lookalike.spark import schemas

# Names that a kept column cannot have, in lower case: Spark's names are case-insensitive.
_RESERVED = {*schemas.EMBEDDINGS.fieldNames(), *schemas.FAILURES.fieldNames(), *schemas.SEARCH_COLUMNS}


def is_derived(column: str, settings: config.Settings) -> bool:
    """Return whether `similar.eligible` makes a kept column, which the catalogue then does not have."""
    return settings.similar.eligible is not None and column == config.ELIGIBLE


def check_columns(frame: DataFrame, settings: config.Settings) -> None:
    """Check that the catalogue has every column that the settings name, in a usable type; raises CatalogueError."""
    source = settings.catalogue
    for key, column in (
        ("catalogue.item_id_column", source.item_id_column),
        ("catalogue.image_path_column", source.image_path_column),
    ):
        if column not in frame.columns:
            raise CatalogueError(f"catalogue.path has no column '{column}'; it has: {_names(frame)}. Set {key}.")
        if "`" in column:
            raise CatalogueError(f"{key}: '{column}' has a backtick in its name; rename it in a view")
    _check_fingerprint(frame, source.fingerprint_column)
    for column in settings.kept_columns:
        if not is_derived(column, settings):
            _check_kept(frame, column, _key(column, settings.similar))
    _check_type(frame, "catalogue.item_id_column", source.item_id_column, (StringType, IntegralType))
    _check_type(frame, "catalogue.image_path_column", source.image_path_column, (StringType,))


def _names(frame: DataFrame) -> str:
    return ", ".join(frame.columns) or "no columns"


def _check_type(frame: DataFrame, key: str, column: str, types: tuple[type[DataType], ...]) -> None:
    found = frame.schema[column].dataType
    if not isinstance(found, types):
        advice = "use strings or integers" if IntegralType in types else "use strings"
        raise CatalogueError(f"{key} '{column}' is {found.simpleString()}; {advice}")


def _is_nested(kind: DataType) -> bool:
    return isinstance(kind, BinaryType | ArrayType | MapType | StructType)


def _check_fingerprint(frame: DataFrame, column: str | None) -> None:
    if column is None:
        return
    key = "catalogue.fingerprint_column"
    if column not in frame.columns or "`" in column:
        raise CatalogueError(f"{key} names '{column}', which the catalogue lacks; it has: {_names(frame)}")
    kind = frame.schema[column].dataType
    if _is_nested(kind):
        raise CatalogueError(f"{key} names '{column}', which is {kind.simpleString()}; take a text, number or time")


def _check_kept(frame: DataFrame, column: str, key: str) -> None:
    if column not in frame.columns:
        raise CatalogueError(f"{key} names '{column}', which the catalogue lacks; it has: {_names(frame)}")
    kind = frame.schema[column].dataType
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
