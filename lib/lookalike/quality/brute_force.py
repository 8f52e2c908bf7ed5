"""An exact search for a sample of items over all embeddings, in one pass: the truth that the recall is measured by.

A task holds the sample, one batch of embeddings, the scores of a part of it, and the best candidates so far.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from threadpoolctl import threadpool_limits

from lookalike import config
from lookalike.quality import confidence, ground_truth
from lookalike.quality.churn import TIE
from lookalike.quality.ground_truth import Candidate, CandidatePairs, ItemArrays, ListRules

# Duplicates that are sent whole to every executor, at most 50 MB; how more of them are joined, Spark decides.
BROADCAST_ROWS = 500_000

# Scores of a matrix product: 4 MiB, and a few times that for the levels.
SCORES = 1 << 20

# A pair of a sampled item and a candidate, which is `listed` in the published table, or found here. Where `listed` is
# null, the item has a duplicate that is not named as one.
_PAIRS = "item int, listed boolean, level int, score float, variant_group long, duplicate_group long"


@dataclass(frozen=True)
class RecallSample:
    """Sampled items, and the neighbours that the published table lists for them."""

    items: ItemArrays
    others: pa.Array  # every item that is a listed neighbour, once: [m]
    rows: NDArray[np.int64]  # of each listed pair: the sampled item's row [p]
    columns: NDArray[np.int64]  # of each listed pair: the neighbour's place in `others` [p]


# ---- the embeddings as the rules need them


def text_of(column: str | None) -> Column:
    """Return the values of a column as text, null without one; the rules are read here a second time, on purpose."""
    return (F.col(f"`{column}`") if column else F.lit(None)).cast("string")


def items(embeddings: DataFrame, similar: config.SimilarSettings, duplicates: DataFrame | None) -> DataFrame:
    """Return item_id, embedding, groups, variant_group, duplicate_group and eligible: the fields of ItemArrays."""
    columns = (similar.group_by, *similar.group_fallback)
    item = F.xxhash64(F.lit("item"), "item_id")
    product = text_of(similar.variant_of)
    eligible = F.coalesce(F.col("eligible"), F.lit(False)) if similar.eligible else F.lit(True)
    rows = embeddings.select(
        "item_id",
        "embedding",
        F.array(*(F.xxhash64(text_of(column)) for column in columns)).alias("groups"),
        F.when(product.isNull(), item).otherwise(F.xxhash64(F.lit("variant"), product)).alias("variant_group"),
        F.xxhash64("item_id").alias("duplicate_group"),
        F.array(*(eligible for _ in columns)).alias("eligible"),
    )
    return rows if duplicates is None else _with_duplicate_groups(rows, duplicates, len(columns))


def _with_duplicate_groups(rows: DataFrame, duplicates: DataFrame, levels: int) -> DataFrame:
    """Give duplicates one group; of those that share a level's value only the first eligible one stays eligible."""
    first = F.col("representative_item_id").alias("of")
    members = duplicates.select("item_id", first).union(duplicates.select(first.alias("item_id"), first).distinct())
    known = members.join(rows.select("item_id", "groups", "eligible"), on="item_id", how="inner")
    chosen = [
        F.min(F.when(F.col("eligible")[level], F.col("item_id"))).over(Window.partitionBy("of", F.col("groups")[level]))
        for level in range(levels)
    ]
    of_group = known.select(
        "item_id",
        F.xxhash64("of").alias("of_group"),
        F.array(*(F.col("eligible")[n] & (F.col("item_id") == one) for n, one in enumerate(chosen))).alias("chosen"),
    )
    if duplicates.count() <= BROADCAST_ROWS:
        of_group = F.broadcast(of_group)
    return rows.join(of_group, on="item_id", how="left").select(
        "item_id",
        "embedding",
        "groups",
        "variant_group",
        F.coalesce("of_group", "duplicate_group").alias("duplicate_group"),
        F.coalesce("chosen", "eligible").alias("eligible"),
    )


def as_arrays(rows: pa.Table | pa.RecordBatch) -> ItemArrays:
    """Return rows of `items` as arrays."""
    names = ("embedding", "groups", "variant_group", "duplicate_group", "eligible")
    vectors, groups, variant_groups, duplicate_groups, eligible = (_values(rows[name]) for name in names)
    return ItemArrays(vectors, groups, variant_groups, duplicate_groups, eligible)


