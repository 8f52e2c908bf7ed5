"""Read the catalogue: open it, and select the columns of its items."""

from __future__ import annotations

import re
from pathlib import Path

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType

from lookalike import config
from lookalike.catalogue import checks, eligible
from lookalike.errors import CatalogueError, WarehouseError
from lookalike.spark import parquet, schemas
from lookalike.storage import prefix

_TABLE_NAME = re.compile(r"\w+(\.\w+){0,2}")


def download_catalogue(settings: config.Settings, folder: Path, run: prefix.TransferRunner) -> Path | None:
    """Download a catalogue from an object store into `folder`; return None if it is elsewhere.

    Raises CatalogueError.
    """
    path = settings.catalogue.path
    if not prefix.in_store(path):
        return None
    try:
        copy = prefix.download_all(path, settings.stores, folder / "catalogue", run)
    except WarehouseError as error:
        raise CatalogueError(f"catalogue.path: {error}") from None
    if copy is None:
        raise CatalogueError(f"catalogue.path: there is no object '{path}', and none below it")
    return copy


def read_catalogue(spark: SparkSession, settings: config.Settings, copy: Path | None = None) -> DataFrame:
    """Return the items: item_id, image_path, fingerprint (strings) and the kept columns; rows.check_rows checks them.

    The fingerprint is null unless `catalogue.change_detection` is `column`. Reads `copy`, if it is given, instead of
    `catalogue.path`. Raises CatalogueError if the table is missing, is not Parquet, or breaks the contract.
    """
    source, predicate = settings.catalogue, settings.similar.eligible
    frame = _open(spark, source.path, copy)
    checks.check_columns(frame, settings)
    selected = frame.select(
        F.col(f"`{source.item_id_column}`").cast("string").alias("item_id"),
        _readable(frame, source.image_path_column).alias("image_path"),
        _fingerprint(source),
        *(
            _readable(frame, name).alias(name)
            for name in settings.kept_columns
            if not checks.is_derived(name, settings)
        ),
        *([eligible.eligible_column(frame, predicate)] if predicate else []),
    )
    return schemas.select("catalogue", selected, schemas.ITEMS, settings.kept_columns)


def _open(spark: SparkSession, path: str, copy: Path | None) -> DataFrame:
    """Open a Parquet file or folder; a name that is no path is a table of the session's catalog."""
    try:
        if copy is not None:
            return parquet.read(spark, copy)
        if _TABLE_NAME.fullmatch(path) and not Path(path).exists() and spark.catalog.tableExists(path):
            return spark.table(path)
        return spark.read.parquet(path)
    except (PySparkException, Py4JJavaError) as error:
        reason = parquet.condition(error)
        if reason == "path not found":
            raise CatalogueError(f"catalogue.path: there is no file, folder or table '{path}'") from None
        raise CatalogueError(
            f"catalogue.path: {path} cannot be read as Parquet ({reason}); give a Parquet file, a folder of them, "
            "or a table name"
        ) from None


def _readable(frame: DataFrame, name: str) -> Column:
    """Return a column as it is, a text with U+FFFD in place of what is not UTF-8: only Spark could read that."""
    column = F.col(f"`{name}`")
    return F.make_valid_utf8(column) if isinstance(frame.schema[name].dataType, StringType) else column


def _fingerprint(source: config.CatalogueSettings) -> Column:
    name = source.fingerprint_column
    # With the column's name, so that the values of two columns never match.
    text = F.concat(F.lit(f"{name}="), F.col(f"`{name}`").cast("string")) if name else F.lit(None).cast("string")
    return text.alias("fingerprint")
