"""What a release must pass before it is published, and what is measured of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from threadpoolctl import threadpool_limits

from lookalike import config, schemas
from lookalike.errors import GateError

# Two scores nearer than this are a tie: float32 dot products differ by up to 1e-6 between kernels.
TIE = 2e-6


@dataclass(frozen=True)
class Tables:
    """The tables of a release."""

    embeddings: DataFrame
    failures: DataFrame
    similar_items: DataFrame


@dataclass(frozen=True)
class Figures:
    """What a release holds, and how good it is."""

    items: int
    embedded: int
    failed: int
    failed_by_reason: dict[str, int]
    failed_example: str | None
    similar_items: int
    recall: float
    recall_sample: int


@dataclass(frozen=True)
class Gate:
    """One check, with its figure and its threshold."""

    name: str
    figure: float
    threshold: float
    passed: bool
    detail: str = ""

    def line(self) -> str:
        """For a person."""
        verdict = "passed" if self.passed else "REFUSED"
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.name}: {self.figure:.4f}, threshold {self.threshold:g}: {verdict}{detail}"


@dataclass(frozen=True)
class Precision:
    """How often neighbours share a column's value with the item, beside what random items would."""

    column: str
    at_k: float
    chance: float


def measure(tables: Tables, settings: config.Settings) -> Figures:
    """Count the tables of a staged release and estimate its recall."""
    reasons = {row["reason"]: row["count"] for row in tables.failures.groupBy("reason").count().collect()}
    embedded = tables.embeddings.count()
    return Figures(
        items=embedded + sum(reasons.values()),
        embedded=embedded,
        failed=sum(reasons.values()),
        failed_by_reason=dict(sorted(reasons.items())),
        failed_example=_example(tables.failures),
        similar_items=tables.similar_items.count(),
        recall=round(estimate_recall(tables.embeddings, tables.similar_items, settings), 5),
        recall_sample=min(embedded, settings.similar.recall_sample),
    )


def _example(failures: DataFrame) -> str | None:
    """One failed picture of the commonest reason, for whoever has to find out why."""
    common = failures.groupBy("reason").count().orderBy(F.desc("count"), "reason").limit(1).select("reason")
    row = failures.join(common, on="reason", how="left_semi").orderBy("item_id").first()
    return f"{row['image_path']}: {row['reason']}, {row['detail']}" if row else None


def gates(figures: Figures, settings: config.Settings) -> list[Gate]:
    """Every gate, passed or not."""
    share, limit = figures.failed / max(1, figures.items), settings.gates.max_failed_share
    floor = settings.similar.recall_floor
    return [
        Gate("gates.max_failed_share", share, limit, share <= limit, _reasons(figures)),
        Gate("similar.recall_floor", figures.recall, floor, figures.recall >= floor),
    ]


def _reasons(figures: Figures) -> str:
    counts = ", ".join(f"{reason} {count:,}" for reason, count in figures.failed_by_reason.items())
    return f"{counts}; for example {figures.failed_example}" if counts else ""


def enforce(results: Sequence[Gate]) -> None:
    """Raises GateError naming every gate that was not passed."""
    refused = [gate.line() for gate in results if not gate.passed]
    if refused:
        raise GateError(f"not published, any previous release stays current: {'; '.join(refused)}")


def estimate_recall(embeddings: DataFrame, similar: DataFrame, settings: config.Settings) -> float:
    """Recall at k of the published neighbours of a seeded sample against a plain exact search, 0..1.

    It trusts nothing of the search it checks: the published neighbours' scores and groups are looked up anew in
    the embeddings. A neighbour that ties with the k-th best counts as found.
    """
    sample = _sample(embeddings, settings)
    if not len(sample):
        return 1.0
    exact = _exact_scores(embeddings, sample, settings)
    worst = exact.groupBy("item_id").agg(F.min("score").alias("worst"), F.count("*").alias("expected"))
    found = (
        _published_scores(embeddings, similar, sample, settings)
        .join(worst, on="item_id", how="inner")
        .groupBy("item_id")
        .agg(F.count_if(F.col("score") >= F.col("worst") - F.lit(TIE)).alias("hits"))
    )
    hits = F.least(F.coalesce("hits", F.lit(0)), "expected")
    recall = worst.join(found, on="item_id", how="left").agg((F.sum(hits) / F.sum("expected")).alias("recall")).first()
    # None where no sampled item has any neighbour to find: nothing was missed
    return 1.0 if recall is None or recall["recall"] is None else float(recall["recall"])


