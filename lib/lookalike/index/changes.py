"""What changed in the items since the previous index: who came, who left, and whose constraints alone differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, BooleanType, IntegerType, LongType, StringType, StructField, StructType

from lookalike import config
from lookalike.errors import ManifestError
from lookalike.index import manifest
from lookalike.index.built import POSITION_BITS
from lookalike.index.constraints import item_rows
from lookalike.index.manifest import Manifest, ManifestShard
from lookalike.progress import say_detail
from lookalike.spark import parquet, schemas
from lookalike.spark.release_tables import ReleaseTables
from lookalike.topk.items import Ids, as_ids
from lookalike.warehouse.shared_files import SharedFiles

# Changes that the driver plans with: 500,000 of 100 bytes are 50 MB.
MAX_CHANGED = 500_000

_POSITIONS = StructType(
    [
        StructField("position", IntegerType()),
        StructField("item_id", StringType()),
        StructField("deleted", BooleanType()),
        StructField("eligible", BooleanType()),
        StructField("variant_group", LongType()),
        StructField("group_codes", ArrayType(LongType())),
    ]
)


@dataclass(frozen=True)
class IndexInputs:
    """What an index is built from: `embeddings`, read from files of the release in the making, and the release before.

    `new_files` are the files with rows of this run; `dropped` the items of the release before that go or have a new
    row, with the picture that they had (see embedding.tables.EmbeddedTables). None: all items are compared.
    """

    embeddings: DataFrame
    before: ReleaseTables | None = None
    new_files: Sequence[Path] = ()
    dropped: DataFrame | None = None


@dataclass(frozen=True)
class IndexChanges:
    """A row for each changed item of `before`, the index in `folder`.

    The columns of `constraints.item_rows` are null for an item that left; `place`, `old_group` and `old_eligible` for
    one that came. `stays` tells whether it has the vector and the group that it had.
    """

    before: Manifest
    folder: Path
    table: pa.Table

    @property
    def dimensions(self) -> int:
        """Of the vectors of the index before, which has some."""
        assert self.before.dimensions is not None
        return self.before.dimensions

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """The place of each item in the index before, -1 for one that came."""
        found: NDArray[np.int64] = self.table["place"].fill_null(-1).to_numpy()
        return found

    @cached_property
    def stays(self) -> NDArray[np.bool_]:
        """Whether each item keeps its position: vector and group are the same, some constraint is not."""
        found: NDArray[np.bool_] = self.table["stays"].to_numpy()
        return found

    @cached_property
    def comes(self) -> NDArray[np.bool_]:
        """Whether each item needs a new position."""
        there: NDArray[np.bool_] = self.table["source"].is_valid().to_numpy()
        return there & ~self.stays

    @cached_property
    def leaves(self) -> NDArray[np.bool_]:
        """Whether each item leaves a tombstone."""
        return (self.places >= 0) & ~self.stays

    @cached_property
    def live_by_group(self) -> dict[str | None, int]:
        """How many of them are there now, by group."""
        there = self.table.filter(self.table["source"].is_valid())
        counted = there.group_by("group").aggregate([("item_id", "count")])
        return dict(zip(counted["group"].to_pylist(), counted["item_id_count"].to_pylist(), strict=True))

    @cached_property
    def candidates_by_group(self) -> Counter[str | None]:
        """How many more items of each group may be recommended than before, or fewer."""
        more = _count(self.table, "group", "eligible")
        more.subtract(_count(self.table, "old_group", "old_eligible"))
        return more

    @property
    def groups(self) -> frozenset[str | None]:
        """The groups in which something changed, those that items left among them."""
        old = self.table.filter(self.table["place"].is_valid())["old_group"].to_pylist()
        return frozenset(self.live_by_group.keys() | set(old))

    @cached_property
    def ids(self) -> Ids:
        """All of them, ascending."""
        return np.sort(as_ids(self.table["item_id"]))


def _count(table: pa.Table, group: str, flag: str) -> Counter[str | None]:
    """How many rows of each group have a flag."""
    return Counter(table.filter(pc.fill_null(table[flag], False))[group].to_pylist())


def find_changes(inputs: IndexInputs, shared: SharedFiles, settings: config.Settings) -> IndexChanges | None:
    """Return what changed since the previous index; None where the whole index is to be built."""
    if inputs.before is None:
        return None
    known = _to_refresh(inputs.before, settings)
    if isinstance(known, str):
        say_detail(f"the whole index is built again: {known}")
        return None
    most, why = int(settings.index.compact_share * sum(shard.live for shard in known.shards)), "index.compact_share"
    if most > MAX_CHANGED:
        most, why = MAX_CHANGED, "the most that a refresh plans with; it takes as long as in a first run"
    found = _changed(inputs, known, shared, settings).limit(most + 1).toArrow()
    if len(found) > most:
        say_detail(f"the whole index is built again: more than {most:,} items changed ({why})")
        return None
    return IndexChanges(known, inputs.before.release.index, found)


def _to_refresh(before: ReleaseTables, settings: config.Settings) -> Manifest | str:
    """Return the manifest of the previous index, or why the index cannot be refreshed."""
    if before.is_damaged("index"):
        return "that of the current release is damaged"
    index, stored = settings.index, before.record.config.as_stored().get("index", {})
    if {**stored, "compact_share": index.compact_share} != index.model_dump(mode="json"):  # it makes no other shards
        return "other settings of `index`"
    try:
        known = manifest.of(before.release)
    except ManifestError as error:
        return str(error)
    if known.version != manifest.VERSION:
        return "that of the current release is of another version of lookalike"
    if known.group_by != settings.similar.group_by:
        return "another similar.group_by"
    return known if known.shards else "that of the current release is empty"


def _changed(inputs: IndexInputs, known: Manifest, shared: SharedFiles, settings: config.Settings) -> DataFrame:
    before, similar = inputs.before, settings.similar
    assert before is not None
    old = read_positions(inputs.embeddings.sparkSession, shared, before.release.index, known.shards)
    new = item_rows(inputs.embeddings, similar)
    sound = before.record.of_this_version and before.record.config.same(settings, "similar")
    if sound and not before.is_damaged("embeddings") and inputs.dropped is not None:
        old = old.join(inputs.dropped, on="item_id", how="inner")
        new = new.limit(0)
        if inputs.new_files:
            schema = StructType([field for field in inputs.embeddings.schema if field.name != schemas.METADATA])
            new = item_rows(parquet.read_placed(old.sparkSession, shared, inputs.new_files, schema), similar)
    else:
        pictures = before.embeddings.select("item_id", F.struct("image_hash", "model_id").alias("old_picture"))
        old = old.join(pictures, on="item_id", how="left")
    both = old.alias("old").join(new.alias("new"), on="item_id", how="full_outer")
    same_picture = F.col("old_picture") == F.struct("new.image_hash", "new.model_id")
    stays = F.coalesce(same_picture & F.col("old.group").eqNullSafe(F.col("new.group")), F.lit(False))
    same = stays
    for name in ("variant_group", "eligible", "group_codes"):
        same = same & F.col(f"old.{name}").eqNullSafe(F.col(f"new.{name}"))
    columns = ("group", "variant_group", "eligible", "group_codes", "source", "row")
    return both.where(~same).select(
        "item_id",
        *(F.col(f"new.{name}").alias(name) for name in columns),
        stays.alias("stays"),
        "place",
        F.col("old.group").alias("old_group"),
        F.col("old.eligible").alias("old_eligible"),
    )


def read_positions(
    spark: SparkSession, shared: SharedFiles, folder: Path, shards: Sequence[ManifestShard]
) -> DataFrame:
    """Return item_id, group, shard, position, place and constraints of the live items of some shards of an index."""
    names = pa.table(
        {
            "file": [shard.items_file for shard in shards],
            "shard": pa.array([shard.number for shard in shards], pa.int32()),
            "group": pa.array([shard.group for shard in shards], pa.string()),
        }
    )
    return (
        parquet.read_placed(spark, shared, [folder / shard.items_file for shard in shards], _POSITIONS)
        .where("NOT deleted")
        .withColumn("file", F.col("_metadata.file_name"))
        .join(F.broadcast(spark.createDataFrame(names)), on="file", how="inner")
        .withColumn("place", F.shiftleft(F.col("shard").cast("long"), POSITION_BITS) + F.col("position"))
        .select("item_id", "group", "shard", "position", "place", "variant_group", "eligible", "group_codes")
    )
