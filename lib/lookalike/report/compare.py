"""Compare two releases: items that were added or removed, or have another picture or other neighbours."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from lookalike.spark.release_tables import ReleaseTables

EXAMPLES = 5


@dataclass(frozen=True)
class PictureChange:
    """An item with another picture: its hash before and after, or the reason why it could not be read."""

    item_id: str
    before: str
    after: str


@dataclass(frozen=True)
class ListChange:
    """The neighbours that left an item's list and those that came, best first; none when only the order changed."""

    item_id: str
    went: list[str]
    came: list[str]


@dataclass(frozen=True)
class Comparison:
    """How many items differ in each way, and the first EXAMPLES of each by item id.

    An item that is in one release only counts as added or removed, and in no other way.
    """

    in_both: int
    added: int
    removed: int
    pictures: int
    neighbours: int
    added_examples: list[str]
    removed_examples: list[str]
    picture_examples: list[PictureChange]
    neighbour_examples: list[ListChange]


def compare(old: ReleaseTables, new: ReleaseTables) -> Comparison:
    """Return what changed from one release to the other.

    A picture changed when its bytes did, or when it could be read in one of the two only. Neighbours changed when the
    list by rank did; scores are not compared.
    """
    items = _joined(old, new).persist()  # one narrow row an item, so that the tables are read once
    try:
        return _found(items, old, new)
    finally:
        items.unpersist()


def _joined(old: ReleaseTables, new: ReleaseTables) -> DataFrame:
    """Return a row an item of either release: item_id, added, removed, picture, neighbours (all booleans), old, new."""
    both = _items(old, "old").join(_items(new, "new"), on="item_id", how="full_outer")
    added, removed = F.col("old").isNull(), F.col("new").isNull()
    same_hash = F.col("old.image_hash").eqNullSafe(F.col("new.image_hash"))
    # Not every failure has a hash: its reason is then what is known of the picture.
    no_hash = F.col("old.image_hash").isNull() | F.col("new.image_hash").isNull()
    same_reason = F.coalesce(F.col("old.reason") == F.col("new.reason"), F.lit(False))
    same_list = F.col("old.list").eqNullSafe(F.col("new.list"))
    return both.select(
        "item_id",
        added.alias("added"),
        removed.alias("removed"),
        (~added & ~removed & ~(same_hash | (no_hash & same_reason))).alias("picture"),
        (~added & ~removed & ~same_list).alias("neighbours"),
        "old",
        "new",
    )


def _items(side: ReleaseTables, name: str) -> DataFrame:
    """Return item_id and a struct of what is compared."""
    embedded = side.embeddings.select("item_id", "image_hash", F.lit(None).cast("string").alias("reason"))
    items = embedded.unionByName(side.failures.select("item_id", "image_hash", "reason"))
    # A list is compared by one number of 64 bits, which Spark computes where the rows lie: one row an item goes through
    # the shuffle instead of k. Each term holds its rank, so that no two terms cancel out.
    digest = F.bit_xor(F.xxhash64("rank", "similar_item_id")).alias("list")
    lists = side.similar_items.groupBy("item_id").agg(digest)
    return items.join(lists, on="item_id", how="left").select(
        "item_id", F.struct("image_hash", "reason", "list").alias(name)
    )


def _found(items: DataFrame, old: ReleaseTables, new: ReleaseTables) -> Comparison:
    kinds = ("added", "removed", "picture", "neighbours")
    counts = items.agg(F.count("*").alias("all"), *(F.count_if(kind).alias(kind) for kind in kinds)).first()
    assert counts is not None  # an aggregate without keys has one row
    rows = {kind: items.where(kind).orderBy("item_id").limit(EXAMPLES).collect() for kind in kinds}
    ids = {kind: [str(row["item_id"]) for row in found] for kind, found in rows.items()}
    before, after = (_some_lists(side, ids["neighbours"]) for side in (old, new))
    return Comparison(
        in_both=counts["all"] - counts["added"] - counts["removed"],
        added=counts["added"],
        removed=counts["removed"],
        pictures=counts["picture"],
        neighbours=counts["neighbours"],
        added_examples=ids["added"],
        removed_examples=ids["removed"],
        picture_examples=[
            PictureChange(row["item_id"], _picture(row["old"]), _picture(row["new"])) for row in rows["picture"]
        ],
        neighbour_examples=[
            ListChange(
                item_id,
                went=[other for other in before[item_id] if other not in after[item_id]],
                came=[other for other in after[item_id] if other not in before[item_id]],
            )
            for item_id in ids["neighbours"]
        ],
    )


def _some_lists(side: ReleaseTables, item_ids: list[str]) -> dict[str, list[str]]:
    """Return the neighbours of a few items, best first."""
    found: dict[str, list[str]] = defaultdict(list)
    rows = side.similar_items.where(F.col("item_id").isin(item_ids)).orderBy("item_id", "rank")
    for row in rows.select("item_id", "similar_item_id").collect():
        found[row["item_id"]].append(row["similar_item_id"])
    return found


def _picture(side: Row) -> str:
    return str(side["reason"] or side["image_hash"])