def _values(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Return a column of numbers without nulls as an array [n], one of lists as [n, d]."""
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if not pa.types.is_list(values.type):
        plain: np.ndarray = values.to_numpy()
        return plain
    inner = values.flatten().to_numpy(zero_copy_only=False)
    matrix: np.ndarray = inner.reshape(len(values), len(inner) // max(1, len(values)))  # no rows have no width
    return matrix


# ---- the search


def count_hits(
    rows: DataFrame, sample: RecallSample, similar: config.SimilarSettings
) -> tuple[confidence.Counts, confidence.Counts]:
    """Return, for each sampled item, how many neighbours of its true list are listed, and how many that list has.

    None counts as listed for an item with a duplicate that is not of its duplicate group.
    """
    least = -np.inf if similar.min_score is None else similar.min_score
    rules = ListRules(similar.k, similar.wanted, least, TIE, similar.duplicate_cosine)
    shared = rows.sparkSession.sparkContext.broadcast(sample)

    def find(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with threadpool_limits(1, "blas"):  # Spark runs one task a core already
            yield from _pairs(batches, shared.value, rules)

    def count(pairs: pa.Table) -> pa.Table:
        return _hits_of_item(pairs, rules)

    counted = rows.mapInArrow(find, _PAIRS).groupBy("item").applyInArrow(count, "item int, hits long, pairs long")
    table = counted.toArrow()
    hits, pairs = np.zeros((2, len(sample.items.groups)), dtype=np.int64)
    for name, counts in (("hits", hits), ("pairs", pairs)):
        counts[table["item"].to_numpy()] = table[name].to_numpy()
    return hits, pairs


def _pairs(batches: Iterator[pa.RecordBatch], sample: RecallSample, rules: ListRules) -> Iterator[pa.RecordBatch]:
    """Yield the listed pairs of the batches, and at the end the best candidates of each sampled item."""
    items, unnamed = sample.items, np.zeros(len(sample.items.groups), dtype=bool)
    duplicates = rules.duplicate_cosine is not None
    best = ground_truth.BestCandidates(len(unnamed), items.groups.shape[1], rules.wanted, duplicates=duplicates)
    step = max(1, SCORES // len(items.groups))
    for batch in batches:
        all_others = as_arrays(batch)
        for start in range(0, batch.num_rows, step):
            others = all_others.part(slice(start, start + step))
            scores, levels = ground_truth.cosines(items, others), ground_truth.meeting_levels(items, others)
            best.add(scores, levels, others)
            if rules.duplicate_cosine is not None:
                unnamed |= ground_truth.unnamed_duplicates(items, others, scores, rules.duplicate_cosine + rules.tie)
            yield _listed(batch["item_id"].slice(start, step), others, scores, levels, sample)
    yield _as_batch(best.pairs(), listed=False)
    numbers = np.flatnonzero(unnamed).astype(np.int32)
    none = np.zeros(len(numbers), dtype=np.int64)
    yield _as_batch(CandidatePairs(numbers, none.astype(np.int8), none.astype(np.float32), none, none), listed=None)


def _listed(
    ids: pa.Array,
    others: ItemArrays,
    scores: ground_truth.Floats,
    levels: ground_truth.Levels,
    sample: RecallSample,
) -> pa.RecordBatch:
    """Return the listed pairs of which the neighbour is among `ids` and allowed by the rules."""
    place = pc.index_in(ids, sample.others)  # of each item of the batch in `others`, null for most
    where = np.full(len(sample.others), -1, dtype=np.int64)
    where[place.drop_null().to_numpy()] = np.flatnonzero(place.is_valid().to_numpy(zero_copy_only=False))
    at = where[sample.columns]
    here = np.flatnonzero(at >= 0)
    here = here[levels[sample.rows[here], at[here]] >= 0]
    rows, columns = sample.rows[here], at[here]
    pairs = CandidatePairs(
        rows.astype(np.int32),
        levels[rows, columns],
        scores[rows, columns],
        others.variant_groups[columns],
        others.duplicate_groups[columns],
    )
    return _as_batch(pairs, listed=True)


def _as_batch(pairs: CandidatePairs, *, listed: bool | None) -> pa.RecordBatch:
    return pa.record_batch(
        {
            "item": pairs.item,
            "listed": pa.repeat(pa.scalar(listed, pa.bool_()), len(pairs.item)),
            "level": pairs.level.astype(np.int32),
            "score": pairs.score,
            "variant_group": pairs.variant_group,
            "duplicate_group": pairs.duplicate_group,
        }
    )


def _hits_of_item(pairs: pa.Table, rules: ListRules) -> pa.Table:
    """Return the counts of one item, from its rows of _PAIRS."""
    columns = (pairs[name].to_pylist() for name in ("listed", "level", "score", "variant_group", "duplicate_group"))
    rows = [(listed, Candidate(*rest)) for listed, *rest in zip(*columns, strict=True)]
    listed, candidates = ([one for is_listed, one in rows if is_listed is wanted] for wanted in (True, False))
    hits, all_hits = ground_truth.count_hits(listed, candidates, rules)
    wrong = any(is_listed is None for is_listed, _ in rows)
    return pa.table({"item": pairs["item"][:1], "hits": [0 if wrong else hits], "pairs": [all_hits]})
