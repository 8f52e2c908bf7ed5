"""The figures of a release: what it holds, and how good its vectors and lists are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lookalike import config
from lookalike.quality import churn, recall
from lookalike.redaction import redacted_uri
from lookalike.safe_text import one_line
from lookalike.spark.failed_items import FailedReason
from lookalike.spark.release_tables import ReleaseTables
from lookalike.warehouse.record import Figures


@dataclass(frozen=True)
class Precision:
    """How often neighbours have the same value in a column as the item."""

    column: str
    at_k: float  # among the k best neighbours
    chance: float  # among items drawn at random


def measure(
    tables: ReleaseTables,
    settings: config.Settings,
    before: ReleaseTables | None = None,
    may_differ: DataFrame | None = None,
    *,
    exact: bool = True,
) -> Figures:
    """Measure a release in the making: count its tables, check its vectors and lists, compare them to `before`.

    `may_differ` (item_id) are the items whose lists may differ from those of `before` for a reason; with None any list
    may, and none is compared. `exact` tells whether all lists were searched exactly.
    """
    # Small queries, of which Spark mostly plans: run at the same time they take half as long.
    with ThreadPoolExecutor(thread_name_prefix="measure") as pool:
        counted = pool.submit(lambda: tables.lists)
        churned = pool.submit(_churn, tables, settings, before, may_differ)
        read = (tables.embeddings, tables.similar_items, settings, tables.duplicates, tables.release.shared)
        found = pool.submit(recall.estimate, *read)
        failed = pool.submit(lambda: tables.failed)
    vectors, by_reason = found.result().vectors, failed.result()
    reasons = {one.reason: one.count for one in by_reason}
    embedded, lists = vectors.embedded, counted.result()
    hub = lists.hubs[0] if lists.hubs else None
    return Figures(
        items=embedded + sum(reasons.values()),
        embedded=embedded,
        failed=sum(reasons.values()),
        failed_by_reason=dict(sorted(reasons.items())),
        failed_example=_example(by_reason[0]) if by_reason else None,
        similar_items=lists.rows,
        recall=round(found.result().estimate, 5),
        recall_sample=found.result().items,
        recall_low=round(found.result().low, 5),
        recall_high=round(found.result().high, 5),
        recall_pairs=found.result().pairs,
        recall_missed=found.result().missed,
        recall_groups=found.result().groups,
        items_before=before.record.counts.items if before else None,
        unusable_vectors=vectors.unusable,
        duplicate_vectors=embedded - vectors.different,
        without_neighbours=embedded - lists.lists,
        # A neighbour that an approximate search misses shortens a list that min_score cuts: the recall counts it.
        short_lists=found.result().short if exact or settings.similar.min_score is None else 0,
        hub_item=hub.item_id if hub else None,
        hub_recommended=hub.lists if hub else 0,
        churn_checked=churned.result().checked,
        churn_moved=churned.result().moved,
    )


def _churn(
    tables: ReleaseTables, settings: config.Settings, before: ReleaseTables | None, may_differ: DataFrame | None
) -> churn.Churn:
    """Compare the lists to those of `before`, when both were searched exactly, by the same rules."""
    if before is None or may_differ is None:
        return churn.Churn(0, 0)
    old = churn.ReleaseLists(
        before.embeddings.join(tables.embeddings.select("model_id").limit(1), on="model_id", how="left_semi"),
        before.similar_items,
    )
    new = churn.ReleaseLists(tables.embeddings, tables.similar_items)
    return churn.measure(old, new, settings.similar, may_differ)


def _example(reason: FailedReason) -> str:
    """Return one failed picture of a reason, as an example to look at."""
    first = reason.examples[0]
    path = redacted_uri(first.image_path or "")
    return one_line(f"item {first.item_id}, '{path}': {reason.reason}, {first.detail}")


def precision(embeddings: DataFrame, similar: DataFrame, column: str, k: int) -> Precision:
    """Return the precision at k by `column` over all items that have a value."""
    labels = embeddings.select("item_id", F.col(f"`{column}`").alias("label")).where("label IS NOT NULL")
    theirs = labels.select(F.col("item_id").alias("similar_item_id"), F.col("label").alias("other"))
    at_k = (
        similar.where(F.col("rank") <= k)
        .join(labels, on="item_id", how="inner")
        .join(theirs, on="similar_item_id", how="inner")
        .agg(F.avg((F.col("label") == F.col("other")).cast("double")).alias("share"))
        .first()
    )
    counts = labels.groupBy("label").count()
    pairs = F.sum(F.col("count") * (F.col("count") - 1))
    chance = counts.agg(F.try_divide(pairs, F.sum("count") * (F.sum("count") - 1)).alias("share")).first()
    return Precision(column, *(round(float((row and row["share"]) or 0), 3) for row in (at_k, chance)))
