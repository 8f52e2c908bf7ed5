"""What is known of pictures by their hash: where the vector lies, or why there is none; of releases and checkpoints."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import IntegerType, LongType, StringType, StructField, StructType

from lookalike.catalogue.delta import reusable
from lookalike.catalogue.fingerprints import HASH_COLUMNS
from lookalike.embedding import stored_vectors
from lookalike.embedding.known import HashFiles, KnownHashes
from lookalike.embedding.tables import EmbedRun, broadcast_small
from lookalike.spark import arrow_files, parquet, schemas
from lookalike.spark.tasks import TASKS_A_CORE, collect_tasks, map_tasks
from lookalike.warehouse import release_files
from lookalike.warehouse.release import Staged
from lookalike.warehouse.shared_files import SharedFiles, names_in

_REASON_COLUMNS = HASH_COLUMNS.names[1:]

# An outcome of a hash. `rank` 0 has a vector, at `row_index` of `file`; 1 a reason that lasts; 2 one that may pass.
OUTCOME_PLACES = StructType(
    [
        schemas.EMBEDDINGS["image_hash"],
        StructField("rank", IntegerType()),
        StructField("file", StringType()),
        StructField("row_index", LongType()),
        *(schemas.FAILURES[name] for name in _REASON_COLUMNS),
    ]
)


@dataclass(frozen=True)
class Resolved:
    """Items with `file` and `row_index` of their vector, or a reason, or neither: then the outcome is `missing`."""

    table: DataFrame
    vectors: int
    missing: int


def known_hashes(spark: SparkSession, run: EmbedRun) -> KnownHashes:
    """Return the hashes that a release has, or a checkpoint of a run that was stopped; 8 bytes for each."""
    outcomes = list(run.checkpoints.left)
    if run.before is not None and run.before.record.same_limits(run.settings):
        outcomes += run.before.sound_files("failures")
    images, shared = run.settings.images, run.staged.shared
    files = HashFiles(
        shared,
        _release_files(run),
        outcomes,
        run.model.model_id,
        images.max_pixels,
        accept_truncated=images.accept_truncated,
    )
    parts = min(len(files.embeddings) + len(outcomes), TASKS_A_CORE * spark.sparkContext.defaultParallelism)
    found = collect_tasks(spark, parts, lambda number: files.part(number, parts).prefixes())
    return KnownHashes(np.unique(np.concatenate([KnownHashes.none().prefixes, *found])))


def release_places(spark: SparkSession, run: EmbedRun, unsound: Collection[Path] = ()) -> DataFrame:
    """Return the OUTCOME_PLACES of the current release and of earlier ones that hold for the same bytes."""
    files = [path for path in _release_files(run) if path not in unsound]
    places = spark.createDataFrame([], OUTCOME_PLACES)
    if files:
        table = parquet.read_placed(spark, run.staged.shared, files, schemas.EMBEDDINGS, damaged="skip")
        rows = table.where(reusable(run.model.model_id, run.settings))
        found = rows.select("image_hash", F.lit(0).alias("rank"), *stored_vectors.place())
        places = places.unionByName(found, allowMissingColumns=True)
    if run.before is not None and run.before.record.same_limits(run.settings):
        failed = run.before.failures.where("permanent AND image_hash IS NOT NULL")
        reasons = failed.select("image_hash", F.lit(1).alias("rank"), *_REASON_COLUMNS)
        places = places.unionByName(reasons, allowMissingColumns=True)
    return places


def _release_files(run: EmbedRun) -> list[Path]:
    """Return the files of embeddings: of one name, which is one file in many releases, the newest."""
    listed = (names_in(run.staged.shared.sizes(release.embeddings)) for release in reversed(run.earlier))
    found = {path.name: path for paths in listed for path in paths}
    if run.before is not None:
        found |= {path.name: path for path in run.before.sound_files("embeddings")}
    return [found[name] for name in sorted(found)]


def checkpoint_places(spark: SparkSession, shared: SharedFiles, files: Collection[Path]) -> DataFrame:
    """Return the OUTCOME_PLACES in files of checkpoints."""
    if not files:
        return spark.createDataFrame([], OUTCOME_PLACES)
    rows = parquet.read_placed(spark, shared, sorted(files), schemas.OUTCOMES, damaged="skip")
    rank = F.when(F.col("reason").isNull(), 0).when(F.col("permanent"), 1).otherwise(2).alias("rank")
    places = rows.select("image_hash", rank, *stored_vectors.place(), *_REASON_COLUMNS)
    return places.withColumn("file", F.when(F.col("rank") == 0, F.col("file")))


def resolve(items: DataFrame, places: DataFrame, count: int, staged: Staged, name: str) -> Resolved:
    """Write `count` items with the best outcome of their hash, to a folder `name` of the work."""
    hashes = broadcast_small(items.select("image_hash").where("image_hash IS NOT NULL").distinct(), count)
    best = F.min(F.struct(*OUTCOME_PLACES.names[1:])).alias("outcome")
    outcomes = places.join(hashes, on="image_hash", how="left_semi").groupBy("image_hash").agg(best)
    joined = items.join(broadcast_small(outcomes, count), on="image_hash", how="left")
    reasons = [F.coalesce(name, f"outcome.{name}").alias(name) for name in _REASON_COLUMNS]
    others = [name for name in items.columns if name not in _REASON_COLUMNS]
    rows = joined.select(
        *others, *reasons, "outcome.file", "outcome.row_index", F.col("outcome").isNull().alias("lost")
    )
    counts = Observation("resolved")
    missing = F.col("lost") & F.col("image_hash").isNotNull() & F.col("reason").isNull()
    observed = (
        rows.withColumn("missing", missing)
        .drop("lost")
        .observe(counts, F.count("file").alias("vectors"), F.count_if("missing").alias("missing"))
    )
    table = parquet.write_and_read(observed, staged.work / name, staged.shared)
    return Resolved(table, counts.get["vectors"], counts.get["missing"])


def unsound_files(resolved: Resolved, run: EmbedRun) -> set[Path]:
    """Return the files that vectors would be read from, and that are damaged.

    Nobody has read those of earlier releases and of stopped runs in this run; those of the current release it has.
    """
    spark = resolved.table.sparkSession
    named = resolved.table.where("file IS NOT NULL").select("file").distinct().collect()
    releases, left = {release.embeddings for release in run.earlier}, set(run.checkpoints.left)
    found = sorted(arrow_files.path_of(row["file"]) for row in named)
    files, shared = [path for path in found if path.parent in releases or path in left], run.staged.shared

    damaged = map_tasks(spark, files, lambda path: bool(release_files.read_whole(shared.fetch(path))[1]))
    return {path for path, is_damaged in zip(files, damaged, strict=True) if is_damaged}
