"""Neighbour churn between two releases: lists that changed although nothing that they depend on did."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from lookalike import config
from lookalike.index import constraints
from lookalike.spark import schemas
from lookalike.topk.exact import TIE


@dataclass(frozen=True)
class ReleaseLists:
    """The embeddings and the neighbours of one release."""

    embeddings: DataFrame
    similar_items: DataFrame


@dataclass(frozen=True)
class Churn:
    """How many items were compared, and how many of them have other neighbours without a reason.

    Compared are items that are unchanged in both releases and have no reason for other neighbours. A neighbour that is
    new, changed or gone is no churn, nor is a neighbour that takes the last place after it or leaves it to it.
    """

    checked: int
    moved: int


def measure(old: ReleaseLists, new: ReleaseLists, similar: config.SimilarSettings, may_differ: DataFrame) -> Churn:
    """Compare the lists of two releases that have the same model and the settings `similar`.

    `may_differ` (item_id) are items for which the own list, or the place in other lists, may differ for a reason that
    their pictures and columns do not show, such as a new variant.
    """
    identity = [F.col("item_id"), F.struct("image_hash", *schemas.CONSTRAINTS).alias("identity")]
    before, now = (constraints.with_constraints(one.embeddings, similar).select(*identity) for one in (old, new))
    both = before.join(now, on=["item_id", "identity"], how="inner")
    same = both.select("item_id").join(may_differ, on="item_id", how="left_anti")
    moved = _moved(old.similar_items, new.similar_items, same, similar.wanted).withColumn("moved", F.lit(True))
    counted = same.join(moved, on="item_id", how="left").agg(F.count("*"), F.count("moved")).first()
    assert counted is not None  # an aggregate without keys has one row
    return Churn(*counted)


def _moved(old: DataFrame, new: DataFrame, same: DataFrame, wanted: int) -> DataFrame:
    """Return the items of `same` whose lists differ in a neighbour of `same`."""
    # Most lists are equal to the last bit: the windows see the few others.
    looked_at = same.join(_different_lists(old, new), on="item_id", how="inner")
    # Partitioned by item first: the windows and the grouping below then share one shuffle.
    rows = _rows(old, "old").unionByName(_rows(new, "new")).join(looked_at, on="item_id", how="left_semi")
    rows = rows.repartition("item_id")
    of_item = Window.partitionBy("item_id")
    pairs = (
        rows.groupBy("item_id", "similar_item_id")
        .agg(*(F.max(F.when(F.col("list") == name, F.col("score"))).alias(f"{name}_score") for name in ("old", "new")))
        .select(
            "*",
            *(F.count(f"{name}_score").over(of_item).alias(f"{name}_count") for name in ("old", "new")),
            *(F.min(f"{name}_score").over(of_item).alias(f"{name}_last") for name in ("old", "new")),
        )
    )
    missing = _should_be_in("old", "new", wanted) | _should_be_in("new", "old", wanted)
    differs = F.abs(F.col("old_score") - F.col("new_score")) > TIE
    suspects = pairs.where(missing | F.coalesce(differs, F.lit(False)))
    neighbours = same.withColumnRenamed("item_id", "similar_item_id")
    return suspects.join(neighbours, on="similar_item_id", how="left_semi").select("item_id").distinct()


def _different_lists(old: DataFrame, new: DataFrame) -> DataFrame:
    """Return the items that have not the same neighbours with the same scores, by hashes of their lists."""
    row = F.xxhash64("similar_item_id", "score")
    then, now = (
        table.groupBy("item_id").agg(F.struct(F.count("*"), F.bit_xor(row)).alias(name))
        for table, name in ((old, "then"), (new, "now"))
    )
    return then.join(now, on="item_id", how="full_outer").where(~F.equal_null("then", "now")).select("item_id")


def _rows(similar_items: DataFrame, name: str) -> DataFrame:
    return similar_items.select("item_id", "similar_item_id", "score", F.lit(name).alias("list"))


def _should_be_in(there: str, here: str, k: int) -> Column:
    """Return whether a pair is in one list, and missing in the other although that has room or a worse neighbour."""
    room = F.col(f"{here}_count") < k
    better = F.col(f"{there}_score") > F.col(f"{here}_last") + TIE
    return (
        F.col(f"{here}_score").isNull() & F.col(f"{there}_score").isNotNull() & (room | F.coalesce(better, F.lit(True)))
    )
