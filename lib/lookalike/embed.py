"""The embed step on Spark: broadcast the model, run the mapper in an iterator UDF, split the results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import Broadcast
from pyspark.accumulators import Accumulator
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import arrow_udf
from pyspark.sql.types import BooleanType, StringType, StructField, StructType

from lookalike import config, engines, schemas, tables
from lookalike.engine import Engine
from lookalike.images import ImageError, decode, join_root, read
from lookalike.mapper import Chunk, embed_stream
from lookalike.models import CompiledModel
from lookalike.progress import Progress
from lookalike.release import Staged

# Pictures a task: a few seconds of work, so that progress shows, a lost task costs little and the last tasks
# of a stage end together.
PICTURES_PER_TASK = 512

RESULT = StructType(
    [
        *(schemas.EMBEDDINGS[name] for name in ("image_hash", "embedding", "norm", "width", "height", "fixes")),
        StructField("reason", StringType()),
        StructField("detail", StringType()),
        StructField("permanent", BooleanType()),
    ]
)


@dataclass(frozen=True)
class Tally:
    """Counts that the tasks report as they end."""

    done: Accumulator[int]
    failed: Accumulator[int]


def sample_pictures(items: DataFrame, settings: config.Settings, wanted: int) -> NDArray[np.uint8]:
    """Up to `wanted` decoded pictures of the catalogue, seeded; uint8 [n, size, size, 3]. Read on the driver."""
    seed = settings.model.seed
    order = F.xxhash64("item_id", F.lit(seed))
    paths = [row["image_path"] for row in items.orderBy(order, "item_id").limit(2 * wanted).collect()]
    size = settings.model.size
    pictures: list[NDArray[np.uint8]] = []
    for path in paths:
        try:
            data = read(join_root(settings.catalogue.image_root, path), settings.images)
            pictures.append(decode(data, size, settings.images).pixels)
        except ImageError:
            continue  # it gets its row in `failures` from the embed step
        if len(pictures) == wanted:
            break
    return np.stack(pictures) if pictures else np.empty((0, size, size, 3), dtype=np.uint8)


def write_tables(
    items: DataFrame, model: CompiledModel, settings: config.Settings, staged: Staged
) -> tuple[DataFrame, DataFrame]:
    """Embed every item into the release's embeddings and failures tables; gives both, read back."""
    spark, kept = items.sparkSession, settings.kept_columns
    counts = Tally(spark.sparkContext.accumulator(0), spark.sparkContext.accumulator(0))
    # All outcomes are written once, by the pass that computes them, and then parted into the two tables.
    outcomes = staged.work / "outcomes"
    total = items.count()
    with Progress(total, "pictures", lambda: counts.done.value, lambda: counts.failed.value):
        tables.write(with_pictures(items, total, model, settings, counts), outcomes)
    pictures = tables.read(spark, outcomes)
    tables.write(embeddings(pictures, model, kept), staged.embeddings)
    tables.write(failures(pictures).coalesce(1), staged.failures)
    return tables.read(spark, staged.embeddings), tables.read(spark, staged.failures)


def with_pictures(
    items: DataFrame, total: int, model: CompiledModel, settings: config.Settings, counts: Tally
) -> DataFrame:
    """`items` with a struct column `picture` (RESULT): the vector, or the reason why there is none."""
    context = items.sparkSession.sparkContext
    artefact = context.broadcast(model.artefact)
    embed_pictures = _udf(artefact, model.model_id, settings, counts)
    tasks = plan_tasks(total, context.defaultParallelism)
    return items.repartition(tasks).withColumn("picture", embed_pictures("image_path"))


def embeddings(pictures: DataFrame, model: CompiledModel, kept: tuple[str, ...]) -> DataFrame:
    """The embeddings table, of the items whose picture was embedded."""
    rows = pictures.where("picture.reason IS NULL").select(
        "item_id",
        "image_path",
        "picture.*",
        F.lit(model.model_id).alias("model_id"),
        F.current_timestamp().alias("embedded_at"),
        *(F.col(f"`{name}`") for name in kept),
    )
    return schemas.select("embeddings", rows, schemas.EMBEDDINGS, kept)


def failures(pictures: DataFrame) -> DataFrame:
    """The failures table, of the items whose picture was not."""
    rows = pictures.where("picture.reason IS NOT NULL").select(
        "item_id",
        "image_path",
        "picture.*",
        F.lit(1).alias("attempts"),
        F.current_timestamp().alias("first_failed_at"),
        F.current_timestamp().alias("last_failed_at"),
    )
    return schemas.select("failures", rows, schemas.FAILURES)


def plan_tasks(pictures: int, cores: int) -> int:
    """A multiple of the cores, so that they finish together; each task about PICTURES_PER_TASK."""
    rounds = max(1, round(pictures / (PICTURES_PER_TASK * cores)))
    return max(1, min(pictures, rounds * cores))


def _udf(artefact: Broadcast[bytes], model_id: str, settings: config.Settings, counts: Tally) -> Callable[..., Column]:
    root, limits, engine = settings.catalogue.image_root, settings.images, settings.model.engine

    # The Arrow form of an iterator pandas UDF: Spark 4.2 unpacks each array<float> that a pandas UDF returns
    # into a Python list, 2048 objects a picture.
    @arrow_udf(RESULT)  # type: ignore[call-overload,untyped-decorator]
    def embed_pictures(batches: Iterator[pa.Array]) -> Iterator[pa.Array]:
        uris = (join_root(root, path) for batch in batches for path in batch.to_pylist())
        for chunk in embed_stream(uris, _engine(engine, model_id, artefact), limits):
            counts.done.add(len(chunk.outcomes))
            counts.failed.add(sum(outcome.error is not None for outcome in chunk.outcomes))
            yield _as_structs(chunk)

    return embed_pictures  # type: ignore[no-any-return]


_engines: dict[str, Engine] = {}


def _engine(name: str, model_id: str, artefact: Broadcast[bytes]) -> Engine:
    """This worker's engine: Spark reuses the worker process, so it is built once and not once a task."""
    if model_id not in _engines:
        _engines.clear()
        _engines[model_id] = engines.load(name, artefact.value)
    return _engines[model_id]


def _as_structs(chunk: Chunk) -> pa.StructArray:
    """One RESULT a picture."""
    outcomes = chunk.outcomes
    errors = [outcome.error for outcome in outcomes]
    sound = np.array([error is None for error in errors])
    ends = np.cumsum(np.where(sound, chunk.vectors.shape[1], 0), dtype=np.int32)
    vectors = chunk.vectors if sound.all() else chunk.vectors[sound]
    return pa.StructArray.from_arrays(
        [
            pa.array([outcome.image_hash for outcome in outcomes], pa.string()),
            pa.ListArray.from_arrays(np.concatenate([[np.int32(0)], ends]), vectors.reshape(-1), mask=pa.array(~sound)),
            pa.array(chunk.norms, mask=~sound),
            pa.array([outcome.width for outcome in outcomes], pa.int32()),
            pa.array([outcome.height for outcome in outcomes], pa.int32()),
            pa.array([outcome.fixes for outcome in outcomes], pa.list_(pa.string())),
            pa.array([error and error.reason for error in errors], pa.string()),
            pa.array([error and error.detail for error in errors], pa.string()),
            pa.array([error and error.permanent for error in errors], pa.bool_()),
        ],
        names=RESULT.fieldNames(),
    )
