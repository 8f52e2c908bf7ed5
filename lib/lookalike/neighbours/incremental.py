"""Which items a refresh has to search again, and which lists of the previous release it updates in place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lookalike import config
from lookalike.index.constraints import with_constraints
from lookalike.spark import parquet, schemas
from lookalike.spark.release_tables import ReleaseTables
from lookalike.topk.items import Ids, as_ids, as_text

# Ids that are sent to every task: 100,000 of 20 bytes are 2 MB.
MAX_CHANGED = 500_000

# Above this share of the items, searching for all lists costs no more than updating them.
MAX_CHANGED_SHARE = 0.2


@dataclass(frozen=True)
class NeighbourChanges:
    """What changed since the previous release, and its lists.

    `ids` [n], ascending, are the items that came, left or changed, those of a variant or duplicate group in which one
    did, and the variants of items that may represent their duplicate group now and did not before, or the reverse. An
    item that is not among them has the vector, groups and constraints that it had, and so have its variants.
    """

    ids: Ids
    lists: DataFrame  # schemas.NEIGHBOURS of the previous release
    previous_duplicates: DataFrame | None
    since_full: int  # releases since all lists were searched

    def with_ids(self, more: Ids) -> NeighbourChanges | None:
        """Return the changes with further items; None when they are so many that all lists have to be searched."""
        ids = np.union1d(self.ids, more)
        return replace(self, ids=ids) if len(ids) <= MAX_CHANGED else None


def find_changes(
    before: ReleaseTables | None, embeddings: DataFrame, settings: config.Settings, work: Path
) -> NeighbourChanges | None:
    """Return what changed since the release `before`; None when all lists have to be searched. Writes into `work`."""
    since_full = _since_full(before, settings)
    if before is None or before.neighbours is None or since_full is None:
        return None
    changed = _changed_items(before.embeddings, embeddings, settings.similar, work / "changed")
    most = min(MAX_CHANGED, int(MAX_CHANGED_SHARE * before.record.counts.embedded))
    ids = changed.limit(most + 1).toArrow()["item_id"]
    if len(ids) > most:
        return None
    return NeighbourChanges(np.sort(as_ids(ids)), before.neighbours, before.duplicates, since_full)


def _since_full(before: ReleaseTables | None, settings: config.Settings) -> int | None:
    """How many releases this one is after the last with all lists searched; None when it has to be one itself."""
    if before is None:
        return None
    record = before.record
    if not record.of_this_version or not record.config.same(settings, "similar"):
        return None
    since = record.neighbours.since_full
    return since + 1 if since is not None and since + 1 < settings.similar.full_every else None


def _changed_items(
    before: DataFrame, embeddings: DataFrame, similar: config.SimilarSettings, folder: Path
) -> DataFrame:
    """Return the item_ids of NeighbourChanges.ids, except those that share a duplicate group."""
    old, new = _identity(before, similar), _identity(embeddings, similar)
    both = old.alias("old").join(new.alias("new"), on="item_id", how="full_outer")
    differs = ~F.coalesce(F.col("old.identity") == F.col("new.identity"), F.lit(False))
    groups = F.array_compact(F.array("old.search_variant_group", "new.search_variant_group"))
    changed = parquet.write_and_read(both.where(differs).select("item_id", groups.alias("groups")), folder)
    if not similar.variant_of:
        return changed.select("item_id")
    touched = changed.select(F.explode("groups").alias("search_variant_group")).distinct()
    members = old.unionByName(new).join(touched, on="search_variant_group", how="left_semi").select("item_id")
    return changed.select("item_id").unionByName(members).distinct()


def with_variants(items: DataFrame, ids: Ids) -> Ids:
    """Return `ids` and the variants of these among `items`, ascending; at most MAX_CHANGED + 1 variants."""
    some = items.sparkSession.createDataFrame(pa.table({"item_id": as_text(ids)}))
    known = items.select("item_id", "search_variant_group")
    groups = known.join(F.broadcast(some), on="item_id", how="left_semi").select("search_variant_group").distinct()
    found = known.join(F.broadcast(groups), on="search_variant_group", how="left_semi").select("item_id")
    variants = found.limit(MAX_CHANGED + 1).toArrow()["item_id"]
    return np.union1d(ids, as_ids(variants)) if len(variants) else ids


def _identity(embeddings: DataFrame, similar: config.SimilarSettings) -> DataFrame:
    """item_id, variant group, and all that decides which neighbours an item has and where it is one."""
    identity = F.struct("image_hash", "model_id", *schemas.CONSTRAINTS).alias("identity")
    return with_constraints(embeddings, similar).select("item_id", "search_variant_group", identity)
