"""The work files of an inverted file: each shard's candidates in the order of their lists."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lookalike.index.centroids import nearest_list
from lookalike.index.layout import IndexLayout
from lookalike.knn.candidates import CandidateSet, open_shard
from lookalike.knn.ivf import InvertedFile, InvertedLists
from lookalike.topk.items import ItemVectors, Vectors


def write_centroids(candidates: CandidateSet, centroids: Vectors) -> None:
    """Write the centroids of a group; its first shard has them."""
    np.save(candidates.layout.centroids(candidates.shards[0]), centroids)


def write_lists(layout: IndexLayout, name: str, centroids: Vectors, chunk_rows: int) -> None:
    """Write the candidates of a shard in the order of their lists."""
    shard = open_shard(layout, name)
    rows = shard.candidates(0)
    nearest = np.empty(len(rows), dtype=np.int64)
    for start in range(0, len(rows), chunk_rows):
        some = rows[start : start + chunk_rows]
        nearest[start : start + chunk_rows] = nearest_list(shard.items.vectors[some], centroids)
    order = rows[np.argsort(nearest, kind="stable")]
    starts = np.concatenate([[0], np.cumsum(np.bincount(nearest, minlength=len(centroids)))])
    _write_vectors(layout, name, order, chunk_rows)
    np.savez(layout.lists(name), order=order, starts=starts)


def _write_vectors(layout: IndexLayout, name: str, order: NDArray[np.int64], chunk_rows: int) -> None:
    """Write the vectors of a shard in this order as one .npy file, some at a time."""
    vectors = open_shard(layout, name).items.vectors
    header = np.lib.format.header_data_from_array_1_0(vectors) | {"shape": (len(order), vectors.shape[1])}
    with layout.listed_vectors(name).open("wb") as file:  # not memory-mapped: other machines see it once it is closed
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(order), chunk_rows):
            vectors[order[start : start + chunk_rows]].tofile(file)


# The blocks of a task are mostly of one group, and the small columns of its candidates are sorted at each opening.
@lru_cache(maxsize=2)
def open_inverted_file(candidates: CandidateSet) -> InvertedFile:
    """Return the group's candidates in lists, as `write_lists` wrote them."""
    layout = candidates.layout
    shards = []
    for name in candidates.shards:
        items, lists = open_shard(layout, name).items, np.load(layout.lists(name))
        order = lists["order"]
        vectors = np.load(layout.listed_vectors(name), mmap_mode="r")
        listed = ItemVectors(vectors, items.ids[order], items.variant_groups[order], items.duplicate_groups[order])
        shards.append(InvertedLists(listed, lists["starts"]))
    centroids = np.load(layout.centroids(candidates.shards[0]))
    return InvertedFile(centroids, shards, candidates.chunk_rows, candidates.distinct)
