"""The catalogue against the current release: what is new, changed, unchanged, removed, or failed before."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F

from lookalike import config
from lookalike.catalogue import fingerprints
from lookalike.errors import WarehouseError
from lookalike.images.picture import TRUNCATED
from lookalike.spark import parquet, schemas
from lookalike.spark.release_tables import ReleaseTables
from lookalike.warehouse.release import ReleaseFolder

# Releases, beside the current one, in which a picture that comes back is looked for: a week of nights.
EARLIER_RELEASES = 7

NEW, CHANGED, UNCHANGED, REMOVED, FAILED = STATUSES = ("new", "changed", "unchanged", "removed", "failed")


@dataclass(frozen=True)
class Delta:
    """The catalogue's items with their status (a table, see `compare`), and how many there are of each kind."""

    table: DataFrame
    before: ReleaseTables | None
    counts: dict[str, int]  # of each status
    to_read: int  # items whose bytes must be read
    kept: int  # embeddings that stay as they are
    dropped: int  # embeddings of the current release that do not
    rewritten: int  # items that need a new row in embeddings or failures
    looked_at: int  # items whose bytes were read for the comparison itself

    @property
    def read(self) -> int:
        """Pictures whose bytes the run reads to hash them."""
        return self.looked_at + self.to_read

    @property
    def is_nothing(self) -> bool:
        """Whether every row of the current release stays as it is."""
        return self.before is not None and not self.counts[REMOVED] and not self.dropped and not self.rewritten

    def line(self) -> str:
        """For a person."""
        words = {**self.counts, "failed before": self.counts[FAILED]}
        return ", ".join(f"{words[name]:,} {name}" for name in (NEW, CHANGED, UNCHANGED, REMOVED, "failed before"))


def reusable(model_id: str, settings: config.Settings) -> Column:
    """Of an embeddings row: whether this model would give its vector again, within the limits of today."""
    pixels = F.col("width").cast("long") * F.col("height")
    whole = F.lit(settings.images.accept_truncated) | ~F.array_contains("fixes", TRUNCATED)
    return (F.col("model_id") == model_id) & (pixels <= settings.images.max_pixels) & whole


def earlier_releases(
    releases: Sequence[ReleaseFolder], model_id: str, current: ReleaseFolder | None
) -> list[ReleaseFolder]:
    """The newest of the other releases whose vectors this model gave; a damaged one is passed over."""
    found: list[ReleaseFolder] = []
    for release in reversed(releases):
        if len(found) == EARLIER_RELEASES or (current and release.release_id == current.release_id):
            continue
        with suppress(WarehouseError):
            if release.record().model.model_id == model_id and release.embeddings.is_dir():
                found.append(release)
    return found


def compare_to_release(
    seen: DataFrame, before: ReleaseTables | None, model_id: str, settings: config.Settings, work: Path
) -> Delta:
    """Join the catalogue, with fingerprints, to the current release by item_id; written to `work`.

    A row of the table is an item of either: the columns of `seen`, with the kept ones as one struct; `status`;
    `image_hash`, where it is known without reading; `was_embedded`; `keep`, when the row that the release has is right
    as it is; `attempts` and `first_failed_at` of a failure that goes on.
    """
    flat = [*schemas.ITEMS.fieldNames(), *fingerprints.HASH_COLUMNS.fieldNames()]
    packed = seen.select(*flat, schemas.packed(settings.kept_columns))
    frame = _all_new(packed) if before is None else _joined(packed, before, model_id, settings)
    to_read = F.col("image_hash").isNull() & F.col("reason").isNull()
    here, kept = F.col("status") != REMOVED, F.col("keep")
    counts_of = Observation("diff")  # while it is written: a look at the table would be a job of its own
    counted = frame.observe(
        counts_of,
        *(F.count_if(F.col("status") == status).alias(status) for status in STATUSES),
        F.count_if(here & ~kept & to_read).alias("to_read"),
        F.count_if(F.col("was_embedded") & kept).alias("kept"),
        F.count_if(F.col("was_embedded") & ~kept).alias("dropped"),
        F.count_if(here & ~kept).alias("rewritten"),
    )
    table = parquet.write_and_read(counted, work / "diff")
    numbers = dict(counts_of.get)
    counts = {status: numbers.pop(status) for status in STATUSES}
    here_now = sum(counts.values()) - counts[REMOVED]
    looked_at = here_now if settings.catalogue.change_detection == "content" else 0
    return Delta(table, before, counts, **numbers, looked_at=looked_at)


