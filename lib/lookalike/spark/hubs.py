"""The items that most lists recommend, and how many lists there are: one query, for the gates and the page."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lookalike.topk.exact import TIE

# The gate names the first one, the page shows some.
HUBS = 6


@dataclass(frozen=True)
class Hub:
    """An item, and how many lists have it."""

    item_id: str
    lists: int


@dataclass(frozen=True)
class ListCounts:
    """How many rows and lists similar_items has, and the items of most lists, the first one first."""

    rows: int
    lists: int
    hubs: tuple[Hub, ...]


def count_lists(similar_items: DataFrame) -> ListCounts:
    """Count the rows and the lists, and find the items that most lists have, without those of the same picture.

    Items that all show one placeholder have the few of them with the first ids as neighbours: these are no hubs.
    """
    other = F.count_if(F.col("score") < F.lit(1 - TIE))
    hub = F.struct("other", "similar_item_id")
    found = (
        similar_items.groupBy("similar_item_id")
        .agg(F.count("*").alias("count"), F.count_if(F.col("rank") == 1).alias("lists"), other.alias("other"))
        .agg(
            F.coalesce(F.sum("count"), F.lit(0)).alias("rows"),
            F.coalesce(F.sum("lists"), F.lit(0)).alias("lists"),
            F.max_by(hub, hub, HUBS).alias("hubs"),
        )
        .first()
    )
    assert found is not None  # an aggregate without keys has one row
    hubs = tuple(Hub(one["similar_item_id"], one["other"]) for one in found["hubs"] or ())
    return ListCounts(found["rows"], found["lists"], hubs)
