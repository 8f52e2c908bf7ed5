"""Look at pictures on Spark without decoding them: their version in the store, or the hash of their bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
from pyspark.accumulators import Accumulator
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import arrow_udf
from pyspark.sql.types import StringType, StructType

from lookalike import config
from lookalike.failures import ImageError
from lookalike.images.picture import content_hash
from lookalike.spark import schemas, worker
from lookalike.storage import prefetch
from lookalike.storage.image_reader import ImageReader

# Looks a task: a second or two of reading and hashing pictures of a few hundred kB.
READS_PER_TASK = 4096

HASH_COLUMNS = StructType(
    [schemas.EMBEDDINGS["image_hash"], *(schemas.FAILURES[name] for name in ("reason", "detail", "permanent"))]
)


def count_tasks(pictures: int, per_task: int, cores: int) -> int:
    """A multiple of the cores, so that they finish together; each task about `per_task` pictures."""
    rounds = max(1, round(pictures / (per_task * cores)))
    return max(1, min(pictures, rounds * cores))


def with_fingerprint(items: DataFrame, settings: config.Settings) -> DataFrame:
    """`items` with what tells a changed picture: the columns `fingerprint` and, where bytes were read, those of LOOK.

    The fingerprint says how it was made, so that another `catalogue.change_detection` never matches; it is null
    where nothing is known, and such a picture counts as changed.
    """
    mode = settings.catalogue.change_detection
    total = items.count() if mode != "column" else 0
    if mode == "content":
        looked = with_hash(items.drop("fingerprint"), total, settings)
        return looked.withColumn("fingerprint", F.concat(F.lit("sha256:"), "image_hash"))
    unread = [F.lit(None).cast(field.dataType).alias(field.name) for field in HASH_COLUMNS]
    if mode == "column":  # catalogue.py has read it
        return items.select("*", *unread)
    spread = _spread(items.drop("fingerprint"), total)
    return spread.select("*", _version_udf(settings)("image_path").alias("fingerprint"), *unread)


def with_hash(
    items: DataFrame, total: int, settings: config.Settings, done: Accumulator[int] | None = None
) -> DataFrame:
    """`items` with the columns of LOOK: the hash of the picture's bytes, or why they could not be read."""
    looked = _spread(items, total).withColumn("the look", _hash_udf(settings, done)("image_path"))
    return looked.select(*(F.col(f"`{name}`") for name in items.columns), "`the look`.*")


def _spread(items: DataFrame, total: int) -> DataFrame:
    return items.repartition(count_tasks(total, READS_PER_TASK, items.sparkSession.sparkContext.defaultParallelism))


def _version_udf(settings: config.Settings) -> Callable[..., Column]:
    reader = ImageReader.of(settings)

    @arrow_udf(StringType())  # type: ignore[call-overload,untyped-decorator]
    def versions(batches: Iterator[pa.Array]) -> Iterator[pa.Array]:
        worker.without_pandas()
        for batch in batches:
            found = prefetch.read_versions(batch.to_pylist(), reader)
            yield pa.array([_version(one) for one in found], pa.string())

    return versions  # type: ignore[no-any-return]


def _version(found: str | ImageError | None) -> str | None:
    """A path that can never be read keeps its fingerprint, and is not tried again; a passing trouble has none."""
    if isinstance(found, ImageError):
        return f"stat:{found.reason}" if found.permanent else None
    return found and f"stat:{found}"


def _hash_udf(settings: config.Settings, done: Accumulator[int] | None) -> Callable[..., Column]:
    reader = ImageReader.of(settings)

    @arrow_udf(HASH_COLUMNS)  # type: ignore[call-overload,untyped-decorator]
    def hashes(batches: Iterator[pa.Array]) -> Iterator[pa.Array]:
        worker.without_pandas()
        for batch in batches:
            looks = []
            for data in prefetch.read_contents(batch.to_pylist(), reader):
                looks.append(_look(data))
                if done is not None:
                    done.add(1)
            columns = zip(*looks, strict=True) if looks else [[]] * len(HASH_COLUMNS)
            yield pa.StructArray.from_arrays(
                [pa.array(list(column), kind) for column, kind in zip(columns, _LOOK_TYPES, strict=True)],
                names=HASH_COLUMNS.fieldNames(),
            )

    return hashes  # type: ignore[no-any-return]


_LOOK_TYPES = (pa.string(), pa.string(), pa.string(), pa.bool_())


def _look(data: bytes | ImageError) -> tuple[str | None, str | None, str | None, bool | None]:
    if isinstance(data, ImageError):
        return None, data.reason, data.detail, data.permanent
    return content_hash(data), None, None, None
