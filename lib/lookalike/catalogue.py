"""Read the catalogue and hold it to its contract."""

from __future__ import annotations

import re
from pathlib import Path

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, BinaryType, IntegralType, MapType, StringType, StructType

from lookalike import config, schemas
from lookalike.errors import CatalogueError

# Item ids travel as fixed-width bytes through the neighbour search; a longer one is a mistake in the table.
MAX_ID_BYTES = 256

# Names that a kept column cannot have: Spark's are case-insensitive.
_RESERVED = {*schemas.EMBEDDINGS.fieldNames(), *schemas.FAILURES.fieldNames(), "picture"}

_TABLE_NAME = re.compile(r"\w+(\.\w+){0,2}")


def read(spark: SparkSession, settings: config.Settings) -> DataFrame:
    """The items: item_id, image_path (strings, as named in the contract) and the kept columns.

    Raises CatalogueError when the table is missing, is not Parquet, or breaks the contract.
    """
    source = settings.catalogue
    frame = _open(spark, source.path)
    _check_columns(frame, settings)
    named = frame.select(
        F.col(f"`{source.item_id_column}`").cast("string").alias("item_id"),
        F.col(f"`{source.image_path_column}`").alias("image_path"),
        *(F.col(f"`{name}`") for name in settings.kept_columns),
    )
    items = schemas.select("catalogue", named, schemas.ITEMS, settings.kept_columns)
    _check_rows(items, source)
    return items


def _open(spark: SparkSession, path: str) -> DataFrame:
    """A Parquet file or folder; else a table of the session's catalog."""
    try:
        if _TABLE_NAME.fullmatch(path) and not Path(path).exists() and spark.catalog.tableExists(path):
            return spark.table(path)
        return spark.read.parquet(path)
    except (PySparkException, Py4JJavaError) as error:
        reason = _condition(error)
        if reason == "path not found":
            raise CatalogueError(f"catalogue.path: there is no file, folder or table '{path}'") from None
        raise CatalogueError(
            f"catalogue.path: {path} cannot be read as Parquet ({reason}); give a Parquet file, a folder of them, "
            "or a table name"
        ) from None


def _check_columns(frame: DataFrame, settings: config.Settings) -> None:
    source = settings.catalogue
    names = ", ".join(frame.columns) or "no columns"
    for key, column in (
        ("catalogue.item_id_column", source.item_id_column),
        ("catalogue.image_path_column", source.image_path_column),
    ):
        if column not in frame.columns:
            raise CatalogueError(f"catalogue.path has no column '{column}'; it has: {names}. Set {key}.")
        if "`" in column:
            raise CatalogueError(f"{key}: '{column}' has a backtick in its name; rename it in a view")
    for column in settings.kept_columns:
        key = "similar.group_by" if column == settings.similar.group_by else "catalogue.keep_columns"
        if column not in frame.columns:
            raise CatalogueError(f"{key} names '{column}', which the catalogue lacks; it has: {names}")
        kind = frame.schema[column].dataType
        if key == "similar.group_by" and isinstance(kind, BinaryType | ArrayType | MapType | StructType):
            raise CatalogueError(f"{key} names '{column}', which is {kind.simpleString()}; group by a plain value")
        if column.lower() in _RESERVED or "`" in column:
            raise CatalogueError(f"{key} names '{column}', a name that the embed step uses itself; rename it in a view")
    if not isinstance(frame.schema[source.item_id_column].dataType, StringType | IntegralType):
        found = frame.schema[source.item_id_column].dataType.simpleString()
        raise CatalogueError(f"catalogue.item_id_column '{source.item_id_column}' is {found}; use strings or integers")
    if not isinstance(frame.schema[source.image_path_column].dataType, StringType):
        found = frame.schema[source.image_path_column].dataType.simpleString()
        raise CatalogueError(f"catalogue.image_path_column '{source.image_path_column}' is {found}; use strings")


def _check_rows(items: DataFrame, source: config.Catalogue) -> None:
    try:
        _check_values(items, source)
    except (PySparkException, Py4JJavaError) as error:  # the footer was sound, the pages are not
        raise CatalogueError(
            f"catalogue.path: {source.path} cannot be read to its end ({_condition(error)}); write it anew"
        ) from None


def _condition(error: Exception) -> str:
    """Spark's name of an error condition, readable: `[PATH_NOT_FOUND] …` -> `path not found`."""
    named = re.search(r"\[([A-Z_.]+)\]", str(error))
    return (named[1] if named else type(error).__name__).lower().replace("_", " ")


def _check_values(items: DataFrame, source: config.Catalogue) -> None:
    found = items.agg(
        F.count("*").alias("items"),
        F.count_if(F.col("item_id").isNull() | (F.col("item_id") == "")).alias("null_ids"),
        F.count_if(F.col("image_path").isNull()).alias("null_paths"),
        F.count_if(F.octet_length("item_id") > MAX_ID_BYTES).alias("long_ids"),
        F.count_if(~F.is_valid_utf8("item_id") | (F.instr("item_id", "\0") > 0) | ~F.is_valid_utf8("image_path")).alias(
            "odd_texts"
        ),
    ).first()
    assert found is not None  # an aggregate without keys has one row
    if found["items"] == 0:
        raise CatalogueError(f"catalogue.path: {source.path} has no rows; nothing to do")
    if found["null_ids"]:
        raise CatalogueError(
            f"catalogue: {found['null_ids']:,} of {found['items']:,} rows have a null or empty "
            f"'{source.item_id_column}'; drop them or give them ids"
        )
    if found["long_ids"]:
        raise CatalogueError(
            f"catalogue: {found['long_ids']:,} values of '{source.item_id_column}' are longer than "
            f"{MAX_ID_BYTES} bytes; is it the right column?"
        )
    if found["odd_texts"]:
        raise CatalogueError(
            f"catalogue: {found['odd_texts']:,} rows have a '{source.item_id_column}' or "
            f"'{source.image_path_column}' that is not UTF-8 text, or holds a NUL; mend them"
        )
    if found["null_paths"]:
        raise CatalogueError(
            f"catalogue: {found['null_paths']:,} of {found['items']:,} rows have a null "
            f"'{source.image_path_column}'; drop them from the catalogue"
        )
    twice = items.groupBy("item_id").count().where("count > 1").orderBy("item_id").limit(3).collect()
    if twice:
        raise CatalogueError(
            f"catalogue: '{source.item_id_column}' is not unique, for example "
            f"{', '.join(row['item_id'] for row in twice)}; keep one row an item"
        )
