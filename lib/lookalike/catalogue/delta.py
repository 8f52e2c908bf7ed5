"""Compare the catalogue to the current release: which items are new, changed, unchanged, removed, or failed before."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F

from lookalike import config
from lookalike.catalogue import fingerprints
from lookalike.errors import CountError, WarehouseError
from lookalike.images.picture import TRUNCATED
from lookalike.spark import parquet, schemas
from lookalike.spark.release_tables import ReleaseTables
from lookalike.spark.tasks import count_tasks
from lookalike.warehouse.release import ReleaseFolder, Staged

# Items that a task compares: a shuffle into Spark's 200 parts writes 200 files a task, for whatever few rows.
JOINED_PER_TASK = 16_384

# Releases before the current one whose vectors are reused, when a picture comes back: a week of nights.
EARLIER_RELEASES = 7

NEW, CHANGED, UNCHANGED, REMOVED, FAILED = STATUSES = ("new", "changed", "unchanged", "removed", "failed")


@dataclass(frozen=True)
class Delta:
    """What changed (`table`, see `compare_to_release`), and how many items there are of each status."""

    table: DataFrame
    paths: tuple[Path, ...]  # of its Parquet files
    before: ReleaseTables | None
    counts: dict[str, int]  # items of each status
    in_catalogue: int  # items of the catalogue
    to_read: int  # items with a picture that the embed step must read
    kept: int  # embeddings of the current release that stay
    kept_failures: int  # failures of the current release that stay
    dropped: int  # embeddings of the current release that go or change
    rewritten: int  # items that need a new row in embeddings or failures

    @property
    def is_empty(self) -> bool:
        """Whether every row of the current release stays as it is."""
        return self.before is not None and not self.counts[REMOVED] and not self.dropped and not self.rewritten

    def check_complete(self, rows: int) -> None:
        """Raise CountError when these are not the `rows` items that the catalogue had when it was checked."""
        if self.in_catalogue != rows:
            raise CountError(
                f"catalogue.path had {rows:,} rows when it was checked, and {self.in_catalogue:,} when it was compared "
                "to the current release; run again when nothing writes to it"
            )

    def line(self) -> str:
        """Return the counts in one line."""
        words = {**self.counts, "failed before": self.counts[FAILED]}
        return ", ".join(f"{words[name]:,} {name}" for name in (NEW, CHANGED, UNCHANGED, REMOVED, "failed before"))


def reusable(model_id: str, settings: config.Settings) -> Column:
    """Return whether a row of embeddings has the vector that this model would give under the current limits."""
    pixels = F.col("width").cast("long") * F.col("height")
    complete = F.lit(settings.images.accept_truncated) | ~F.array_contains("fixes", TRUNCATED)
    return (F.col("model_id") == model_id) & (pixels <= settings.images.max_pixels) & complete


def earlier_releases(
    releases: Sequence[ReleaseFolder], model_id: str, current: ReleaseFolder | None
) -> list[ReleaseFolder]:
    """Return the newest releases, other than the current one, with vectors of this model; skip damaged ones."""
    found: list[ReleaseFolder] = []
    for release in reversed(releases):
        if len(found) == EARLIER_RELEASES or (current and release.release_id == current.release_id):
            continue
        with suppress(WarehouseError):
            if release.record().model.model_id == model_id and release.outer_problem("embeddings") is None:
                found.append(release)
    return found


def compare_to_release(
    items: DataFrame, before: ReleaseTables | None, model_id: str, settings: config.Settings, staged: Staged
) -> Delta:
    """Join the catalogue to the current release by item_id, and write the result to the work folder.

    The items have fingerprints; where the column is not there, the versions of the pictures are asked for after the
    join, in its tasks.
    Each row of the table is an item of the catalogue or of the release: the columns of `items`, with the kept ones as
    one struct; `status`; `image_hash`, if it is known without reading the picture; `was_embedded`; `old_hash`, of a
    vector that can be used again; `keep`, if the release's row stays as it is; `attempts` and `first_failed_at` of a
    failure that continues. Embeddings that stay as they are, nearly all of a night, have no row.
    """
    flat = [name for name in (*schemas.ITEMS.names, *fingerprints.HASH_COLUMNS.names) if name in items.columns]
    packed = items.select(*flat, schemas.packed(settings.kept_columns))
    frame = _first_delta(packed) if before is None else _joined_to_release(packed, before, model_id, settings)
    to_read = F.col("image_hash").isNull() & F.col("reason").isNull()
    present, kept = F.col("status") != REMOVED, F.col("keep")
    observed = Observation("delta")  # counts while the table is written: to read it again would be one more job
    counted = frame.observe(
        observed,
        *(F.count_if(F.col("status") == status).alias(status) for status in STATUSES),
        F.count_if(present).alias("in_catalogue"),
        F.count_if(present & ~kept & to_read).alias("to_read"),
        F.count_if(F.col("was_embedded") & kept).alias("kept"),
        F.count_if(~F.col("was_embedded") & kept).alias("kept_failures"),
        F.count_if(F.col("was_embedded") & ~kept).alias("dropped"),
        F.count_if(present & ~kept).alias("rewritten"),
    )
    changes = counted.where("NOT (was_embedded AND keep)")
    paths = tuple(parquet.write(changes, staged.work / "delta", staged.shared))
    table = parquet.read(items.sparkSession, staged.shared, paths, changes.schema)
    numbers = dict(observed.get)
    counts = {status: numbers.pop(status) for status in STATUSES}
    return Delta(table, paths, before, counts, **numbers)


def _first_delta(items: DataFrame) -> DataFrame:
    return items.select(
        "*",
        F.lit(NEW).alias("status"),
        F.lit(False).alias("was_embedded"),
        F.lit(False).alias("keep"),
        F.lit(0).alias("attempts"),
        F.lit(None).cast("timestamp").alias("first_failed_at"),
    )


def _joined_to_release(items: DataFrame, before: ReleaseTables, model_id: str, settings: config.Settings) -> DataFrame:
    tasks = count_tasks(before.record.counts.items, JOINED_PER_TASK, items.sparkSession.sparkContext.defaultParallelism)
    old = _old_items(before, model_id, settings).repartition(tasks, "item_id")
    # The column is added after the shuffle: Spark gives a join of two bare shuffles its 200 parts all the same.
    new = items.repartition(tasks, "item_id").withColumn("in_catalogue", F.lit(True))
    both = new.join(old, "item_id", "full_outer")
    if "fingerprint" not in items.columns:
        version = fingerprints.version_of_picture(settings)
        both = both.withColumn("fingerprint", F.when(F.col("in_catalogue"), version))
    same_path = F.col("image_path").eqNullSafe(F.col("old_path"))
    same_picture = _same_picture(before, settings)
    gone, is_new, embedded = F.col("in_catalogue").isNull(), F.col("was_embedded").isNull(), F.col("was_embedded")
    status = (
        F.when(gone, REMOVED).when(is_new, NEW).when(~embedded, FAILED).when(same_picture, UNCHANGED).otherwise(CHANGED)
    )
    same_failure = (F.col("reason") == F.col("old_reason")) & (F.col("detail") == F.col("old_detail"))
    keep_row = same_picture & same_path & F.col("reusable") & _same_kept(items, before, settings.kept_columns)
    keep_failure = (
        F.col("old_permanent") & same_path & F.lit(before.record.same_limits(settings)) & (same_picture | same_failure)
    )
    known_hash = F.when(embedded & same_picture & F.col("reusable"), F.col("old_hash"))
    continues = ~F.coalesce(embedded, F.lit(True)) & same_path
    return both.select(
        *(name for name in items.columns if name not in ("fingerprint", "image_hash")),
        "fingerprint",
        F.coalesce("image_hash", known_hash).alias("image_hash"),
        status.alias("status"),
        F.coalesce(embedded, F.lit(False)).alias("was_embedded"),
        F.when(embedded & F.col("reusable"), F.col("old_hash")).alias("old_hash"),
        F.coalesce(~gone & F.when(embedded, keep_row).otherwise(keep_failure), F.lit(False)).alias("keep"),
        F.coalesce(F.when(continues, F.col("old_attempts")), F.lit(0)).alias("attempts"),
        F.when(continues, F.col("old_first_failed_at")).alias("first_failed_at"),
    )


def _same_picture(before: ReleaseTables, settings: config.Settings) -> Column:
    """Return whether an item has the picture that it had in the release, as far as its fingerprint tells."""
    same_fingerprint = F.col("fingerprint") == F.col("old_fingerprint")
    if settings.catalogue.change_detection == "content":  # a hash of the bytes is proof
        return F.coalesce(same_fingerprint, F.lit(False))
    # A version counts for one path, and only under limits that let the picture through.
    made_with = before.record.config
    trusted = made_with.catalogue.image_root == settings.catalogue.image_root
    trusted = trusted and (made_with.images.max_bytes or 0) <= settings.images.max_bytes
    same_path = F.col("image_path").eqNullSafe(F.col("old_path"))
    return F.coalesce(same_fingerprint & same_path & F.lit(trusted), F.lit(False))


def _old_items(before: ReleaseTables, model_id: str, settings: config.Settings) -> DataFrame:
    """Return the release's items, from both tables, with all columns but the vectors; an item is in one table."""
    known = schemas.kept_columns(before.embeddings)
    embedded = before.embeddings.select(
        *_old_columns(),
        F.lit(True).alias("was_embedded"),
        reusable(model_id, settings).alias("reusable"),
        schemas.packed([name for name in settings.kept_columns if name in known]).alias("old_kept"),
    )
    failed = before.failures.select(
        *_old_columns(),
        F.lit(False).alias("was_embedded"),
        F.col("reason").alias("old_reason"),
        F.col("detail").alias("old_detail"),
        F.col("permanent").alias("old_permanent"),
        F.col("attempts").alias("old_attempts"),
        F.col("first_failed_at").alias("old_first_failed_at"),
    )
    return embedded.unionByName(failed, allowMissingColumns=True)


def _old_columns() -> list[Column]:
    names = {"image_path": "old_path", "fingerprint": "old_fingerprint", "image_hash": "old_hash"}
    return [F.col("item_id"), *(F.col(name).alias(alias) for name, alias in names.items())]


def _same_kept(items: DataFrame, before: ReleaseTables, kept: tuple[str, ...]) -> Column:
    """Return whether the kept columns have the values of the release: `kept` against `old_kept`."""
    if not kept:
        return F.lit(True)
    if not set(kept) <= set(schemas.kept_columns(before.embeddings)):
        return F.lit(False)
    now, then = items.schema["kept"].dataType, before.embeddings.select(schemas.packed(kept)).schema["kept"].dataType
    if now.simpleString() != then.simpleString():
        return F.lit(False)
    return schemas.comparable(F.col("kept"), now).eqNullSafe(schemas.comparable(F.col("old_kept"), now))
