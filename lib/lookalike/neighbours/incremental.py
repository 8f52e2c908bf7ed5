"""Which items a refresh has to search again, and which lists of the previous release it repairs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lookalike import config
from lookalike.index import manifest
from lookalike.index.built import BuiltIndex
from lookalike.index.changes import read_positions
from lookalike.index.step import index_items
from lookalike.progress import say_detail
from lookalike.spark.release_tables import ReleaseTables
from lookalike.topk.items import Ids, as_ids, as_text
from lookalike.warehouse.record import ReleaseRecord

# Ids that are sent to every task: 100,000 of 20 bytes are 2 MB.
MAX_CHANGED = 500_000


@dataclass(frozen=True)
class NeighbourChanges:
    """What changed since the release `before`, which has lists.

    `ids` [n], ascending, are the items that came, left or changed, those of a variant or duplicate group in which one
    did, and the variants of items that may represent their duplicate group now and did not before, or the reverse. An
    item that is not among them has the vector, groups and constraints that it had, and so have its variants.
    """

    ids: Ids
    before: ReleaseTables
    since_full: int  # releases since all lists were searched


def find_changes(
    spark: SparkSession, before: ReleaseTables | None, index: BuiltIndex, settings: config.Settings
) -> NeighbourChanges | None:
    """Return what changed since the release `before`; None when all lists have to be searched, and say why."""
    if before is None or before.neighbours is None or index.changed is None:
        return None  # which is the first release, or was said before
    since_full = _since_full(before.record, settings)
    if isinstance(since_full, str):
        _say_all(since_full)
        return None
    ids = index.changed
    if settings.similar.variant_of is not None:
        ids = _with_variants(_variants(spark, index, before), ids)
    return _unless_too_many(NeighbourChanges(ids, before, since_full))


def with_groups(
    spark: SparkSession,
    index: BuiltIndex,
    changes: NeighbourChanges | None,
    touched: Ids | None,
    settings: config.Settings,
) -> NeighbourChanges | None:
    """Return the changes with the items of duplicate groups that changed, and the variants of these.

    Where an item no longer represents its picture, a variant of it takes its place in lists. None where all items were
    compared for duplicates, and all lists have to be searched.
    """
    if changes is None:
        return None
    if touched is None:
        _say_all("all items were compared for duplicates")
        return None
    more = np.setdiff1d(touched, changes.ids)
    if len(more) and settings.similar.variant_of is not None:
        more = _with_variants(index_items(spark, index), more)
    return _unless_too_many(replace(changes, ids=np.union1d(changes.ids, more)))


def _unless_too_many(changes: NeighbourChanges) -> NeighbourChanges | None:
    if len(changes.ids) <= MAX_CHANGED:
        return changes
    many = f"more than {MAX_CHANGED:,} items changed, their variants and duplicates among them"
    _say_all(f"{many}, the most that is sent to every task")
    return None


def _say_all(why: str) -> None:
    """Say that no list is repaired; what that costs, the plans say."""
    say_detail(f"all lists are searched again, as in a first run: {why}")


def _since_full(record: ReleaseRecord, settings: config.Settings) -> int | str:
    """How many releases this one is after the last with all lists searched, or why it has to be one itself."""
    if not record.of_this_version:
        return "the current release is of another version of lookalike"
    if not record.config.same(settings, "similar"):
        return "other settings of `similar`"
    since = record.neighbours.since_full
    if since is None or since + 1 >= settings.similar.full_every:
        return f"similar.full_every, {settings.similar.full_every} releases"
    return since + 1


def _variants(spark: SparkSession, index: BuiltIndex, before: ReleaseTables) -> DataFrame:
    """The items of both releases with their variant groups."""
    release = before.release
    known = read_positions(spark, release.shared, release.index, manifest.of(release).shards)
    columns = ("item_id", "variant_group")
    return known.select(*columns).unionByName(index_items(spark, index).select(*columns))


def _with_variants(known: DataFrame, ids: Ids) -> Ids:
    """Return `ids` and the variants of these among `known`, ascending; at most MAX_CHANGED + 1 variants."""
    some = known.sparkSession.createDataFrame(pa.table({"item_id": as_text(ids)}))
    groups = known.join(F.broadcast(some), on="item_id", how="left_semi").select("variant_group").distinct()
    found = known.join(F.broadcast(groups), on="variant_group", how="left_semi").select("item_id").distinct()
    variants = found.limit(MAX_CHANGED + 1).toArrow()["item_id"]
    return np.union1d(ids, as_ids(variants)) if len(variants) else ids
