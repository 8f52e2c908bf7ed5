"""The embed step on Spark: read what changed, embed what nobody has embedded yet, write embeddings and failures."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import Broadcast
from pyspark.accumulators import Accumulator
from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import arrow_udf
from pyspark.sql.types import StructType

from lookalike import config
from lookalike.catalogue import fingerprints
from lookalike.catalogue.delta import REMOVED, Delta, reusable
from lookalike.embedding.checkpoints import Checkpoints
from lookalike.embedding.stream import EmbeddedChunk, Outcome, embed_stream
from lookalike.failures import ImageError
from lookalike.images import decoder
from lookalike.models import network, runtime
from lookalike.models.network import CompiledModel
from lookalike.models.runtime import Engine
from lookalike.progress import Progress
from lookalike.spark import parquet, schemas, worker
from lookalike.spark.release_tables import ReleaseTables
from lookalike.storage.image_reader import ImageReader
from lookalike.warehouse.release import ReleaseFolder, Staged

# Ids or hashes, of up to 100 bytes, that go to every executor in one piece of at most 50 MB.
BROADCAST_ROWS = 500_000

# Pictures a task: a few seconds of work, so that progress shows, a lost task costs little and the last tasks
# of a stage end together.
PICTURES_PER_TASK = 512

RESULT = StructType([field for field in schemas.OUTCOMES if field.name not in ("image_hash", "embedded_at")])


@dataclass(frozen=True)
class TaskCounters:
    """Counts that the tasks report as they end."""

    done: Accumulator[int]
    failed: Accumulator[int]


@dataclass(frozen=True)
class EmbedRun:
    """How pictures become vectors, and where these go."""

    model: CompiledModel
    settings: config.Settings
    staged: Staged
    staging: Checkpoints
    earlier: Sequence[ReleaseFolder] = ()  # whose vectors are of use, beside the current one's


@dataclass(frozen=True)
class EmbeddedTables:
    """The two tables, read back, and what it took to write them."""

    embeddings: DataFrame
    failures: DataFrame
    moved: bool  # whether the embeddings differ from those of the current release
    read: int  # pictures whose bytes were hashed to compare them
    embedded: int  # vectors that were computed; the others were there already


def sample_pictures(items: DataFrame, settings: config.Settings, wanted: int) -> NDArray[np.uint8]:
    """Up to `wanted` decoded pictures of the catalogue, seeded; uint8 [n, size, size, 3]. Read on the driver."""
    seed = settings.model.seed
    order = F.xxhash64("item_id", F.lit(seed))
    paths = [row["image_path"] for row in items.orderBy(order, "item_id").limit(2 * wanted).collect()]
    size, reader = network.input_size(settings.model), ImageReader.of(settings)
    pictures: list[NDArray[np.uint8]] = []
    for path in paths:
        try:
            pictures.append(decoder.shared().decode(reader.read(path), size, settings.images).pixels)
        except ImageError:
            continue  # it gets its row in `failures` from the embed step
        if len(pictures) == wanted:
            break
    return np.stack(pictures) if pictures else np.empty((0, size, size, 3), dtype=np.uint8)


def write_embeddings(delta: Delta, job: EmbedRun) -> EmbeddedTables:
    """Write the release's embeddings and failures: what stays is taken over, what is new is embedded.

    Bytes are embedded once, whichever items show them, and not at all where the newest releases or a run that was
    stopped have their vector.
    """
    spark = delta.table.sparkSession
    pictures = _hashed(delta, job)
    reused = _reused(delta, pictures, job)
    parts = _embed_unknown(delta, pictures, reused, job)
    settled = reused.unionByName(job.staging.settled(spark, [*job.staging.left, *parts]))
    looks = settled.unionByName(job.staging.unsettled(spark, parts))
    # Side by side: for a small night their time is Spark's planning.
    with ThreadPoolExecutor(thread_name_prefix="write") as pool:
        fresh = pool.submit(_write_embeddings, delta, pictures, settled, job)
        failed = pool.submit(_write_failures, delta, pictures, looks, job)
        embedded = job.staging.embedded(spark, parts)
    moved = fresh.result()
    return EmbeddedTables(
        embeddings=parquet.read(spark, job.staged.embeddings) if moved is None else moved,
        failures=failed.result(),
        moved=moved is not None,
        read=delta.read,
        embedded=embedded,
    )


def _hashed(delta: Delta, job: EmbedRun) -> DataFrame:
    """The items that need a new row, each with its picture's hash or the reason why that cannot be read."""
    rows = delta.table.where((F.col("status") != REMOVED) & ~F.col("keep"))
    if not delta.to_read:
        return rows
    unread = F.col("image_hash").isNull() & F.col("reason").isNull()
    done = rows.sparkSession.sparkContext.accumulator(0)
    looked = fingerprints.with_hash(
        rows.where(unread).drop(*fingerprints.HASH_COLUMNS.names), delta.to_read, job.settings, done
    )
    with Progress(delta.to_read, "pictures read", lambda: done.value, lambda: 0):
        return parquet.write_and_read(looked.unionByName(rows.where(~unread)), job.staged.work / "pictures")


