"""The recall at k of a published table, estimated on a sample: it uses nothing of the search that it checks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lookalike import config
from lookalike.quality import brute_force, confidence, vectors
from lookalike.quality.brute_force import VectorCounts
from lookalike.quality.confidence import Interval, SampleCounts
from lookalike.warehouse.record import GroupRecall
from lookalike.warehouse.shared_files import ON_DISK, SharedFiles

# Groups that are named in the record.
WORST = 5

# Items of a group that are drawn beyond twice those that are needed: one group in 10**20 then has too few.
DRAWN = 50


@dataclass(frozen=True)
class Recall:
    """The estimate with its 95 % interval, over `items` sampled items that should have `pairs` neighbours in all."""

    estimate: float
    low: float
    high: float
    items: int
    pairs: int
    missed: int  # of the pairs
    short: int  # items that list fewer than they should have, whichever they are
    groups: tuple[GroupRecall, ...]  # the worst ones
    vectors: VectorCounts


@dataclass(frozen=True)
class _Groups:
    """The values of similar.group_by, null included; how many items each has, and how many to draw."""

    labels: list[str | None]
    hashes: pa.Array
    sizes: confidence.Counts
    counts: confidence.Counts
    weights: confidence.Weights


def estimate(
    embeddings: DataFrame,
    similar: DataFrame,
    settings: config.Settings,
    duplicates: DataFrame | None = None,
    shared: SharedFiles = ON_DISK,
) -> Recall:
    """Return which share of the true k best neighbours, by the rules of `settings.similar`, the table `similar` lists.

    A seeded sample of items, stratified by group, is searched by brute force in all embeddings, where the scores and
    columns of the listed neighbours are read too. `embeddings` is a table as it is read from its files. `duplicates`
    (item_id, representative_item_id) is taken as it is, but an item with a duplicate that is not there misses all its
    neighbours. A neighbour that ties with the last of the true list counts as found; one that breaks a rule, or ranks
    beyond k, does not. The interval is that of
    confidence.interval_of.
    """
    groups = _groups(embeddings, settings)
    if not groups.labels:
        return Recall(1.0, 1.0, 1.0, 0, 0, 0, 0, (), VectorCounts(0, 0, 0))
    items = brute_force.items(embeddings, settings.similar, duplicates)
    sample, strata = _draw(items, similar, groups, settings, shared)
    searched = brute_force.search(items, sample, settings.similar, shared)
    hits, pairs = searched.hits, searched.pairs
    # With more groups than sampled items, the items were drawn as if from one group.
    drawn_from = strata if len(groups.labels) <= len(strata) else np.zeros_like(strata)
    found = confidence.interval_of(SampleCounts(hits, pairs, drawn_from, groups.weights[strata]))
    worst = _worst(groups, strata, hits, pairs) if settings.similar.group_by else ()
    missed = int(pairs.sum() - hits.sum())
    short = int((np.bincount(sample.rows, minlength=len(strata)) < pairs).sum())
    shares = (found.estimate, found.low, found.high)
    return Recall(*shares, len(strata), int(pairs.sum()), missed, short, worst, searched.vectors)


# ---- the sample


def _groups(embeddings: DataFrame, settings: config.Settings) -> _Groups:
    """Return every group, in the order of the names, and how many items to draw from it."""
    similar = settings.similar
    counted = (
        embeddings.select(brute_force.text_of(similar.group_by).alias("group"))
        .groupBy("group")
        .agg(F.count("*").alias("items"))
    )
    # Sorted on the driver: Spark would run the query twice, the first time to find the ranges.
    table = counted.select("group", F.xxhash64("group").alias("hash"), "items").toArrow().sort_by("group")
    sizes = table["items"].to_numpy()
    if not len(sizes):
        return _Groups([], table["hash"], sizes, sizes, sizes.astype(float))
    each = float(sizes @ np.minimum(similar.k, sizes - 1) / sizes.sum())
    wanted = confidence.items_needed(similar.recall_floor, similar.recall_sample, each)
    counts, weights = confidence.allocate(sizes, wanted, settings.index.seed)
    return _Groups(table["group"].to_pylist(), table["hash"].combine_chunks(), sizes, counts, weights)


def _draw(
    items: DataFrame, similar: DataFrame, groups: _Groups, settings: config.Settings, shared: SharedFiles
) -> tuple[brute_force.RecallSample, NDArray[np.int64]]:
    """Return the sample, collected on the driver, and the number of the group of each of its items."""
    drawn = items.sparkSession.createDataFrame(pa.table({"item_id": _drawn_ids(items, groups, settings.index.seed)}))
    sampled = items.join(F.broadcast(drawn), on="item_id", how="left_semi")
    chosen = brute_force.with_vectors(sampled, shared).sort_by("item_id")
    listed = similar.where(F.col("item_id").isin(chosen["item_id"].to_pylist()) & (F.col("rank") <= settings.similar.k))
    once = listed.select("item_id", "similar_item_id").toArrow().group_by(["item_id", "similar_item_id"])
    pairs = once.aggregate([])
    others = pc.unique(pairs["similar_item_id"])
    sample = brute_force.RecallSample(
        brute_force.as_arrays(chosen, vectors.of_binary(chosen["vector"])),
        others,
        pc.index_in(pairs["item_id"], chosen["item_id"]).to_numpy().astype(np.int64),
        pc.index_in(pairs["similar_item_id"], others).to_numpy().astype(np.int64),
        max(brute_force.LEAST_PARTS, int(groups.sizes.sum()) // brute_force.PART_HASHES),
    )
    strata = pc.index_in(pa.array(sample.items.groups[:, 0]), groups.hashes).to_numpy()
    return sample, strata.astype(np.int64)


def _drawn_ids(items: DataFrame, groups: _Groups, seed: int, times: float = 1) -> pa.Array:
    """Return the items of each group with the smallest hashes, as many as its count; each task reads its own rows.

    Those below a bound are collected, `times` twice as many as are needed and DRAWN; should they be too few, again.
    """
    wanted = np.flatnonzero(groups.counts)
    counts, share = groups.counts[wanted], times * (2 * groups.counts[wanted] + DRAWN) / groups.sizes[wanted]
    # The hashes are spread evenly from -2**63 to 2**63.
    bounds = (np.minimum(share, 0.5) * 2.0**64 - 2.0**63).astype(np.int64)
    bounds[share >= 0.5] = np.iinfo(np.int64).max
    of_groups = pa.table({"group": groups.hashes.take(pa.array(wanted)), "bound": bounds})
    by_chance = F.xxhash64("item_id", F.lit(seed)).alias("hash")
    hashed = items.select("item_id", F.col("groups")[0].alias("group"), by_chance)
    below = hashed.join(F.broadcast(items.sparkSession.createDataFrame(of_groups)), on="group", how="inner")
    found = below.where("hash <= bound").select("group", "hash", "item_id").toArrow()
    found = found.sort_by([("group", "ascending"), ("hash", "ascending"), ("item_id", "ascending")])
    of = pc.index_in(found["group"], of_groups["group"]).to_numpy()
    if (np.bincount(of, minlength=len(wanted)) < counts).any():
        return _drawn_ids(items, groups, seed, 4 * times)
    first = np.flatnonzero(np.diff(of, prepend=-1))
    place = np.arange(len(of)) - np.repeat(first, np.diff(first, append=len(of)))
    return found["item_id"].filter(pa.array(place < counts[of])).combine_chunks()


def _worst(
    groups: _Groups, strata: confidence.Counts, hits: confidence.Counts, pairs: confidence.Counts
) -> tuple[GroupRecall, ...]:
    """Return the groups of the lowest recall, and of the lowest lower bound, among those that have any pair."""
    found: list[GroupRecall] = []
    for number in np.unique(strata[pairs > 0]):
        mine = np.flatnonzero(strata == number)
        size = int(groups.sizes[number])
        share = confidence.interval_of(
            SampleCounts(hits[mine], pairs[mine], strata[mine], np.full(len(mine), size / len(mine)))
        )
        found.append(_group_recall(groups.labels[number], len(mine), size, share))
    return tuple(sorted(found, key=lambda group: (group.estimate, group.low))[:WORST])


def _group_recall(group: str | None, sampled: int, items: int, share: Interval) -> GroupRecall:
    estimate, low, high = (round(value, 5) for value in (share.estimate, share.low, share.high))
    return GroupRecall(group=group, sampled=sampled, items=items, estimate=estimate, low=low, high=high)
