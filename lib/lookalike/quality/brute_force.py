"""One pass over all embeddings: an exact search for a sample of items, the truth of the recall, and counts of vectors.

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
from pyspark.sql.types import BinaryType, StructField, StructType
from threadpoolctl import threadpool_limits

from lookalike import config
from lookalike.quality import confidence, ground_truth, vectors
from lookalike.quality.ground_truth import Candidate, CandidatePairs, ItemArrays, ListRules
from lookalike.spark import worker
from lookalike.topk.exact import TIE
from lookalike.warehouse.shared_files import SharedFiles

# Duplicates that are sent whole to every executor, at most 50 MB; how more of them are joined, Spark decides.
BROADCAST_ROWS = 500_000

# Scores of a matrix product: 4 MiB, and a few times that for the levels.
SCORES = 1 << 20

# A pair of a sampled item and a candidate, which is `listed` in the published table, or found here. Where `listed` is
# null, the item has a duplicate that is not named as one. Or, with an `item` below 0, the hash of a vector.
_FOUND = pa.schema(
    {
        "item": pa.int32(),
        "listed": pa.bool_(),
        "level": pa.int32(),
        "score": pa.float32(),
        "variant_group": pa.int64(),
        "duplicate_group": pa.int64(),
        "vector": pa.int64(),
        "unusable": pa.bool_(),
    }
)
_SPARK_FOUND = (
    "item int, listed boolean, level int, score float, variant_group long, duplicate_group long, vector long, "
    "unusable boolean"
)

# Of each sampled item, or of some of the hashes.
_COUNTS = "item int, hits long, pairs long, vectors long, unusable long, different long"

# Hashes of vectors are counted in parts of about so many, and in so many at least.
PART_HASHES = 100_000
LEAST_PARTS = 64


@dataclass(frozen=True)
class RecallSample:
    """Sampled items, and the neighbours that the published table lists for them."""

    items: ItemArrays
    others: pa.Array  # every item that is a listed neighbour, once: [m]
    rows: NDArray[np.int64]  # of each listed pair: the sampled item's row [p]
    columns: NDArray[np.int64]  # of each listed pair: the neighbour's place in `others` [p]
    hash_parts: int = LEAST_PARTS  # in which the vectors of all items are counted


@dataclass(frozen=True)
class VectorCounts:
    """How many vectors there are, how many of them were zero or not finite, and how many are different."""

    embedded: int
    unusable: int
    different: int


@dataclass(frozen=True)
class Found:
    """What one pass over the vectors finds."""

    hits: confidence.Counts  # of each sampled item, how many neighbours of its true list are listed
    pairs: confidence.Counts  # of each sampled item, how many neighbours its true list has
    vectors: VectorCounts


# ---- the embeddings as the rules need them


def text_of(column: str | None) -> Column:
    """Return the values of a column as text, null without one; the rules are read here a second time, on purpose."""
    return (F.col(f"`{column}`") if column else F.lit(None)).cast("string")


def items(embeddings: DataFrame, similar: config.SimilarSettings, duplicates: DataFrame | None) -> DataFrame:
    """Return item_id, groups, variant_group, duplicate_group, eligible and unusable of each row, and its place.

    Unusable are vectors that were zero or not finite, by the length before scaling.
    """
    norm = F.col("norm")
    columns = (similar.group_by, *similar.group_fallback)
    item = F.xxhash64(F.lit("item"), "item_id")
    product = text_of(similar.variant_of)
    eligible = F.coalesce(F.col("eligible"), F.lit(False)) if similar.eligible else F.lit(True)
    rows = embeddings.select(
        "item_id",
        *vectors.place(),
        (norm.isNull() | F.isnan(norm) | (norm == 0) | (norm == F.lit(float("inf")))).alias("unusable"),
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
    few = duplicates.count() <= BROADCAST_ROWS
    joined = rows.join(F.broadcast(of_group) if few else of_group, on="item_id", how="left").withColumns(
        {
            "duplicate_group": F.coalesce("of_group", "duplicate_group"),
            "eligible": F.coalesce("chosen", "eligible"),
        }
    )
    return joined if few else _in_order_of_files(joined)


def _in_order_of_files(rows: DataFrame) -> DataFrame:
    return rows.repartitionByRange("file", "row").sortWithinPartitions("file", "row")


def with_vectors(rows: DataFrame, shared: SharedFiles) -> pa.Table:
    """Return rows of `items`, few of them, on the driver, with their vectors as binary."""

    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        worker.start_task()
        for some, matrix in vectors.read_vectors(shared, batches):
            yield from some.append_column("vector", vectors.as_binary(matrix)).to_batches()

    schema = StructType([*rows.schema.fields, StructField("vector", BinaryType())])
    return rows.mapInArrow(read, schema).toArrow()


def as_arrays(rows: pa.Table, matrix: ground_truth.Floats) -> ItemArrays:
    """Return rows of `items` as arrays, with their vectors."""
    names = ("groups", "variant_group", "duplicate_group", "eligible")
    groups, variant_groups, duplicate_groups, eligible = (_values(rows[name].combine_chunks()) for name in names)
    return ItemArrays(matrix, groups, variant_groups, duplicate_groups, eligible)


def _values(column: pa.Array) -> np.ndarray:
    """Return a column without nulls as an array [n], one of lists as [n, d]."""
    return vectors.as_matrix(column) if pa.types.is_list(column.type) else column.to_numpy()


# ---- the search


def search(rows: DataFrame, sample: RecallSample, similar: config.SimilarSettings, shared: SharedFiles) -> Found:
    """Return what one pass over the vectors of all `items` finds.

    No neighbour counts as listed for an item with a duplicate that is not of its duplicate group.
    """
    least = -np.inf if similar.min_score is None else similar.min_score
    rules = ListRules(similar.k, similar.wanted, least, TIE, similar.duplicate_cosine)
    sent = rows.sparkSession.sparkContext.broadcast(sample)

    def find(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        worker.start_task()
        with threadpool_limits(1, "blas"):  # Spark runs one task a core already
            yield from _find(vectors.read_vectors(shared, batches), sent.value, rules)

    def count(found: pa.Table) -> pa.Table:
        return _hits_of_item(found, rules) if found["item"][0].as_py() >= 0 else _count_vectors(found)

    table = rows.mapInArrow(find, _SPARK_FOUND).groupBy("item").applyInArrow(count, _COUNTS).toArrow()
    of_vectors = VectorCounts(*(pc.sum(table[name]).as_py() or 0 for name in ("vectors", "unusable", "different")))
    of_items = table.filter(pc.field("item") >= 0)
    hits, pairs = np.zeros((2, len(sample.items.groups)), dtype=np.int64)
    for name, counts in (("hits", hits), ("pairs", pairs)):
        counts[of_items["item"].to_numpy()] = of_items[name].to_numpy()
    return Found(hits, pairs, of_vectors)


def _find(
    found: Iterator[tuple[pa.Table, vectors.Floats]], sample: RecallSample, rules: ListRules
) -> Iterator[pa.RecordBatch]:
    """Yield the hashes and the listed pairs of all rows, and at the end the best candidates of each sampled item."""
    items, unnamed = sample.items, np.zeros(len(sample.items.groups), dtype=bool)
    duplicates = rules.duplicate_cosine is not None
    best = ground_truth.BestCandidates(len(unnamed), items.groups.shape[1], rules.wanted, duplicates=duplicates)
    step = max(1, SCORES // len(items.groups))
    for rows, matrix in found:
        yield _hashes(matrix, rows["unusable"], sample.hash_parts)
        all_others = as_arrays(rows, matrix)
        for start in range(0, len(rows), step):
            others = all_others.part(slice(start, start + step))
            scores, levels = ground_truth.cosines(items, others), ground_truth.meeting_levels(items, others)
            best.add(scores, levels, others)
            if rules.duplicate_cosine is not None:
                unnamed |= ground_truth.unnamed_duplicates(items, others, scores, rules.duplicate_cosine + rules.tie)
            yield _listed(rows["item_id"].slice(start, step), others, scores, levels, sample)
    yield _as_batch(best.pairs(), listed=False)
    yield _batch(item=np.flatnonzero(unnamed).astype(np.int32))


def _hashes(matrix: ground_truth.Floats, unusable: pa.ChunkedArray, parts: int) -> pa.RecordBatch:
    hashes = vectors.hash_vectors(matrix)
    return _batch(item=(-1 - hashes % parts).astype(np.int32), vector=hashes, unusable=unusable.combine_chunks())


def _count_vectors(found: pa.Table) -> pa.Table:
    """Return the counts of one part of the hashes, from its rows of _FOUND."""
    counts = {
        "vectors": len(found),
        "unusable": pc.sum(found["unusable"]).as_py(),
        "different": pc.count_distinct(found["vector"]).as_py(),
    }
    return _counts(found, **counts)


def _counts(found: pa.Table, **counts: int) -> pa.Table:
    names = ("hits", "pairs", "vectors", "unusable", "different")
    return pa.table({"item": found["item"][:1], **{name: [counts.get(name, 0)] for name in names}})


def _listed(
    ids: pa.ChunkedArray,
    others: ItemArrays,
    scores: ground_truth.Floats,
    levels: ground_truth.Levels,
    sample: RecallSample,
) -> pa.RecordBatch:
    """Return the listed pairs of which the neighbour is among `ids` and allowed by the rules."""
    place = pc.index_in(ids, sample.others)  # of each item of the batch in `others`, null for most
    where = np.full(len(sample.others), -1, dtype=np.int64)
    where[place.drop_null().to_numpy()] = np.flatnonzero(place.is_valid().to_numpy())
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


def _as_batch(pairs: CandidatePairs, *, listed: bool) -> pa.RecordBatch:
    return _batch(
        item=pairs.item,
        listed=np.full(len(pairs.item), listed),
        level=pairs.level.astype(np.int32),
        score=pairs.score,
        variant_group=pairs.variant_group,
        duplicate_group=pairs.duplicate_group,
    )


def _batch(item: NDArray[np.int32], **columns: NDArray[np.generic] | pa.Array) -> pa.RecordBatch:
    """Return rows of _FOUND with nulls in the columns that are not given."""
    given: dict[str, NDArray[np.generic] | pa.Array] = {"item": item, **columns}
    return pa.record_batch(
        [given[field.name] if field.name in given else pa.nulls(len(item), field.type) for field in _FOUND], _FOUND
    )


def _hits_of_item(found: pa.Table, rules: ListRules) -> pa.Table:
    """Return the counts of one item, from its rows of _FOUND."""
    wrong = found["listed"].null_count > 0
    columns = (
        found.filter(pc.field("listed").is_valid())[name].to_pylist()
        for name in ("listed", "level", "score", "variant_group", "duplicate_group")
    )
    rows = [(listed, Candidate(*rest)) for listed, *rest in zip(*columns, strict=True)]
    listed, candidates = ([one for is_listed, one in rows if is_listed is wanted] for wanted in (True, False))
    hits, all_hits = ground_truth.count_hits(listed, candidates, rules)
    return _counts(found, hits=0 if wrong else hits, pairs=all_hits)
