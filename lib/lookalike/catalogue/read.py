"""Read the catalogue: open it, and select the columns of its items."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, MapType, StringType, StructField, StructType

from lookalike import config
from lookalike.catalogue import checks, eligible, rows
from lookalike.catalogue.files import local_path
from lookalike.catalogue.source import open_files
from lookalike.errors import CatalogueError, WarehouseError
from lookalike.spark import names, parquet, schemas
from lookalike.storage import prefix
from lookalike.warehouse.release import Staged
from lookalike.warehouse.shared_files import ON_DISK, InStore, SharedFiles

_TABLE_NAME = re.compile(r"\w+(\.\w+){0,2}")


@dataclass(frozen=True)
class CatalogueCopy:
    """A catalogue in an object store, of which the driver has a copy at `path`; tasks fetch what they read."""

    path: Path
    shared: InStore


def find_objects(settings: config.Settings, staged: Staged) -> CatalogueCopy | None:
    """Download a catalogue from an object store to the driver, which reads the footers; None if it is elsewhere.

    Raises CatalogueError.
    """
    uri, folder = settings.catalogue.path.rstrip("/"), staged.work / "catalogue"
    if not prefix.in_store(uri):
        return None
    try:
        copy = prefix.download_all(uri, settings.stores, folder)
    except WarehouseError as error:
        raise CatalogueError(f"catalogue.path: {error}") from None
    if copy is None:
        raise CatalogueError(f"catalogue.path: there is no object '{settings.catalogue.path}', and none below it")
    above, root = (uri, copy) if copy.is_dir() else (uri.rpartition("/")[0], folder)
    objects = prefix.Prefix(above, settings.stores)
    base = staged.warehouse if staged.shared.in_store else folder  # a warehouse on a disk is no place for copies
    return CatalogueCopy(copy, InStore(objects, root, base, settings.warehouse.cache_bytes))


def read_catalogue(spark: SparkSession, settings: config.Settings, copy: CatalogueCopy | None = None) -> DataFrame:
    """Return the items: item_id, image_path, fingerprint (strings) and the kept columns; rows.check_rows checks them.

    The fingerprint is null unless `catalogue.change_detection` is `column`. Reads `copy`, if it is given, instead of
    `catalogue.path`. Raises CatalogueError if the table is missing, is not Parquet, or breaks the contract.
    """
    source = settings.catalogue
    frame, columns = _open(spark, settings, copy)
    selected = frame.select(
        columns[source.item_id_column].cast("string").alias("item_id"),
        rows.readable(frame, columns[source.image_path_column]).alias("image_path"),
        _fingerprint(source, columns),
        *(rows.kept(frame, columns[name], name, settings) for name in settings.kept_columns),
    )
    return schemas.select("catalogue", selected, schemas.ITEMS, settings.kept_columns)


Opened = tuple[DataFrame, Mapping[str, Column]]  # with the columns that the settings name, and `eligible`


def _open(spark: SparkSession, settings: config.Settings, copy: CatalogueCopy | None) -> Opened:
    """Open files, or a table: a name that is no path is a table of the session's catalog."""
    path = settings.catalogue.path
    if copy is not None:
        try:
            return _open_files(spark, str(copy.path), settings, copy.shared)
        except CatalogueError as error:  # its user knows the object, and not the copy
            raise CatalogueError(str(error).replace(str(copy.path), path.rstrip("/"))) from None
    if _TABLE_NAME.fullmatch(path) and not os.path.lexists(path) and spark.catalog.tableExists(path):
        return _open_table(lambda: spark.table(path), settings)
    local = _local_path(spark, path)
    return _open_files(spark, local, settings) if local else _open_table(lambda: spark.read.parquet(path), settings)


def _local_path(spark: SparkSession, path: str) -> str | None:
    """Return the path on this machine that `catalogue.path` names, or None if it names one of another file system."""
    local = local_path(path)
    default = spark._jsc.hadoopConfiguration().get("fs.defaultFS")
    return local if path[:5].lower() == "file:" or str(default).startswith("file:") else None


def _open_files(spark: SparkSession, path: str, settings: config.Settings, shared: SharedFiles = ON_DISK) -> Opened:
    files = open_files(path, shared)
    if files is None:
        raise _missing(settings.catalogue.path)
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
