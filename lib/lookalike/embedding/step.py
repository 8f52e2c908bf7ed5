"""The embed step on Spark: read what changed, embed what is not embedded yet, write embeddings and failures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from lookalike import config
from lookalike.catalogue.delta import REMOVED, Delta
from lookalike.catalogue.fingerprints import HASH_COLUMNS, with_hash
from lookalike.embedding import checkpoints, tables, task
from lookalike.embedding.sample import ReadAll, read_pictures, read_sample
from lookalike.embedding.tables import EmbeddedTables, EmbedRun
from lookalike.models import network
from lookalike.progress import Progress
from lookalike.spark import parquet
from lookalike.spark.tasks import count_tasks, run_tasks


def sample_pictures(items: DataFrame, settings: config.Settings, wanted: int) -> NDArray[np.uint8]:
    """Return up to `wanted` decoded pictures of the catalogue, chosen by seed; uint8 [n, size, size, 3].

    The executors read and decode them; raises ModelError when too few can be read in time.
    """
    order = F.xxhash64("item_id", F.lit(settings.model.seed))
    # The path alone: Python has no time before year 1 or after 9999, which a kept column may hold.
    rows = items.select("item_id", "image_path").orderBy(order, "item_id").limit(2 * wanted).collect()
    paths = [row["image_path"] for row in rows]
    return read_sample(paths, settings, wanted, _on_executors(items.sparkSession, settings))


def _on_executors(spark: SparkSession, settings: config.Settings) -> ReadAll:
    """Return the function that reads pictures in one task for each core."""
    size = network.input_size(settings.model)

    def read_all(paths: Sequence[str | None], seconds: float) -> list[NDArray[np.uint8] | str]:
        count = min(len(paths), spark.sparkContext.defaultParallelism)

        def read_share(number: int) -> Iterator[pa.RecordBatch]:
            places = range(number, len(paths), count)
            found = read_pictures(paths[number::count], settings, seconds)
            for place, one in zip(places, found, strict=True):
                pixels, reason = (None, one) if isinstance(one, str) else (one.tobytes(), None)
                columns = [
                    pa.array([place], pa.int64()),
                    pa.array([pixels], pa.binary()),
                    pa.array([reason], pa.string()),
                ]
                yield pa.record_batch(columns, ["place", "pixels", "reason"])

        rows = run_tasks(spark, count, read_share, "place long, pixels binary, reason string").collect()
        return [
            row["reason"] or np.frombuffer(row["pixels"], np.uint8).reshape(size, size, 3)
            for row in sorted(rows, key=lambda row: int(row["place"]))
        ]

    return read_all


def write_embeddings(delta: Delta, run: EmbedRun) -> EmbeddedTables:
    """Write the release's embeddings and failures: rows that stay are reused, new pictures are embedded.

    The same bytes are embedded once for all items that show them, and not at all if one of the newest releases or a
    checkpoint of a stopped run has their vector.
    """
    spark = delta.table.sparkSession
    items = _write_hashed(delta, run)
    reused = tables.write_reused(delta, items, run)
    written = _write_checkpoints(delta, items, reused, run)
    lasting = reused.unionByName(checkpoints.read_lasting(spark, [*run.checkpoints.left, *written]))
    outcomes = lasting.unionByName(checkpoints.read_passing(spark, written))
    # At the same time: in a small night most of their time is Spark's planning.
    with ThreadPoolExecutor(thread_name_prefix="write") as pool:
        writing = pool.submit(tables.write_embeddings_table, delta, items, lasting, run)
        failing = pool.submit(tables.write_failures_table, delta, items, outcomes, run.staged)
        embedded = checkpoints.count_vectors(spark, written)
    embeddings = writing.result()
    return EmbeddedTables(
        embeddings=embeddings.table,
        failures=failing.result(),
        new_files=embeddings.new_files,
        dropped=embeddings.dropped,
        changed=bool(embeddings.new_files or delta.dropped),
        pictures_read=delta.pictures_read,
        pictures_embedded=embedded,
    )


def _write_hashed(delta: Delta, run: EmbedRun) -> DataFrame:
    """Return the items that need a new row, each with its picture's hash or the reason why it cannot be read.

    Reads the pictures with an unknown hash, and writes the result.
    """
    items = delta.table.where((F.col("status") != REMOVED) & ~F.col("keep"))
    if not delta.to_read:
        return items
    unread = F.col("image_hash").isNull() & F.col("reason").isNull()
    done = items.sparkSession.sparkContext.accumulator(0)
    hashed = with_hash(items.where(unread).drop(*HASH_COLUMNS.names), delta.to_read, run.settings, done)
    with Progress(delta.to_read, "pictures read", lambda: done.value, lambda: 0):
        return parquet.write_and_read(hashed.unionByName(items.where(~unread)), run.staged.work / "hashed")


def _write_checkpoints(delta: Delta, items: DataFrame, reused: DataFrame, run: EmbedRun) -> list[Path]:
    """Embed the pictures that no release and no checkpoint has, each once; return the checkpoints that were written."""
    if not delta.rewritten:
        return []
    unknown, total = _write_unknown(items, reused, run)
    if not total:
        return []
    context = items.sparkSession.sparkContext
    count = -(-total // run.settings.embed.commit_every)
    tasks = count_tasks(total // count, task.PICTURES_PER_TASK, context.defaultParallelism)
    counters = task.TaskCounters.start(context)
    embed_pictures = task.embed_function(run.model, context.broadcast(run.model.artefact), run.settings, counters)
    with Progress(total, "pictures", lambda: counters.done.value, lambda: counters.failed.value):
        return [
            run.checkpoints.write(
                unknown.where(_share(number, count))
                .repartition(tasks)
                .withColumn("outcome", embed_pictures("image_path", "image_hash"))
                .select("image_hash", "outcome.*", F.current_timestamp().alias("embedded_at"))
            )
            for number in range(count)
        ]


def _write_unknown(items: DataFrame, reused: DataFrame, run: EmbedRun) -> tuple[DataFrame, int]:
    """Write the hash and one path of each picture without a lasting outcome; return the table and its rows."""
    left = checkpoints.read_lasting(items.sparkSession, run.checkpoints.left)
    known = reused.select("image_hash").union(left.select("image_hash"))
    pictures = items.groupBy("image_hash").agg(F.min("image_path").alias("image_path")).where("image_hash IS NOT NULL")
    counts = Observation("unknown pictures")
    unknown = pictures.join(known, on="image_hash", how="left_anti").observe(counts, F.count("*").alias("total"))
    table = parquet.write_and_read(unknown, run.staged.work / "unknown")
    return table, counts.get["total"]


def _share(number: int, count: int) -> Column:
    """Return whether a picture belongs to checkpoint `number` of `count`: by its hash, about as many in each."""
    return F.pmod(F.xxhash64("image_hash"), F.lit(count)) == number