def _reused(delta: Delta, pictures: DataFrame, job: EmbedRun) -> DataFrame:
    """OUTCOMES that the releases know of these pictures, one row a hash."""
    spark = pictures.sparkSession
    nothing = spark.createDataFrame([], schemas.OUTCOMES)
    known = _known(delta.before, job)
    if known is None or not delta.rewritten:
        return nothing
    hashes = _small(pictures.select("image_hash").where("image_hash IS NOT NULL").distinct(), delta.rewritten)
    # Most nights no new picture is an old one: a look at the hashes alone spares reading and sorting the vectors.
    if known.select("image_hash").join(hashes, on="image_hash", how="left_semi").isEmpty():
        return nothing
    reused = known.join(hashes, on="image_hash", how="left_semi").dropDuplicates(["image_hash"])
    missing = [field for field in schemas.OUTCOMES if field.name not in reused.columns]
    wide = reused.select("*", *(F.lit(None).cast(field.dataType).alias(field.name) for field in missing))
    return parquet.write_and_read(schemas.select("reused", wide, schemas.OUTCOMES), job.staged.work / "reused")


def _small(frame: DataFrame, rows: int) -> DataFrame:
    """Told to be broadcast where it is small: Spark takes a filtered table for as large as its files.

    It would sort and shuffle every vector of the warehouse to leave out a few.
    """
    return F.broadcast(frame) if rows <= BROADCAST_ROWS else frame


def _known(before: ReleaseTables | None, job: EmbedRun) -> DataFrame | None:
    """Rows of embeddings, and of lasting failures, whose pictures need not be embedded; None in a new warehouse."""
    if before is None:
        return None
    spark = before.embeddings.sparkSession
    # An item that was sold out and comes back, or a model that does, is in an earlier release.
    folders = [release.embeddings for release in job.earlier]
    rows = before.embeddings.select(*schemas.EMBEDDINGS.fieldNames())
    if folders:
        rows = rows.unionByName(parquet.read(spark, *folders, schema=schemas.EMBEDDINGS, damaged="skip"))
    known = rows.where(reusable(job.model.model_id, job.settings))
    if before.record.same_limits(job.settings):
        failed = before.failures.where("permanent AND image_hash IS NOT NULL")
        known = known.unionByName(failed, allowMissingColumns=True)
    return known