def _all_new(seen: DataFrame) -> DataFrame:
    return seen.select(
        "*",
        F.lit(NEW).alias("status"),
        F.lit(False).alias("was_embedded"),
        F.lit(False).alias("keep"),
        F.lit(0).alias("attempts"),
        F.lit(None).cast("timestamp").alias("first_failed_at"),
    )


def _joined(seen: DataFrame, before: ReleaseTables, model_id: str, settings: config.Settings) -> DataFrame:
    both = seen.withColumn("seen", F.lit(True)).join(
        _remembered(before, model_id, settings), on="item_id", how="full_outer"
    )
    content, made_with = settings.catalogue.change_detection == "content", before.record.config
    # The bytes themselves are proof; a fingerprint speaks of one place, under limits that let it through.
    trusted = content or (
        made_with.catalogue.image_root == settings.catalogue.image_root
        and (made_with.images.max_bytes or 0) <= settings.images.max_bytes
    )
    same_path = F.col("image_path").eqNullSafe(F.col("old_path"))
    same_print = (F.col("fingerprint") == F.col("old_fingerprint")) & F.lit(trusted)
    same_picture = F.coalesce(same_print if content else same_print & same_path, F.lit(False))
    gone, fresh, sound = F.col("seen").isNull(), F.col("was_embedded").isNull(), F.col("was_embedded")
    status = (
        F.when(gone, REMOVED).when(fresh, NEW).when(~sound, FAILED).when(same_picture, UNCHANGED).otherwise(CHANGED)
    )
    same_failure = (F.col("reason") == F.col("old_reason")) & (F.col("detail") == F.col("old_detail"))
    keep_row = same_picture & same_path & F.col("usable") & _same_columns(seen, before, settings.kept_columns)
    keep_failure = (
        F.col("old_permanent") & same_path & F.lit(before.record.same_limits(settings)) & (same_picture | same_failure)
    )
    goes_on = ~F.coalesce(sound, F.lit(True)) & same_path
    return both.select(
        *(name for name in seen.columns if name != "image_hash"),
        F.coalesce("image_hash", F.when(sound & same_picture & F.col("usable"), F.col("old_hash"))).alias("image_hash"),
        status.alias("status"),
        F.coalesce(sound, F.lit(False)).alias("was_embedded"),
        F.coalesce(~gone & F.when(sound, keep_row).otherwise(keep_failure), F.lit(False)).alias("keep"),
        F.coalesce(F.when(goes_on, F.col("old_attempts")), F.lit(0)).alias("attempts"),
        F.when(goes_on, F.col("old_first_failed_at")).alias("first_failed_at"),
    )


def _remembered(before: ReleaseTables, model_id: str, settings: config.Settings) -> DataFrame:
    """The small columns of both tables; an item is in one of them."""
    embedded = before.embeddings.select(
        *_old_columns(),
        F.lit(True).alias("was_embedded"),
        reusable(model_id, settings).alias("usable"),
        schemas.packed([name for name in settings.kept_columns if name in _kept(before)]).alias("old_kept"),
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


def _kept(before: ReleaseTables) -> tuple[str, ...]:
    return tuple(name for name in before.embeddings.columns if name not in schemas.EMBEDDINGS.fieldNames())


def _same_columns(seen: DataFrame, before: ReleaseTables, kept: tuple[str, ...]) -> Column:
    """Whether the kept columns hold what they held; `seen` has them as `kept`, what was before as `old_kept`."""
    if not kept:
        return F.lit(True)
    if not set(kept) <= set(_kept(before)):
        return F.lit(False)
    now = seen.schema["kept"].dataType.simpleString()
    then = before.embeddings.select(schemas.packed(kept)).schema["kept"].dataType.simpleString()
    if now != then:
        return F.lit(False)
    if "map<" in now:  # Spark compares no maps
        return F.to_json("kept").eqNullSafe(F.to_json("old_kept"))
    return F.col("kept").eqNullSafe(F.col("old_kept"))
