"""Read the catalogue and hold it to its contract."""

from __future__ import annotations

import re
from pathlib import Path

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, BinaryType, BooleanType, IntegralType, MapType, StringType, StructType

from lookalike import config
from lookalike.errors import CatalogueError, WarehouseError
from lookalike.spark import parquet, schemas
from lookalike.spark.parquet import condition
from lookalike.storage import prefix

# Item ids travel as fixed-width bytes through the neighbour search; a longer one is a mistake in the table.
MAX_ID_BYTES = 256

# A group is a folder of the shop, not an item: more values than this is the wrong column, and would cost one file each.
# What group_fallback combines them with is counted tenfold.
MAX_GROUPS = 20_000
MAX_CELLS = 10 * MAX_GROUPS

# Names that a kept column cannot have: Spark's are case-insensitive.
_RESERVED = {*schemas.EMBEDDINGS.fieldNames(), *schemas.FAILURES.fieldNames(), *schemas.ROW_COLUMNS}

_TABLE_NAME = re.compile(r"\w+(\.\w+){0,2}")


def download_catalogue(settings: config.Settings, folder: Path, mover: prefix.TransferRunner) -> Path | None:
    """A copy, in `folder`, of a catalogue in an object store; None for any other. Raises CatalogueError."""
    path = settings.catalogue.path
    if not prefix.in_store(path):
        return None
    try:
        copy = prefix.download_all(path, settings.stores, folder / "catalogue", mover)
    except WarehouseError as error:
        raise CatalogueError(f"catalogue.path: {error}") from None
    if copy is None:
        raise CatalogueError(f"catalogue.path: there is no object '{path}', and none below it")
    return copy


def read_catalogue(spark: SparkSession, settings: config.Settings, copy: Path | None = None) -> DataFrame:
    """The items: item_id, image_path, fingerprint (strings, as named in the contract) and the kept columns.

    The fingerprint is null unless `catalogue.change_detection` is `column`. `copy` is what to read in the place of
    `catalogue.path`, if anything.
    Raises CatalogueError when the table is missing, is not Parquet, or breaks the contract.
    """
    source = settings.catalogue
    frame = _open(spark, source.path, copy)
    _check_columns(frame, settings)
    named = frame.select(
        F.col(f"`{source.item_id_column}`").cast("string").alias("item_id"),
        F.col(f"`{source.image_path_column}`").alias("image_path"),
        _fingerprint(source),
        *(F.col(f"`{name}`") for name in settings.kept_columns if not _is_made(name, settings)),
        *_eligible(frame, settings.similar.eligible),
    )
    items = schemas.select("catalogue", named, schemas.ITEMS, settings.kept_columns)
    _check_rows(items, settings)
    return items


def _fingerprint(source: config.CatalogueSettings) -> Column:
    name = source.fingerprint_column
    # With its column's name: another column's values never match.
    text = F.concat(F.lit(f"{name}="), F.col(f"`{name}`").cast("string")) if name else F.lit(None).cast("string")
    return text.alias("fingerprint")


def _eligible(frame: DataFrame, predicate: str | None) -> list[Column]:
    """The column `eligible`, when there is a predicate; where it is null, the item is not."""
    if predicate is None:
        return []
    said = " ".join(predicate.split())
    try:
        kind = frame.select(F.expr(predicate)).schema[0].dataType
        if isinstance(kind, BooleanType):
            _ = frame.where(F.expr(predicate)).schema  # refuses what speaks of more than one row
    except PySparkException as error:
        known = ", ".join(frame.columns)
        raise CatalogueError(
            f"similar.eligible: '{said}' is no SQL predicate over the catalogue ({condition(error)}); "
            f"its columns: {known}"
        ) from None
    if not isinstance(kind, BooleanType):
        raise CatalogueError(
            f"similar.eligible: '{said}' is {kind.simpleString()}, not true or false; compare it with a value"
        )
    return [F.coalesce(F.expr(predicate), F.lit(False)).alias(config.ELIGIBLE)]


def _is_made(column: str, settings: config.Settings) -> bool:
    """Whether a kept column is no column of the catalogue, but made by `similar.eligible`."""
    return settings.similar.eligible is not None and column == config.ELIGIBLE


def _open(spark: SparkSession, path: str, copy: Path | None) -> DataFrame:
    """A Parquet file or folder; else a table of the session's catalog."""
    try:
        if copy is not None:
            return parquet.read(spark, copy)
        if _TABLE_NAME.fullmatch(path) and not Path(path).exists() and spark.catalog.tableExists(path):
            return spark.table(path)
        return spark.read.parquet(path)
    except (PySparkException, Py4JJavaError) as error:
        reason = condition(error)
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
    _check_fingerprint(frame, source.fingerprint_column)
    _check_kept(frame, settings)
    if not isinstance(frame.schema[source.item_id_column].dataType, StringType | IntegralType):
        found = frame.schema[source.item_id_column].dataType.simpleString()
        raise CatalogueError(f"catalogue.item_id_column '{source.item_id_column}' is {found}; use strings or integers")
    if not isinstance(frame.schema[source.image_path_column].dataType, StringType):
        found = frame.schema[source.image_path_column].dataType.simpleString()
        raise CatalogueError(f"catalogue.image_path_column '{source.image_path_column}' is {found}; use strings")