def _embed_unknown(delta: Delta, pictures: DataFrame, reused: DataFrame, job: EmbedRun) -> list[Path]:
    """Embed the pictures that are neither in `reused` nor staged, each once, and commit them part by part."""
    if not delta.rewritten:
        return []
    spark, work, staging = pictures.sparkSession, job.staged.work, job.staging
    known = reused.select("image_hash").union(staging.settled(spark, staging.left).select("image_hash"))
    unknown = (
        pictures.groupBy("image_hash").agg(F.min("image_path").alias("image_path")).where("image_hash IS NOT NULL")
    )
    parts = -(-delta.rewritten // job.settings.embed.commit_every)
    wanted = unknown.join(known, on="image_hash", how="left_anti").withColumn(
        "part", F.pmod(F.xxhash64("image_hash"), F.lit(parts))
    )
    counts = Observation("wanted")
    counted = wanted.repartition(parts, "part").observe(counts, F.count("*").alias("total"))
    parquet.write(counted, work / "wanted", partition_by="part")
    total, folders = counts.get["total"], sorted((work / "wanted").glob("part=*"))
    if not folders:
        return []
    tally = TaskCounters(spark.sparkContext.accumulator(0), spark.sparkContext.accumulator(0))
    embed_pictures = _udf(spark.sparkContext.broadcast(job.model.artefact), job, tally)
    tasks = fingerprints.count_tasks(total // len(folders), PICTURES_PER_TASK, spark.sparkContext.defaultParallelism)
    with Progress(total, "pictures", lambda: tally.done.value, lambda: tally.failed.value):
        return [
            staging.add(
                parquet.read(spark, folder, schema=unknown.schema)
                .repartition(tasks)
                .withColumn("picture", embed_pictures("image_path", "image_hash"))
                .select("image_hash", "picture.*", F.current_timestamp().alias("embedded_at"))
            )
            for folder in folders
        ]


def _write_embeddings(delta: Delta, pictures: DataFrame, settled: DataFrame, job: EmbedRun) -> DataFrame | None:
    """The embeddings table: rows of the current release that stay, and new ones; None when none is new or gone."""
    before, kept = delta.before, job.settings.kept_columns
    sound = settled.where("reason IS NULL").drop(*fingerprints.HASH_COLUMNS.names[1:])
    found = pictures.drop(*fingerprints.HASH_COLUMNS.names[1:]).join(sound, on="image_hash", how="inner")
    columns = [*schemas.EMBEDDINGS.fieldNames(), *kept]
    if (
        before
        and not delta.dropped
        and before.embeddings.columns == columns
        and (not delta.rewritten or found.isEmpty())
    ):
        job.staged.link_folder(before.release.embeddings)
        return None
    fresh = found.withColumn("model_id", F.lit(job.model.model_id))
    made = schemas.select("embeddings", fresh, schemas.EMBEDDINGS, ("kept",))
    rows = made.select(*schemas.EMBEDDINGS.fieldNames(), *schemas.unpacked(kept))
    if before and delta.kept:
        gone = _small(delta.table.where("was_embedded AND NOT keep").select("item_id"), delta.dropped)
        stays = before.embeddings.join(gone, on="item_id", how="left_anti") if delta.dropped else before.embeddings
        rows = rows.unionByName(schemas.select("embeddings", stays, schemas.EMBEDDINGS, kept))
    return parquet.write_and_read(rows, job.staged.embeddings)


def _write_failures(delta: Delta, pictures: DataFrame, looks: DataFrame, job: EmbedRun) -> DataFrame:
    """The failures table: failures of the current release that stay, and those of this run."""
    return parquet.write_and_read(_failures(delta, pictures, looks).repartition(1), job.staged.failures)


def _failures(delta: Delta, pictures: DataFrame, looks: DataFrame) -> DataFrame:
    why_not = [F.col(name).alias(f"why_{name}") for name in ("reason", "detail", "permanent")]
    looked_at = looks.select("image_hash", *why_not, F.lit(True).alias("looked_at"))
    joined = pictures.join(looked_at, on="image_hash", how="left")
    why = joined.where("reason IS NOT NULL OR why_reason IS NOT NULL OR looked_at IS NULL")
    lost = "its bytes changed, or could not be had again, between the job's two looks at them"
    now = F.current_timestamp()
    failing = why.select(
        "item_id",
        "image_path",
        "fingerprint",
        "image_hash",
        F.coalesce("reason", "why_reason", F.lit("server_error")).alias("reason"),
        F.coalesce("detail", "why_detail", F.lit(lost)).alias("detail"),
        F.coalesce("permanent", "why_permanent", F.lit(False)).alias("permanent"),
        (F.col("attempts") + 1).alias("attempts"),
        F.coalesce("first_failed_at", now).alias("first_failed_at"),
        now.alias("last_failed_at"),
    )
    rows = schemas.select("failures", failing, schemas.FAILURES)
    if delta.before is None:
        return rows
    kept = delta.table.where("keep AND NOT was_embedded").select("item_id")
    stays = delta.before.failures.join(kept, on="item_id", how="left_semi")
    return rows.unionByName(schemas.select("failures", stays, schemas.FAILURES))


def _udf(artefact: Broadcast[bytes], job: EmbedRun, tally: TaskCounters) -> Callable[..., Column]:
    reader = ImageReader.of(job.settings)
    engine, model_id = job.settings.model.engine, job.model.model_id

    # The Arrow form of an iterator pandas UDF: Spark 4.2 unpacks each array<float> that a pandas UDF returns
    # into a Python list, 2048 objects a picture.
    @arrow_udf(RESULT)  # type: ignore[call-overload,untyped-decorator]
    def embed_pictures(batches: Iterator[tuple[pa.Array, pa.Array]]) -> Iterator[pa.Array]:
        worker.without_pandas()
        expected: deque[str] = deque()

        def paths() -> Iterator[str]:
            for names, hashes in batches:
                for path, image_hash in zip(names.to_pylist(), hashes.to_pylist(), strict=True):
                    expected.append(image_hash)
                    yield path

        decoder.shared().start()  # while the engine loads
        for chunk in embed_stream(paths(), _engine(engine, model_id, artefact), reader):
            errors = [_error(outcome, expected.popleft()) for outcome in chunk.outcomes]
            tally.done.add(len(errors))
            tally.failed.add(sum(error is not None for error in errors))
            yield _as_structs(chunk, errors)

    return embed_pictures  # type: ignore[no-any-return]


def _error(outcome: Outcome, expected: str) -> ImageError | None:
    """The first look has read these bytes: a failure of any others says nothing lasting about them."""
    if outcome.image_hash == expected or (outcome.error and not outcome.error.permanent):
        return outcome.error
    return ImageError("server_error", "the picture changed while the job was reading it")


_engines: dict[str, Engine] = {}


def _engine(name: str, model_id: str, artefact: Broadcast[bytes]) -> Engine:
    """This worker's engine: Spark reuses the worker process, so it is built once and not once a task."""
    if model_id not in _engines:
        _engines.clear()
        _engines[model_id] = runtime.load(name, artefact.value)
    return _engines[model_id]


def _as_structs(chunk: EmbeddedChunk, errors: list[ImageError | None]) -> pa.StructArray:
    """One RESULT a picture."""
    outcomes = chunk.outcomes
    sound = np.array([error is None for error in errors])
    ends = np.cumsum(np.where(sound, chunk.vectors.shape[1], 0), dtype=np.int32)
    vectors = chunk.vectors if sound.all() else chunk.vectors[sound]
    return pa.StructArray.from_arrays(
        [
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
