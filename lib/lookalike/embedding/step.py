"""The embed step on Spark: read what changed, embed what is not embedded yet, write embeddings and failures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lookalike import config
from lookalike.catalogue import fingerprints
from lookalike.catalogue.delta import REMOVED, Delta
from lookalike.catalogue.fingerprints import HASH_COLUMNS
from lookalike.embedding import outcomes, sample, tables
from lookalike.embedding.item_changes import write_item_changes
from lookalike.embedding.known import KnownHashes
from lookalike.embedding.outcomes import Resolved
from lookalike.embedding.reading import Reading, read_pictures
from lookalike.embedding.sample import ReadAll, read_sample
from lookalike.embedding.tables import EmbeddedTables, EmbedRun
from lookalike.models import network
from lookalike.spark.tasks import beside, run_tasks


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
            found = sample.read_pictures(paths[number::count], settings, seconds)
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


def with_fingerprint(items: DataFrame, total: int, run: EmbedRun) -> tuple[DataFrame, Reading | None]:
    """Add the column `fingerprint` and HASH_COLUMNS, see catalogue.fingerprints.

    With change_detection stat the versions are asked for in the comparison to a release, if there is one. With content
    every picture is read for it, and embedded in the same pass if its bytes are new: the second value is what was read.
    """
    mode = run.settings.catalogue.change_detection
    if mode == "stat" and run.before is not None:
        return fingerprints.without_fingerprint(items), None
    if mode != "content":
        return fingerprints.with_fingerprint(items, total, run.settings), None
    known = outcomes.known_hashes(items.sparkSession, run)
    reading = read_pictures(items.select("image_path"), total, run, known, "content")
    hashed = reading.join_to(items.drop("fingerprint"))
    return hashed.withColumn("fingerprint", F.concat(F.lit("sha256:"), "image_hash")), reading


def write_embeddings(delta: Delta, run: EmbedRun, content: Reading | None = None) -> EmbeddedTables:
    """Write the release's embeddings and failures: rows that stay are carried, new pictures are read and embedded.

    Each picture is fetched once. Bytes that one of the newest releases or a checkpoint of a stopped run has are not
    embedded. `content` are the pictures that were read for their fingerprints.
    """
    readings = [content] if content else []
    items = delta.table.where((F.col("status") != REMOVED) & ~F.col("keep"))
    spark, staged, carried = items.sparkSession, run.staged, tables.can_carry(delta, run)
    # What stays needs no picture and nothing of the others: it is carried while Spark plans what they need.
    with beside(spark, lambda: tables.carry(delta, run) if carried else None) as carrying:
        if delta.to_read:
            items, reading = _read_unread(items, delta, run)
            readings.append(reading)
        resolved = _resolve(items, delta, run, readings)
        # At the same time: in a small night most of their time is Spark's planning.
        failures = partial(tables.write_failures_table, delta, resolved.table, resolved.vectors, staged)
        with beside(spark, failures) as failing:
            new_files = [] if carried else tables.write_staying_rows(delta, run)
            rewritten = []
            if resolved.vectors or not (carried or new_files):
                rewritten = tables.write_new_rows(resolved.table, resolved.vectors, run)
    new_files += rewritten
    dropped = carrying.result()
    staged.check_there("embeddings", "failures")
    write_item_changes(delta, resolved.table, rewritten, run)
    return EmbeddedTables(
        failures=failing.result(),
        dropped=dropped,
        embeddings=tables.read_embeddings(resolved.table, run),
        new_files=tuple(new_files),
        changed=bool(new_files or delta.dropped),
        pictures_read=sum(one.read for one in readings),
        pictures_embedded=sum(one.embedded for one in readings),
    )


def _read_unread(items: DataFrame, delta: Delta, run: EmbedRun) -> tuple[DataFrame, Reading]:
    """Read the pictures of unknown hash; return all items, each with its hash or the reason why it cannot be read."""
    unread = F.col("image_hash").isNull() & F.col("reason").isNull()
    known = outcomes.known_hashes(items.sparkSession, run)
    reading = read_pictures(items.where(unread).select("image_path"), delta.to_read, run, known, "unread")
    hashed = reading.join_to(items.where(unread).drop(*HASH_COLUMNS.names))
    return hashed.unionByName(items.where(~unread)), reading


def _resolve(items: DataFrame, delta: Delta, run: EmbedRun, readings: list[Reading]) -> Resolved:
    """Return the items with the place of their vectors; reads again what is not there after all, and adds the reading.

    A hash may begin like another that is known, or the file with its vector may be damaged.
    """
    spark, staged = items.sparkSession, run.staged
    places = outcomes.checkpoint_places(spark, staged.shared, run.checkpoints.files())
    if delta.rewritten == delta.to_read and not any(one.known for one in readings):  # all of it was embedded just now
        return outcomes.resolve(items, places, delta.rewritten, staged, "resolved")
    known = places.unionByName(outcomes.release_places(spark, run))
    resolved = outcomes.resolve(items, known, delta.rewritten, staged, "resolved")
    unsound = outcomes.unsound_files(resolved, run)
    if not unsound and not resolved.missing:
        return resolved
    return _resolve_again(items, delta, run, readings, unsound)


def _resolve_again(
    items: DataFrame, delta: Delta, run: EmbedRun, readings: list[Reading], unsound: set[Path]
) -> Resolved:
    """Read and embed what no sound file holds, and return the items with the place of their vectors."""
    spark, staged = items.sparkSession, run.staged
    sound = [path for path in run.checkpoints.files() if path not in unsound]
    releases = outcomes.release_places(spark, run, unsound)
    known = releases.unionByName(outcomes.checkpoint_places(spark, staged.shared, sound))
    missing = outcomes.resolve(items, known, delta.rewritten, staged, "sound")
    if not missing.missing:
        return missing
    paths = missing.table.where("missing").select("image_path")
    readings.append(read_pictures(paths, missing.missing, run, KnownHashes.none(), "again"))
    new = [path for path in run.checkpoints.files() if path not in unsound]
    known = releases.unionByName(outcomes.checkpoint_places(spark, staged.shared, new))
    return outcomes.resolve(items, known, delta.rewritten, staged, "again")
