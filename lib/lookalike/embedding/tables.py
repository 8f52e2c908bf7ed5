"""The tables of the embed step: the embeddings and the failures of the release."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lookalike import config
from lookalike.catalogue.delta import Delta
from lookalike.catalogue.fingerprints import HASH_COLUMNS
from lookalike.embedding import stored_vectors
from lookalike.embedding.carry import Carrier, carry_rows
from lookalike.embedding.checkpoints import Checkpoints
from lookalike.models.network import CompiledModel
from lookalike.spark import parquet, schemas
from lookalike.spark.release_tables import ReleaseTables
from lookalike.warehouse.release import ReleaseFolder, Staged

# Ids or hashes, of up to 100 bytes each, that go to every executor as a whole: at most 50 MB.
BROADCAST_ROWS = 500_000

# Row groups of 1,024 vectors, so that a reader of a sample reads few.
_ROW_GROUPS = {"parquet.block.size": str(8 << 20)}

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


@dataclass(frozen=True)
class EmbeddedTables:
    """The two tables that the embed step wrote, and what it took to write them."""

    embeddings: DataFrame
    failures: DataFrame
    new_files: tuple[Path, ...]  # the files of embeddings whose rows this run wrote; it carried or linked all others
    dropped: DataFrame  # item_id: the rows of the current release's embeddings that go, or are written again
    changed: bool  # whether the embeddings differ from those of the current release
    pictures_read: int  # pictures that were read to hash them
    pictures_embedded: int  # vectors that were computed; a release or a checkpoint had the others


def broadcast_small(frame: DataFrame, rows: int) -> DataFrame:
    """Tell Spark to broadcast a table of few rows: it takes a filtered table for as large as its files.

    It would sort and shuffle every vector of the warehouse to leave out a few.
    """
    return F.broadcast(frame) if rows <= BROADCAST_ROWS else frame


@dataclass(frozen=True)
class WrittenEmbeddings:
    """The embeddings of the release, and what is new in them; see EmbeddedTables."""

    table: DataFrame
    new_files: tuple[Path, ...]
    dropped: DataFrame


def can_carry(delta: Delta, run: EmbedRun) -> bool:
    """Whether embeddings of the current release stay, in files with the columns and types that this release has."""
    before = delta.before
    return (
        before is not None
        and bool(delta.kept)
        and not before.is_damaged("embeddings")
        and before.embeddings.columns == [*schemas.EMBEDDINGS.fieldNames(), *run.settings.kept_columns]
        and not parquet.has_int96(before.release.embeddings)
    )


def carry(delta: Delta, run: EmbedRun) -> None:
    """Carry the embeddings of the current release that stay, if `can_carry`."""
    assert delta.before is not None
    stored = delta.before.release.embeddings
    if delta.dropped:
        carry_rows(delta.table.sparkSession, stored, Carrier(run.staged, delta.folder), delta.kept)
    else:
        run.staged.link_folder(stored)


def write_embeddings_table(
    delta: Delta, resolved: DataFrame, vectors: int, run: EmbedRun, carried: Callable[[], None]
) -> WrittenEmbeddings:
    """Write the new rows, and all others that `carry` does not write; `carried` waits for that.

    `resolved` are the items that need a new row; `vectors` of them have one, at `file` and `row_index`.
    """
    new = _new_rows(resolved, vectors, run)
    if delta.before is None or not can_carry(delta, run):
        return _write_all(new, delta, run)
    files = _write_new(new, run.staged) if vectors else ()
    carried()  # before Spark lists the files
    same = not files and not delta.dropped
    table = delta.before.embeddings if same else read_like(delta.before.embeddings, run.staged.embeddings)
    return WrittenEmbeddings(table, files, delta.table.where("was_embedded AND NOT keep").select("item_id"))


def _write_new(new: DataFrame, staged: Staged) -> tuple[Path, ...]:
    """Write files of their own for the new rows, next to those that are being carried; return them."""
    written = staged.work / "new"
    parquet.write(new, written, _ROW_GROUPS)
    staged.embeddings.mkdir(exist_ok=True)
    files = tuple(staged.embeddings / file.name for file in table_files(written))
    for file in files:
        os.replace(written / file.name, file)
    return files


def _new_rows(resolved: DataFrame, vectors: int, run: EmbedRun) -> DataFrame:
    """Return rows of embeddings: the items with a vector, which is read where it lies."""
    placed = resolved.where("file IS NOT NULL").drop(*_REASON_COLUMNS)
    with_vector = stored_vectors.with_vectors(placed, vectors).withColumn("model_id", F.lit(run.model.model_id))
    packed = schemas.select("embeddings", with_vector, schemas.EMBEDDINGS, ("kept",))
    return packed.select(*schemas.EMBEDDINGS.fieldNames(), *schemas.unpacked(run.settings.kept_columns))


def read_like(table: DataFrame, folder: Path) -> DataFrame:
    """Return the table in a folder, with the schema of another."""
    return parquet.read(table.sparkSession, folder, schema=table.schema)


def table_files(folder: Path) -> tuple[Path, ...]:
    """Return the files of a table, in order."""
    return tuple(sorted(folder.glob("*.parquet")))


def _write_all(new: DataFrame, delta: Delta, run: EmbedRun) -> WrittenEmbeddings:
    """Write the whole table, where no file of the current release can stay."""
    before, kept, staged = delta.before, run.settings.kept_columns, run.staged
    dropped = new.select("item_id").limit(0)
    if before is not None:
        dropped = before.embeddings.select("item_id")
        if delta.kept:
            stay = _staying(delta, before)
            new = new.unionByName(schemas.select("embeddings", stay, schemas.EMBEDDINGS, kept))
    table = parquet.write_and_read(new, staged.embeddings, _ROW_GROUPS)
    return WrittenEmbeddings(table, table_files(staged.embeddings), dropped)


def _staying(delta: Delta, before: ReleaseTables) -> DataFrame:
    """Return the embeddings of the current release that stay."""
    if not delta.dropped:
        return before.embeddings
    gone = broadcast_small(delta.table.where("was_embedded AND NOT keep").select("item_id"), delta.dropped)
    return before.embeddings.join(gone, on="item_id", how="left_anti")


def write_failures_table(delta: Delta, resolved: DataFrame, vectors: int, staged: Staged) -> DataFrame:
    """Write the failures of the current release that stay, and a row for each item that has no vector.

    `resolved` are the items that need a new row; `vectors` of them have one.
    """
    before = delta.before
    if before is not None and vectors == delta.rewritten and _stay_as_they_are(before, delta):
        staged.link_folder(before.release.failures)
        return read_like(before.failures, staged.failures)
    rows = _new_failures(resolved)
    if before is not None:
        kept = delta.table.where("keep AND NOT was_embedded").select("item_id")
        stays = before.failures.join(kept, on="item_id", how="left_semi")
        rows = rows.unionByName(schemas.select("failures", stays, schemas.FAILURES))
    return parquet.write_and_read(rows.repartition(1), staged.failures)


def _stay_as_they_are(before: ReleaseTables, delta: Delta) -> bool:
    """Whether the files of the current release's failures hold what stays of them, as this version writes it."""
    stored, now = parquet.stored_schema(before.release.failures), schemas.FAILURES
    return (
        not before.is_damaged("failures")
        and delta.kept_failures == before.record.counts.failed
        and stored is not None
        and [(one.name, one.dataType) for one in stored] == [(one.name, one.dataType) for one in now]
        and not parquet.has_int96(before.release.failures)
    )


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
