"""Recall at k of a published table, estimated on a sample: it trusts nothing of the search that it checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from threadpoolctl import threadpool_limits

from lookalike import config, schemas
from lookalike.churn import TIE

_SCORES = "item_id string, score float, published boolean"


@dataclass(frozen=True)
class _Sample:
    """Sampled items with their vectors, and the neighbours that the table names for them."""

    ids: NDArray[np.object_]  # [n]
    groups: NDArray[np.object_]  # [n]
    vectors: NDArray[np.float32]  # [n, d]
    others: pa.Array  # every item that is somebody's neighbour, once: [m]
    rows: NDArray[np.int64]  # of each published pair: the sampled item's row [p]
    columns: NDArray[np.int64]  # of each published pair: the neighbour's place in `others` [p]


def estimate(embeddings: DataFrame, similar: DataFrame, settings: config.Settings) -> float:
    """Share of the k nearest items of a seeded sample, by a plain exact search, that `similar` names, 0..1.

    The named neighbours' scores and groups are looked up anew in the embeddings. A neighbour that ties with the
    k-th best counts as found; the item itself, an item of another group and what ranks beyond k do not.
    """
    sample = _draw(embeddings, similar, settings)
    if not len(sample.ids):
        return 1.0
    shared, k = embeddings.sparkSession.sparkContext.broadcast(sample), settings.similar.k

    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with threadpool_limits(1, "blas"):  # Spark runs one task a core already
            yield from _scores(batches, shared.value, k)

    columns = embeddings.select("item_id", "embedding", schemas.group(settings.similar.group_by))
    scores = columns.mapInArrow(score, _SCORES)
    exact = F.collect_list(F.when(~F.col("published"), F.col("score")))
    named = F.collect_list(F.when(F.col("published"), F.col("score")))
    lists = scores.groupBy("item_id").agg(
        F.slice(F.sort_array(exact, asc=False), 1, k).alias("exact"), named.alias("named")
    )
    worst = F.try_element_at("exact", F.lit(-1)) - F.lit(TIE)
    hits = F.size(F.filter("named", lambda one: one >= worst))
    found = lists.agg((F.sum(F.least(hits, F.size("exact"))) / F.sum(F.size("exact"))).alias("recall")).first()
    # None where no sampled item has any neighbour to find: nothing was missed
    return 1.0 if found is None or found["recall"] is None else float(found["recall"])


def _draw(embeddings: DataFrame, similar: DataFrame, settings: config.Settings) -> _Sample:
    """The sample, on the driver: similar.recall_sample vectors and k times as many names."""
    order = F.xxhash64("item_id", F.lit(settings.index.seed))
    chosen = embeddings.select("item_id").orderBy(order, "item_id").limit(settings.similar.recall_sample)
    ids = [row["item_id"] for row in chosen.collect()]
    items = (
        embeddings.where(F.col("item_id").isin(ids))
        .select("item_id", "embedding", schemas.group(settings.similar.group_by))
        .orderBy("item_id")
        .toArrow()
    )
    pairs = (
        similar.where(F.col("item_id").isin(ids) & (F.col("rank") <= settings.similar.k))
        .where("item_id != similar_item_id")
        .select("item_id", "similar_item_id")
        .distinct()
        .toArrow()
    )
    names = pc.unique(pairs["similar_item_id"])
    sampled, groups = _labels(items)
    return _Sample(
        sampled,
        groups,
        _matrix(items["embedding"]),
        names,
        pc.index_in(pairs["item_id"], items["item_id"]).to_numpy().astype(np.int64),
        pc.index_in(pairs["similar_item_id"], names).to_numpy().astype(np.int64),
    )


def _scores(batches: Iterator[pa.RecordBatch], sample: _Sample, k: int) -> Iterator[pa.RecordBatch]:
    """The k best scores of each sampled item in its group, and those of its named pairs, as far as `batches` go."""
    best = np.full((len(sample.ids), k), -np.inf, dtype=np.float32)
    for batch in batches:
        vectors, (ids, groups) = _matrix(batch["embedding"]), _labels(batch)
        found = sample.vectors @ vectors.T
        found[(sample.ids[:, None] == ids) | (sample.groups[:, None] != groups)] = -np.inf
        both = np.concatenate([best, found], axis=1)
        best = np.partition(both, both.shape[1] - k, axis=1)[:, -k:]
        yield _named_scores(batch["item_id"], vectors, groups, sample)
    kept = np.isfinite(best)
    yield _as_batch(np.repeat(sample.ids, kept.sum(axis=1)), best[kept], published=False)


def _named_scores(ids: pa.Array, vectors: np.ndarray, groups: np.ndarray, sample: _Sample) -> pa.RecordBatch:
    """The cosine, computed here, of the named pairs whose neighbour is among `ids` and of the item's group."""
    place = pc.index_in(ids, sample.others)  # of each item of the batch in `others`, null for most
    here = np.flatnonzero(place.is_valid().to_numpy(zero_copy_only=False))
    where = np.full(len(sample.others), -1, dtype=np.int64)
    where[place.drop_null().to_numpy()] = here
    at = where[sample.columns]
    pairs = np.flatnonzero(at >= 0)
    pairs = pairs[sample.groups[sample.rows[pairs]] == groups[at[pairs]]]
    cosine = np.einsum("ij,ij->i", sample.vectors[sample.rows[pairs]], vectors[at[pairs]])
    return _as_batch(sample.ids[sample.rows[pairs]], cosine, published=True)


def _as_batch(ids: np.ndarray, scores: np.ndarray, *, published: bool) -> pa.RecordBatch:
    flag = pa.array(np.full(len(ids), published))
    return pa.record_batch({"item_id": pa.array(ids, pa.string()), "score": pa.array(scores), "published": flag})


def _matrix(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """A list column without nulls as float32 [n, d]."""
    lists = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    values = lists.flatten().to_numpy()
    matrix: np.ndarray = values.reshape(len(lists), len(values) // max(1, len(lists)))  # no rows have no width
    return matrix


def _labels(rows: pa.Table | pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
    """Ids and groups as object arrays; None equals None."""
    ids, groups = (np.array(rows[name].to_pylist(), dtype=object) for name in ("item_id", "group"))
    return ids, groups
