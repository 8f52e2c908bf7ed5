"""Read pictures in one pass: each path is fetched once, hashed, looked up, and embedded if its bytes are new."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from lookalike.catalogue.fingerprints import HASH_COLUMNS
from lookalike.embedding.checkpoints import Checkpoints
from lookalike.embedding.known import KnownHashes
from lookalike.embedding.tables import EmbedRun, broadcast_small
from lookalike.embedding.task import READINGS, PictureTask, machines_without_pictures
from lookalike.errors import CountError
from lookalike.progress import Progress, say_detail
from lookalike.spark import parquet
from lookalike.spark.tasks import count_tasks

# A second of work: fewer pictures are one task's, which then loads the network once and sees the same bytes.
MIN_PICTURES = 32


@dataclass(frozen=True)
class Reading:
    """The pictures that a pass has read: HASH_COLUMNS by path, and how many were read, known, and embedded."""

    table: DataFrame
    read: int
    known: int
    embedded: int

    def join_to(self, items: DataFrame) -> DataFrame:
        """Return the items with the HASH_COLUMNS of their paths."""
        item = items.select(F.struct(*(F.col(f"`{name}`") for name in items.columns)).alias("item"))
        found = self.table.select(F.col("image_path").alias("path"), F.struct(*HASH_COLUMNS.names).alias("found"))
        joined = item.join(
            broadcast_small(found, self.read), F.col("item.image_path").eqNullSafe(F.col("path")), "left"
        )
        return joined.select("item.*", "found.*")


def read_pictures(paths: DataFrame, total: int, run: EmbedRun, known: KnownHashes, name: str) -> Reading:
    """Read up to `total` paths of pictures, and embed those with unknown bytes into a new checkpoint."""
    context = paths.sparkSession.sparkContext
    checkpoint = run.checkpoints.begin()
    task = PictureTask.of(run, context.broadcast(known), checkpoint)
    tasks = reading_tasks(total, run.settings.embed.commit_every, context.defaultParallelism)
    counts = Observation(name)
    # By their column the paths are shuffled once, and not for `distinct` again.
    readings = paths.repartition(tasks, "image_path").distinct().mapInArrow(task.run, READINGS)
    observed = readings.observe(
        counts,
        F.count(F.lit(1)).alias("read"),
        F.count_if("known").alias("known"),
        F.count_if("embedded").alias("embedded"),
        F.count_if("refused").alias("refused"),
    )
    done, failed = (lambda: task.counters.done.value), (lambda: task.counters.failed.value)
    with Progress(total, "pictures", done, failed) as progress:
        table = parquet.write_and_read(observed, run.staged.work / f"read-{name}", run.staged.shared)
        numbers = dict(counts.get)
        progress.total = numbers["read"]  # several items may have one path
    for line in machines_without_pictures(task.counters.found.value):
        say_detail(line)
    _check_written(paths.sparkSession, run.checkpoints, checkpoint, numbers["embedded"] + numbers.pop("refused"))
    run.checkpoints.remove_if_empty(checkpoint)
    return Reading(table, **numbers)


def reading_tasks(pictures: int, per_task: int, cores: int) -> int:
    """Return how many tasks read so many pictures."""
    return count_tasks(pictures, per_task, min(cores, -(-pictures // MIN_PICTURES)))


def _check_written(spark: SparkSession, checkpoints: Checkpoints, checkpoint: Path, rows: int) -> None:
    """Raise CountError when a checkpoint has fewer rows than its tasks wrote; of a task that ran twice it has more."""
    if (there := parquet.count_rows(spark, checkpoints.shared, checkpoints.files_of(checkpoint))) < rows:
        raise CountError(
            f"{checkpoint} holds {there:,} of the {rows:,} outcomes that were written; every worker must see this "
            "folder: check the mounts and the disk, and run again"
        )
