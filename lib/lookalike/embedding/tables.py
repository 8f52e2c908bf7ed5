"""The tables of the embed step: the embeddings and the failures of the release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from lookalike import config
from lookalike.catalogue.delta import Delta
from lookalike.catalogue.fingerprints import HASH_COLUMNS
from lookalike.embedding import stored_vectors
from lookalike.embedding.carry import carry_rows
from lookalike.embedding.checkpoints import Checkpoints
from lookalike.models.network import CompiledModel
from lookalike.spark import parquet, schemas, transfers
from lookalike.spark.release_tables import ReleaseTables
from lookalike.warehouse.release import ReleaseFolder, Staged

# Ids or hashes, of up to 100 bytes each, that go to every executor as a whole: at most 50 MB.
BROADCAST_ROWS = 500_000

_REASON_COLUMNS = HASH_COLUMNS.names[1:]


@dataclass(frozen=True)
class EmbedRun:
    """What the embed step works with, besides the delta: the model, the release in the making, what can be reused."""

    model: CompiledModel
    settings: config.Settings
    staged: Staged
    checkpoints: Checkpoints
    before: ReleaseTables | None = None
    earlier: Sequence[ReleaseFolder] = ()  # releases before the current one, with vectors of this model

    @property
    def since(self) -> ReleaseTables | None:
        """The current release, where it can be told what changed since."""
        return self.before if self.before and self.before.can_be_compared else None


@dataclass(frozen=True)
class EmbeddedTables:
    """The two tables that the embed step wrote, and what it took to write them."""

    embeddings: DataFrame
    failures: DataFrame
    new_files: tuple[Path, ...]  # the files of embeddings whose rows this run wrote; it carried or linked all others
    # Rows of the current release that go or are written again: item_id, and image_hash and model_id as `old_picture`,
    # of which the hash is null where the vector cannot be used again. None where no row was carried.
    dropped: DataFrame | None
    changed: bool  # whether the embeddings differ from those of the current release
    pictures_read: int  # pictures that were read to hash them
    pictures_embedded: int  # vectors that were computed; a release or a checkpoint had the others


def broadcast_small(frame: DataFrame, rows: int) -> DataFrame:
    """Tell Spark to broadcast a table of few rows: it takes a filtered table for as large as its files.

    It would sort and shuffle every vector of the warehouse to leave out a few.
    """
    return F.broadcast(frame) if rows <= BROADCAST_ROWS else frame


def can_carry(delta: Delta, run: EmbedRun) -> bool:
    """Whether embeddings of the current release stay, in files with the columns and types that this release has."""
    before = delta.before
    if before is None or not delta.kept or before.is_damaged("embeddings"):
        return False
    columns = [name for name in before.embeddings.columns if name != schemas.METADATA]
    if columns != [*schemas.EMBEDDINGS.fieldNames(), *run.settings.kept_columns]:
        return False
    first = run.staged.shared.fetch(before.sound_files("embeddings")[0])  # one run wrote them all
    return not parquet.has_int96(first)


def carry(delta: Delta, run: EmbedRun) -> DataFrame:
    """Carry the embeddings of the current release that stay, if `can_carry`; return the others, `dropped`."""
    assert delta.before is not None
    if delta.dropped:
        carry_rows(delta, run.staged)
    else:
        transfers.link_files(delta.table.sparkSession, run.staged, delta.before.sound_files("embeddings"))
    old = F.struct(F.col("old_hash").alias("image_hash"), F.lit(run.model.model_id).alias("model_id"))
    return going(delta).select("item_id", old.alias("old_picture"))


def going(delta: Delta) -> DataFrame:
    """Return the items with a row in the current release's embeddings that goes, or is written again."""
    return delta.table.where("was_embedded AND NOT keep")


def schema_of(resolved: DataFrame, run: EmbedRun) -> StructType:
    """Return the schema of embeddings with the kept columns."""
    kept = resolved.select(*schemas.unpacked(run.settings.kept_columns)).schema
    return StructType([*schemas.EMBEDDINGS, *kept])


