"""Fingerprint pictures on Spark without decoding them: by version in the store, or by hash of the bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import arrow_udf
from pyspark.sql.types import StringType, StructType

from lookalike import config
from lookalike.failures import ImageError
from lookalike.spark import schemas, worker
from lookalike.spark.tasks import count_tasks
from lookalike.storage import prefetch
from lookalike.storage.image_reader import ImageReader

# Pictures of a task: a second or two to read and hash pictures of a few hundred kB.
READS_PER_TASK = 4096

# The hash of a picture's bytes, or why they cannot be read.
HASH_COLUMNS = StructType(
    [schemas.EMBEDDINGS["image_hash"], *(schemas.FAILURES[name] for name in ("reason", "detail", "permanent"))]
)


def with_fingerprint(items: DataFrame, total: int, settings: config.Settings) -> DataFrame:
    """Add the column `fingerprint`, which changes with the picture, and HASH_COLUMNS, set if the bytes were read.

    A fingerprint begins with how it was made, so that two kinds of `catalogue.change_detection` never match. It is
    null if nothing is known, and such a picture counts as changed. `total` is the number of items.
    """
    if settings.catalogue.change_detection == "column":  # read_catalogue has read it
        return items.select("*", *_unread())
    spread = _spread(items.drop("fingerprint"), total)
    return spread.select("*", version_of_picture(settings).alias("fingerprint"), *_unread())


def without_fingerprint(items: DataFrame) -> DataFrame:
    """Return the items for delta.compare_to_release, which asks for the versions where it has the rows together."""
    return items.drop("fingerprint").select("*", *_unread())


def version_of_picture(settings: config.Settings) -> Column:
    """Return the fingerprint by the version of the picture `image_path`, which the executors ask for."""
    return _version_udf(settings)("image_path")


def _unread() -> list[Column]:
    return [F.lit(None).cast(field.dataType).alias(field.name) for field in HASH_COLUMNS]


def _spread(items: DataFrame, total: int) -> DataFrame:
    """Spread the items over tasks; by a column, since without one Spark sorts all rows first."""
    tasks = count_tasks(total, READS_PER_TASK, items.sparkSession.sparkContext.defaultParallelism)
    return items.repartition(tasks, "item_id")


def _version_udf(settings: config.Settings) -> Callable[..., Column]:
    reader = ImageReader.of(settings)

    @arrow_udf(StringType())  # type: ignore[call-overload,untyped-decorator]
    def versions(batches: Iterator[pa.Array]) -> Iterator[pa.Array]:
        worker.start_task()
        for batch in batches:
            found = prefetch.read_versions(batch.to_pylist(), reader)
            yield pa.array([_version(one) for one in found], pa.string())

    return versions  # type: ignore[no-any-return]


def _version(found: str | ImageError | None) -> str | None:
    """Return the fingerprint of a version; a path that can never be read has one too, so that it is not retried."""
    if isinstance(found, ImageError):
        return f"stat:{found.reason}" if found.permanent else None
    return found and f"stat:{found}"
