"""A plain exact search for a sample of items, over all embeddings in one pass: what the recall is measured against.

A task holds the sample, one batch of embeddings, the scores of a part of it, and the best candidates so far.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from threadpoolctl import threadpool_limits

from lookalike import config
from lookalike.quality import confidence, ground_truth
from lookalike.quality.churn import TIE
from lookalike.spark import schemas

# Duplicates that go to every executor in one piece, of at most 50 MB; of more than that, Spark decides.
BROADCAST_ROWS = 500_000

# Scores a matrix product: 4 MiB, and a few times that for who is allowed.
SCORES = 1 << 20

# Of a pair: the sampled item, whether the table names the neighbour or it was found here, and what it is.
_PAIRS = "item int, named boolean, ring int, score float, variant long, picture long"


@dataclass(frozen=True)
class RecallSample:
    """Sampled items, and the neighbours that the table names for them."""

    items: ground_truth.ItemArrays
    others: pa.Array  # every item that is somebody's neighbour, once: [m]
    rows: NDArray[np.int64]  # of each published pair: the sampled item's row [p]
    columns: NDArray[np.int64]  # of each published pair: the neighbour's place in `others` [p]


# ---- the embeddings as the rules see them


def items(embeddings: DataFrame, similar: config.SimilarSettings, duplicates: DataFrame | None) -> DataFrame:
    """item_id, embedding, groups, variant, picture and shown: the fields of judge.Items."""
    columns = (similar.group_by, *similar.group_fallback)
    item = F.xxhash64(F.lit("item"), "item_id")
    product = F.col(f"`{similar.variant_of}`").cast("string") if similar.variant_of else F.lit(None).cast("string")
    eligible = F.coalesce(F.col("eligible"), F.lit(False)) if similar.eligible else F.lit(True)
    rows = embeddings.select(
        "item_id",
        "embedding",
        F.array(*(F.xxhash64(schemas.group(column)) for column in columns)).alias("groups"),
        F.when(product.isNull(), item).otherwise(F.xxhash64(F.lit("variant"), product)).alias("variant"),
        F.xxhash64("item_id").alias("picture"),
        F.array(*(eligible for _ in columns)).alias("shown"),
    )
    return rows if duplicates is None else _with_pictures(rows, duplicates, len(columns))


def _with_pictures(rows: DataFrame, duplicates: DataFrame, columns: int) -> DataFrame:
    """Duplicates have one picture, and of those of one group only the first eligible one is shown to that group."""
    first = F.col("representative_item_id").alias("of")
    members = duplicates.select("item_id", first).union(duplicates.select(first.alias("item_id"), first).distinct())
    known = members.join(rows.select("item_id", "groups", "shown"), on="item_id", how="inner")
    shown = [
        F.min(F.when(F.col("shown")[column], F.col("item_id"))).over(Window.partitionBy("of", F.col("groups")[column]))
        for column in range(columns)
    ]
    same = known.select(
        "item_id",
        F.xxhash64("of").alias("same_picture"),
        F.array(*(F.col("shown")[n] & (F.col("item_id") == one) for n, one in enumerate(shown))).alias("shown_to"),
    )
    if duplicates.count() <= BROADCAST_ROWS:
        same = F.broadcast(same)
    return rows.join(same, on="item_id", how="left").select(
        "item_id",
        "embedding",
        "groups",
        "variant",
        F.coalesce("same_picture", "picture").alias("picture"),
        F.coalesce("shown_to", "shown").alias("shown"),
    )


def as_items(rows: pa.Table | pa.RecordBatch) -> ground_truth.ItemArrays:
    """The rows of `items` as arrays."""
    names = ("embedding", "groups", "variant", "picture", "shown")
    vectors, groups, variants, pictures, shown = (_values(rows[name]) for name in names)
    return ground_truth.ItemArrays(vectors, groups, variants, pictures, shown)


def _values(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """A column of numbers without nulls as an array [n], one of lists as [n, d]."""
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if not pa.types.is_list(values.type):
        plain: np.ndarray = values.to_numpy()
        return plain
    inner = values.flatten().to_numpy(zero_copy_only=False)
    matrix: np.ndarray = inner.reshape(len(values), len(inner) // max(1, len(values)))  # no rows have no width
    return matrix


# ---- the search


def search(
    rows: DataFrame, sample: RecallSample, similar: config.SimilarSettings, *, duplicates: bool
) -> tuple[confidence.Counts, confidence.Counts]:
    """Of each sampled item, the neighbours of its right list that the table names, and all of that list."""
    least = -np.inf if similar.min_score is None else similar.min_score
    rules = ground_truth.ListRules(similar.k, similar.wanted, least, TIE)
    shared = rows.sparkSession.sparkContext.broadcast(sample)

    def find(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with threadpool_limits(1, "blas"):  # Spark runs one task a core already
            yield from _pairs(batches, shared.value, rules.wanted, duplicates=duplicates)

    def count(pairs: pa.Table) -> pa.Table:
        return _hits(pairs, rules)

    counted = rows.mapInArrow(find, _PAIRS).groupBy("item").applyInArrow(count, "item int, hits long, pairs long")
    table = counted.toArrow()
    hits, pairs = np.zeros((2, len(sample.items.groups)), dtype=np.int64)
    for name, counts in (("hits", hits), ("pairs", pairs)):
        counts[table["item"].to_numpy()] = table[name].to_numpy()
    return hits, pairs


def _pairs(
    batches: Iterator[pa.RecordBatch], sample: RecallSample, wanted: int, *, duplicates: bool
) -> Iterator[pa.RecordBatch]:
    """The best candidates of each sampled item, and its named neighbours, as far as `batches` go."""
    asking = sample.items
    best = ground_truth.BestCandidates(len(asking.groups), asking.groups.shape[1], wanted, duplicates=duplicates)
    step = max(1, SCORES // len(asking.groups))
    for batch in batches:
        everyone = as_items(batch)
        for start in range(0, batch.num_rows, step):
            others = everyone.part(slice(start, start + step))
            scores, rings = asking.vectors @ others.vectors.T, ground_truth.rings(asking, others)
            best.add(scores, rings, others)
            yield _named(batch["item_id"].slice(start, step), others, scores, rings, sample)
    found = best.pairs()
    yield _as_batch(found, named=False)


def _named(
    ids: pa.Array,
    others: ground_truth.ItemArrays,
    scores: ground_truth.Floats,
    rings: NDArray[np.int8],
    sample: RecallSample,
) -> pa.RecordBatch:
    """The named pairs whose neighbour is among `ids`, and allowed."""
    place = pc.index_in(ids, sample.others)  # of each item of the batch in `others`, null for most
    where = np.full(len(sample.others), -1, dtype=np.int64)
    where[place.drop_null().to_numpy()] = np.flatnonzero(place.is_valid().to_numpy(zero_copy_only=False))
    at = where[sample.columns]
    here = np.flatnonzero(at >= 0)
    here = here[rings[sample.rows[here], at[here]] >= 0]
    rows, columns = sample.rows[here], at[here]
    pairs = ground_truth.CandidatePairs(
        rows.astype(np.int32),
        rings[rows, columns],
        scores[rows, columns],
        others.variants[columns],
        others.pictures[columns],
    )
    return _as_batch(pairs, named=True)


def _as_batch(pairs: ground_truth.CandidatePairs, *, named: bool) -> pa.RecordBatch:
    return pa.record_batch(
        {
            "item": pairs.item,
            "named": np.full(len(pairs.item), named),
            "ring": pairs.ring.astype(np.int32),
            "score": pairs.score,
            "variant": pairs.variant,
            "picture": pairs.picture,
        }
    )


def _hits(pairs: pa.Table, rules: ground_truth.ListRules) -> pa.Table:
    """The count of one item, from its rows of _PAIRS."""
    columns = (pairs[name].to_pylist() for name in ("named", "ring", "score", "variant", "picture"))
    slots = [(named, ground_truth.Candidate(*rest)) for named, *rest in zip(*columns, strict=True)]
    hits, right = ground_truth.hits(
        [one for named, one in slots if named], [one for named, one in slots if not named], rules
    )
    return pa.table({"item": pairs["item"][:1], "hits": [hits], "pairs": [right]})