def read_embeddings(resolved: DataFrame, run: EmbedRun) -> DataFrame:
    """Return the embeddings of the release in the making."""
    paths = run.staged.paths("embeddings")
    return parquet.read_placed(resolved.sparkSession, run.staged.shared, paths, schema_of(resolved, run))


def write_new_rows(resolved: DataFrame, vectors: int, run: EmbedRun) -> list[Path]:
    """Write rows of embeddings: of the items that need one, those with a vector, which is read where it lies.

    `vectors` of them have one, at `file` and `row_index`. Returns the files.
    """
    staged, schema = run.staged, schema_of(resolved, run)
    placed = resolved.where("file IS NOT NULL").select(*stored_vectors.PLACED)
    add = stored_vectors.WithVectors(staged.shared, run.model.model_id, schemas.as_arrow(schema))
    return parquet.write_part(stored_vectors.spread(placed, vectors), staged.embeddings, staged, schema, add)


def write_staying_rows(delta: Delta, run: EmbedRun) -> list[Path]:
    """Write the rows of the current release that stay, where its files cannot be carried; return the files."""
    if delta.before is None or not delta.kept:
        return []
    stay = delta.before.embeddings
    if delta.dropped:
        gone = broadcast_small(going(delta).select("item_id"), delta.dropped)
        stay = stay.join(gone, on="item_id", how="left_anti")
    rows = schemas.select("embeddings", stay, schemas.EMBEDDINGS, run.settings.kept_columns)
    return parquet.write_part(rows, run.staged.embeddings, run.staged, rows.schema)


def write_failures_table(delta: Delta, resolved: DataFrame, vectors: int, staged: Staged) -> DataFrame:
    """Write the failures of the current release that stay, and a row for each item that has no vector.

    `resolved` are the items that need a new row; `vectors` of them have one.
    """
    before, spark = delta.before, delta.table.sparkSession
    if before is not None and vectors == delta.rewritten and _stay_as_they_are(before, delta, staged):
        transfers.link_files(spark, staged, before.sound_files("failures"))
    else:
        rows = _new_failures(resolved)
        if before is not None:
            kept = delta.table.where("keep AND NOT was_embedded").select("item_id")
            stays = before.failures.join(kept, on="item_id", how="left_semi")
            rows = rows.unionByName(schemas.select("failures", stays, schemas.FAILURES))
        in_order = rows.repartition(1).sortWithinPartitions("item_id")
        parquet.write_part(in_order, staged.failures, staged, schemas.FAILURES)
    return parquet.read(spark, staged.shared, staged.paths("failures"), schemas.FAILURES)


def _stay_as_they_are(before: ReleaseTables, delta: Delta, staged: Staged) -> bool:
    """Whether the files of the current release's failures hold what stays of them, as this version writes it."""
    files = before.sound_files("failures")
    if before.is_damaged("failures") or delta.kept_failures != before.record.counts.failed or not files:
        return False
    copy, now = staged.shared.fetch(files[0]), schemas.FAILURES
    same = [(one.name, one.dataType) for one in parquet.stored_schema(copy)] == [
        (one.name, one.dataType) for one in now
    ]
    return same and not parquet.has_int96(copy)


def _new_failures(resolved: DataFrame) -> DataFrame:
    """Return a row for each item without a vector: unread, not embedded, or with no outcome at all."""
    changed = "its bytes changed, or could not be read again, after they were hashed"
    now = F.current_timestamp()
    rows = resolved.where("file IS NULL").select(
        "item_id",
        "image_path",
        "fingerprint",
        "image_hash",
        F.coalesce("reason", F.lit("server_error")).alias("reason"),
        F.coalesce("detail", F.lit(changed)).alias("detail"),
        F.coalesce("permanent", F.lit(False)).alias("permanent"),
        (F.col("attempts") + 1).alias("attempts"),
        F.coalesce("first_failed_at", now).alias("first_failed_at"),
        now.alias("last_failed_at"),
    )
    return schemas.select("failures", rows, schemas.FAILURES)