def precision(embeddings: DataFrame, similar: DataFrame, column: str, k: int) -> Precision:
    """Precision at k by `column` over all items, nulls left out; raises nothing for a column of one value."""
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


def _sample(embeddings: DataFrame, settings: config.Settings) -> pa.Table:
    group = settings.similar.group_by
    return (
        embeddings.select("item_id", "embedding", schemas.group(group))
        .orderBy(F.xxhash64("item_id", F.lit(settings.index.seed)), "item_id")
        .limit(settings.similar.recall_sample)
        .toArrow()
    )


def _exact_scores(embeddings: DataFrame, sample: pa.Table, settings: config.Settings) -> DataFrame:
    """item_id and score of the k best other items of the same group, for each sampled item."""
    shared, k = embeddings.sparkSession.sparkContext.broadcast(sample), settings.similar.k

    def scores(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        queries, ids, groups = _matrix(shared.value["embedding"]), *_labels(shared.value)
        best = np.full((len(ids), k), -np.inf, dtype=np.float32)
        with threadpool_limits(1, "blas"):
            for batch in batches:
                found = queries @ _matrix(batch["embedding"]).T
                other_ids, other_groups = _labels(batch)
                found[(ids[:, None] == other_ids) | (groups[:, None] != other_groups)] = -np.inf
                both = np.concatenate([best, found], axis=1)
                best = np.partition(both, both.shape[1] - k, axis=1)[:, -k:]
        kept = np.isfinite(best)
        yield pa.record_batch({"item_id": pa.array(np.repeat(ids, kept.sum(axis=1))), "score": best[kept]})

    columns = embeddings.select("item_id", "embedding", schemas.group(settings.similar.group_by))
    partial = columns.mapInArrow(scores, "item_id string, score float")
    rank = F.row_number().over(Window.partitionBy("item_id").orderBy(F.desc("score")))
    return partial.withColumn("rank", rank).where(F.col("rank") <= k).drop("rank")


def _published_scores(
    embeddings: DataFrame, similar: DataFrame, sample: pa.Table, settings: config.Settings
) -> DataFrame:
    """item_id and the cosine, computed here, of the sampled items' published neighbours that are any at all.

    The item itself, an item of another group and what ranks beyond k are none.
    """
    spark = embeddings.sparkSession
    shared = spark.sparkContext.broadcast(sample)
    ids = spark.createDataFrame(sample.select(["item_id"]))
    pairs = (
        similar.where((F.col("rank") <= settings.similar.k) & (F.col("item_id") != F.col("similar_item_id")))
        .join(F.broadcast(ids), on="item_id", how="left_semi")
        .select(F.col("item_id").alias("query"), F.col("similar_item_id").alias("item_id"))
        .distinct()
    )

    def scores(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        queries, (ids, groups) = _matrix(shared.value["embedding"]), _labels(shared.value)
        rows = {item_id: row for row, item_id in enumerate(ids)}
        for batch in batches:
            mine = np.array([rows[item_id] for item_id in batch["query"].to_pylist()], dtype=np.int64)
            cosine = np.einsum("ij,ij->i", queries[mine], _matrix(batch["embedding"]))
            same_group = groups[mine] == _labels(batch)[1]
            yield pa.record_batch({"item_id": batch["query"], "score": cosine}).filter(pa.array(same_group))

    columns = embeddings.select("item_id", "embedding", schemas.group(settings.similar.group_by))
    return pairs.join(columns, on="item_id", how="inner").mapInArrow(scores, "item_id string, score float")


def _matrix(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """A list column without nulls as float32 [n, d]."""
    lists = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    matrix: np.ndarray = lists.flatten().to_numpy().reshape(len(lists), -1)
    return matrix


def _labels(rows: pa.Table | pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
    """Ids and groups as object arrays; None equals None."""
    ids, groups = (np.array(rows[name].to_pylist(), dtype=object) for name in ("item_id", "group"))
    return ids, groups
