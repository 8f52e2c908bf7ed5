"""Which items' neighbours a refresh has to look at anew, and which lists it can go on from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lookalike import config
from lookalike.neighbours import constraints
from lookalike.spark import parquet, schemas
from lookalike.spark.release_tables import ReleaseTables
from lookalike.topk.items import Ids, as_ids
from lookalike.warehouse.release import Staged

# Ids that go to every task in one piece: 100,000 of 20 bytes are 2 MB.
MOST = 500_000

# Above this share of the items, looking at all lists costs no more than mending them.
MOST_SHARE = 0.2


@dataclass(frozen=True)
class NeighbourChanges:
    """The lists before; and `ids` [n], ascending, of what came, went or changed since, or shares a slot with such.

    An item that is not among them has the vector, the group and the rules that it had.
    """

    ids: Ids
    lists: DataFrame
    since_full: int  # releases since all lists were computed

    def with_ids(self, more: Ids) -> NeighbourChanges:
        """With further items that changed."""
        return NeighbourChanges(np.union1d(self.ids, more), self.lists, self.since_full)


def find_changes(
    before: ReleaseTables | None, embeddings: DataFrame, settings: config.Settings, staged: Staged
) -> NeighbourChanges | None:
    """What changed since the current release; None when all lists are to be computed anew."""
    since_full = _since_full(before, settings)
    if before is None or since_full is None:
        return None
    similar = settings.similar
    old, new = _identity(before.embeddings, similar), _identity(embeddings, similar)
    both = old.alias("old").join(new.alias("new"), on="item_id", how="full_outer")
    differs = ~F.coalesce(F.col("old.identity") == F.col("new.identity"), F.lit(False))
    folder = staged.work / "changed"
    slots = F.array_compact(F.array("old.rule_slot", "new.rule_slot")).alias("slots")
    changed = parquet.write_and_read(both.where(differs).select("item_id", slots), folder)
    spark = embeddings.sparkSession
    if similar.variant_of:
        touched = changed.select(F.explode("slots").alias("rule_slot")).distinct()
        members = old.unionByName(new).join(touched, on="rule_slot", how="left_semi").select("item_id")
        changed = changed.select("item_id").unionByName(members).distinct()
    most = min(MOST, int(MOST_SHARE * before.record.counts.embedded))
    ids = changed.select("item_id").limit(most + 1).toArrow()["item_id"]
    if len(ids) > most:
        return None
    lists = parquet.read(spark, before.release.neighbours, schema=schemas.NEIGHBOURS)
    return NeighbourChanges(np.sort(as_ids(ids)), lists, since_full)


def _since_full(before: ReleaseTables | None, settings: config.Settings) -> int | None:
    """How many releases this one would be after the last whose lists were all computed; None when it has to be one."""
    if before is None or not before.release.neighbours.is_dir():
        return None
    record = before.record
    if not record.of_this_version or not record.config.same(settings, "similar"):
        return None
    since = record.neighbours.since_full
    return since + 1 if since is not None and since + 1 < settings.similar.full_every else None


def _identity(embeddings: DataFrame, similar: config.SimilarSettings) -> DataFrame:
    """item_id, slot, and all that decides who an item's neighbours are and whose neighbour it is."""
    decides = F.struct("image_hash", "model_id", *schemas.RULES).alias("identity")
    return constraints.with_rules(embeddings, similar).select("item_id", "rule_slot", decides)
