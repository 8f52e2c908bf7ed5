"""Read the catalogue: open it, and select the columns of its items."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import partial

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, MapType, StringType, StructField, StructType

from lookalike import config
from lookalike.catalogue import checks, eligible, opening, rows
from lookalike.catalogue.convert import Place, RowFiles
from lookalike.catalogue.files import local_path
from lookalike.catalogue.objects import StoredCatalogue
from lookalike.errors import CatalogueError
from lookalike.spark import names, parquet, schemas
from lookalike.spark.tasks import map_tasks

_TABLE_NAME = re.compile(r"\w+(\.\w+){0,2}")


def read_catalogue(
    spark: SparkSession, settings: config.Settings, objects: StoredCatalogue | None = None, place: Place | None = None
) -> DataFrame:
    """Return the items: item_id, image_path, fingerprint (strings) and the kept columns; rows.check_rows checks them.

    The fingerprint is null unless `catalogue.change_detection` is `column`. Reads `objects`, if they are given, instead
    of `catalogue.path`. What is not Parquet is turned into it at the `place`. Raises CatalogueError if the table is
    missing, of no format that is read, or breaks the contract.
    """
    source = settings.catalogue
    frame, columns = _open(spark, settings, objects, place)
    selected = frame.select(
        columns[source.item_id_column].cast("string").alias("item_id"),
        rows.readable(frame, columns[source.image_path_column]).alias("image_path"),
        _fingerprint(source, columns),
        *(rows.kept(frame, columns[name], name, settings) for name in settings.kept_columns),
    )
    return schemas.select("catalogue", selected, schemas.ITEMS, settings.kept_columns)


Opened = tuple[DataFrame, Mapping[str, Column]]  # with the columns that the settings name, and `eligible`


def _open(
    spark: SparkSession, settings: config.Settings, objects: StoredCatalogue | None, place: Place | None
) -> Opened:
    """Open files, or a table: a name that is no path is a table of the session's catalog."""
    path = settings.catalogue.path
    if objects is not None:
        with objects.named():
            return _open_files(spark, objects.opened, settings, place)
    if _TABLE_NAME.fullmatch(path) and not os.path.lexists(path) and spark.catalog.tableExists(path):
        return _open_table(lambda: spark.table(path), settings)
    if (local := _local_path(spark, path)) is None:
        return _open_table(lambda: spark.read.parquet(path), settings)
    return _open_files(spark, opening.open_files(local, settings.catalogue.encoding), settings, place)


def _local_path(spark: SparkSession, path: str) -> str | None:
    """Return the path on this machine that `catalogue.path` names, or None if it names one of another file system."""
    local = local_path(path)
    default = spark._jsc.hadoopConfiguration().get("fs.defaultFS")
    return local if path[:5].lower() == "file:" or str(default).startswith("file:") else None


def _open_files(
    spark: SparkSession, files: opening.Opened | None, settings: config.Settings, place: Place | None
) -> Opened:
    if files is None:
        raise _missing(settings.catalogue.path)
    files.check(settings)
    if isinstance(files, RowFiles):
        assert place is not None
        files = files.convert(settings, place, partial(map_tasks, spark))
        files.check(settings)
    named = {name: f"catalogue column {number}" for number, name in enumerate(checks.columns_in_use(settings))}
    columns = {name: F.col(f"`{alias}`") for name, alias in named.items()}
    own = [(alias, name) for name, alias in named.items()]
    predicate = settings.similar.eligible
    if predicate is None:
        return files.frame(spark, own), columns
    frame = files.frame(spark, [*own, *((name, name) for name in files.predicate_columns(spark, predicate))])
    with files.names_as_written(spark):
        made = eligible.eligible_column(frame, predicate).alias("catalogue eligible")
        return frame.select(*columns.values(), made), {**columns, config.ELIGIBLE: F.col("`catalogue eligible`")}


def _missing(path: str) -> CatalogueError:
    return CatalogueError(f"catalogue.path: there is no file, folder or table '{path}'")


def _open_table(read: Callable[[], DataFrame], settings: config.Settings) -> Opened:
    """Open what Spark reads: a table, or files of a file system that is not of this machine."""
    path = settings.catalogue.path
    try:
        frame = read()
    except (PySparkException, Py4JJavaError) as error:
        reason = parquet.condition(error)
        if reason == "path not found":
            raise _missing(path) from None
        raise CatalogueError(
            f"catalogue.path: {path} cannot be read as Parquet or as a table ({reason}); give a Parquet file, a folder "
            "of them, or a table name"
        ) from None
    _check_names(frame, path)
    checks.check_columns(frame.schema, settings)
    columns = {name: _plain(frame, name) for name in checks.columns_in_use(settings)}
    if settings.similar.eligible is not None:
        columns[config.ELIGIBLE] = eligible.eligible_column(frame, settings.similar.eligible)
    return frame, columns


def _check_names(frame: DataFrame, path: str) -> None:
    """Refuse a table of local files where Java would pass over those with a name that is not ASCII."""
    encoding = names.java_encoding(frame.sparkSession)
    if not names.is_utf8(encoding) and any(file.startswith("file:") for file in frame.inputFiles()):
        raise CatalogueError(
            f"catalogue.path: {path} has local files, of which Java reads the names as {encoding} and would pass over "
            "some; start the job with LC_ALL=C.UTF-8"
        )


def _fingerprint(source: config.CatalogueSettings, columns: Mapping[str, Column]) -> Column:
    name = source.fingerprint_column
    # With the column's name, so that the values of two columns never match.
    text = F.concat(F.lit(f"{name}="), columns[name].cast("string")) if name else F.lit(None).cast("string")
    return text.alias("fingerprint")


def _plain(frame: DataFrame, name: str) -> Column:
    """Return a column with plain strings: a collation is of the table that it comes from."""
    column, kind = F.col(f"`{name}`"), frame.schema[name].dataType
    plain = _without_collation(kind)
    return column if plain == kind else column.cast(plain)


def _without_collation(kind: DataType) -> DataType:
    if isinstance(kind, StringType):
        return StringType()
    if isinstance(kind, ArrayType):
        return ArrayType(_without_collation(kind.elementType), kind.containsNull)
    if isinstance(kind, MapType):
        key, value = _without_collation(kind.keyType), _without_collation(kind.valueType)
        return MapType(key, value, kind.valueContainsNull)
    if isinstance(kind, StructType):
        fields = [StructField(one.name, _without_collation(one.dataType), one.nullable) for one in kind]
        return StructType(fields)
    return kind