def _check_kept(frame: DataFrame, settings: config.Settings) -> None:
    names = ", ".join(frame.columns)
    for column in settings.kept_columns:
        if _is_made(column, settings):
            continue
        key = _key(column, settings.similar)
        if column not in frame.columns:
            raise CatalogueError(f"{key} names '{column}', which the catalogue lacks; it has: {names}")
        kind = frame.schema[column].dataType
        if key.startswith("similar.") and isinstance(kind, BinaryType | ArrayType | MapType | StructType):
            raise CatalogueError(
                f"{key} names '{column}', which is {kind.simpleString()}; take a column of plain values"
            )
        if column.lower() in _RESERVED or "`" in column:
            raise CatalogueError(f"{key} names '{column}', a name that the embed step uses itself; rename it in a view")


def _key(column: str, similar: config.SimilarSettings) -> str:
    """The setting that names a kept column."""
    if column == similar.group_by:
        return "similar.group_by"
    if column in similar.group_fallback:
        return "similar.group_fallback"
    return "similar.variant_of" if column == similar.variant_of else "catalogue.keep_columns"


def _check_fingerprint(frame: DataFrame, column: str | None) -> None:
    if column is None:
        return
    key = "catalogue.fingerprint_column"
    if column not in frame.columns or "`" in column:
        raise CatalogueError(f"{key} names '{column}', which the catalogue lacks; it has: {', '.join(frame.columns)}")
    kind = frame.schema[column].dataType
    if isinstance(kind, BinaryType | ArrayType | MapType | StructType):
        raise CatalogueError(f"{key} names '{column}', which is {kind.simpleString()}; take a text, number or time")


def _check_rows(items: DataFrame, settings: config.Settings) -> None:
    source, predicate = settings.catalogue, settings.similar.eligible
    try:
        _check_values(items, source)
        if settings.similar.group_by is not None:
            _check_groups(items, settings.similar)
        if predicate is not None:
            _check_predicate(items, predicate)
    except (PySparkException, Py4JJavaError) as error:  # the footer was sound, the pages are not
        raise CatalogueError(
            f"catalogue.path: {source.path} cannot be read to its end ({condition(error)}); write it anew"
        ) from None


def _check_groups(items: DataFrame, similar: config.SimilarSettings) -> None:
    """Before hours of embedding, not after them."""
    names = [name for name in (similar.group_by, *similar.group_fallback) if name]
    cells = items.select(*(F.col(f"`{name}`") for name in names)).distinct()
    found = cells.agg(F.count("*").alias("cells"), F.count_distinct(f"`{names[0]}`").alias("groups")).first()
    assert found is not None  # an aggregate without keys has one row
    if found["groups"] > MAX_GROUPS:
        raise CatalogueError(
            f"similar.group_by: '{names[0]}' has {found['groups']:,} values, {MAX_GROUPS:,} at most are groups; choose "
            "a coarser column"
        )
    if found["cells"] > MAX_CELLS:
        raise CatalogueError(
            f"similar.group_fallback: its columns and '{names[0]}' have {found['cells']:,} combinations, {MAX_CELLS:,} "
            "at most can be searched; choose coarser columns"
        )


def _check_predicate(items: DataFrame, predicate: str) -> None:
    """Every row is judged: a division by zero would otherwise end a later step."""
    try:
        items.agg(F.count_if(F.col(config.ELIGIBLE))).first()
    except (PySparkException, Py4JJavaError) as error:
        raise CatalogueError(
            f"similar.eligible: '{' '.join(predicate.split())}' fails on a row of the catalogue ({condition(error)}); "
            "guard it, for example with try_cast or try_divide"
        ) from None


def _check_values(items: DataFrame, source: config.CatalogueSettings) -> None:
    odd = ~F.is_valid_utf8("item_id") | (F.instr("item_id", "\0") > 0) | ~F.is_valid_utf8("image_path")
    counts = {
        "items": F.count("*"),
        "null_ids": F.count_if(F.col("item_id").isNull() | (F.col("item_id") == "")),
        "null_paths": F.count_if(F.col("image_path").isNull()),
        "long_ids": F.count_if(F.octet_length("item_id") > MAX_ID_BYTES),
        "odd_texts": F.count_if(odd),
    }
    by_id = items.groupBy("item_id").agg(*(count.alias(name) for name, count in counts.items()))
    found = by_id.agg(
        *(F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in counts),
        F.count_if(F.col("items") > 1).alias("twice"),
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
    if found["twice"]:
        twice = by_id.where("items > 1").orderBy("item_id").limit(3).collect()
        raise CatalogueError(
            f"catalogue: '{source.item_id_column}' is not unique, for example "
            f"{', '.join(row['item_id'] for row in twice)}; keep one row an item"
        )
