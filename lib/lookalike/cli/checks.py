"""Find what is missing or cannot be written before Spark starts, which takes seconds.

This looks at this machine only. The run itself checks tables of the session's catalog, and places in object stores.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from lookalike import config
from lookalike.catalogue import files
from lookalike.catalogue import opening as catalogue_opening
from lookalike.doctor.check import Check
from lookalike.errors import CatalogueError, ModelError
from lookalike.sinks import opening as opening_of_sinks
from lookalike.storage import object_store
from lookalike.storage.uri import is_uri
from lookalike.warehouse import opening

# Where one of these is set, the user has set up Spark, and a path without a scheme may be in HDFS.
OWN_SPARK = ("HADOOP_CONF_DIR", "YARN_CONF_DIR", "PYSPARK_SUBMIT_ARGS", "SPARK_HOME", "SPARK_CONF_DIR", "MASTER")

# `shop.products` may be a table; `products.parquet` is a file, since nobody calls a table `parquet`.
_TABLE = re.compile(r"\w+(\.\w+){0,2}(?<!\.parquet)")


def before_run(settings: config.Settings) -> None:
    """Raise the error that the run would end with later; make the folder of the warehouse."""
    weights = settings.model.weights
    _check_catalogue(settings)
    if weights not in ("imagenet", "bundled") and not is_uri(weights) and not Path(weights).is_file():
        raise ModelError(f"model.weights: no file {weights}; give 'imagenet', 'bundled' or a Keras .h5 file")
    if settings.catalogue.image_root:
        object_store.check_set_up(settings.catalogue.image_root, settings.stores)
    warehouse = opening.open_warehouse(settings)
    opening_of_sinks.check(settings, warehouse)
    warehouse.check_writable()


def check_paths(settings: config.Settings) -> Check:
    """Return what `before_run` finds as a check; raises what it raises.

    Pictures may be where only the executors see them: a folder that is not here is a warning.
    """
    before_run(settings)
    root = settings.catalogue.image_root
    if root is not None and (folder := files.local_path(root)) is not None and not Path(folder).is_dir():
        found = f"catalogue.image_root: there is no folder '{root}' on this machine"
        return Check("paths", "warn", found, "give that of the pictures, unless the executors alone have it")
    return Check("paths", "ok", "catalogue, weights and warehouse, as far as this machine sees them")


def _check_catalogue(settings: config.Settings) -> None:
    """Check the files of the catalogue and their columns, if they are on this machine."""
    path = settings.catalogue.path
    local = files.local_path(path)
    if local is None or not (local != path or _reads_local_files()):
        return
    found = catalogue_opening.open_files(local, settings.catalogue.encoding)
    if found is not None:
        found.check(settings)
    elif not _TABLE.fullmatch(path) and not catalogue_opening.is_named_table(path):
        raise CatalogueError(f"catalogue.path: there is no file, folder or table '{path}'")


def _reads_local_files() -> bool:
    """Return whether Spark looks on this machine for a path without a scheme."""
    if "PYSPARK_GATEWAY_PORT" not in os.environ:
        return not any(name in os.environ for name in OWN_SPARK)
    if any(name in os.environ for name in ("HADOOP_CONF_DIR", "YARN_CONF_DIR")):
        return False
    from pyspark import SparkConf, SparkContext

    SparkContext._ensure_initialized()  # else SparkConf knows nothing of what spark-submit was given
    given = SparkConf()
    return str(given.get("spark.master", "local")).startswith("local") and not given.contains(
        "spark.hadoop.fs.defaultFS"
    )
