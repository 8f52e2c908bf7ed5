"""Answer many vectors or pictures at once, as one table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from lookalike.errors import QueryError
from lookalike.serving.embedder import Picture
from lookalike.serving.exact_search import ExactSearch
from lookalike.serving.gallery import Gallery
from lookalike.serving.groups import ItemGroups
from lookalike.serving.results import NeighbourLists
from lookalike.serving.shard import SearchableShard
from lookalike.topk.items import Vectors

_COLUMNS = pa.schema({"query": pa.int32(), "rank": pa.int32(), "similar_item_id": pa.string(), "score": pa.float32()})


def as_pictures(queries: Any) -> tuple[list[Picture], ArrayLike]:
    """Return a list or column of pictures, or the vectors, whichever they are; raise QueryError for one picture."""
    one = (str, PathLike, bytes, bytearray, memoryview)
    if isinstance(queries, one):
        raise QueryError("the queries are one picture; give a list of pictures, or ask for the one with search_image")
    if len(getattr(queries, "shape", ())) > 1:  # an array, a tensor, or a data frame of numbers
        return [], np.asarray(queries)
    if isinstance(queries, pa.Array | pa.ChunkedArray):
        queries = queries.to_pylist()
    if not isinstance(queries, Iterable):
        raise QueryError(f"the queries are of the type {type(queries).__name__}; give a list of vectors or of pictures")
    found = list(queries)
    are_pictures = [isinstance(query, one) for query in found]
    if any(are_pictures) and not all(are_pictures):
        at = are_pictures.index(False)
        raise QueryError(
            f"query {at} is of the type {type(found[at]).__name__}, where others are pictures; give a list of pictures "
            "alone, each a path or a file's bytes, or of vectors alone"
        )
    return (found, []) if all(are_pictures) else ([], found)


def embed(pictures: Sequence[Picture], embed_one: Callable[[Picture], Vectors]) -> Vectors:
    """Return the embeddings of pictures, float32 [n, dimensions]; an error says which of them it is about."""
    found = []
    for at, picture in enumerate(pictures):
        try:
            found.append(embed_one(picture))
        except QueryError as error:
            raise QueryError(f"picture {at}: {error}") from None
    return np.stack(found)


def search(
    shards: Sequence[SearchableShard], queries: Vectors, k: int, groups: ItemGroups | None, gallery: Gallery
) -> NeighbourLists:
    """Return the k nearest items of each query, float32 [n, d]; with `groups`, one of each product and picture."""
    exact = ExactSearch(shards)
    if groups is not None:
        return _of_lists(list(exact.nearest_of_each(queries, k, groups)), gallery)
    ids, counts, scores = [], [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for places, its_scores in exact.nearest(queries, k):
        there = np.isfinite(its_scores)
        ids.append(exact.ids.take(pa.array(places[there])))
        counts.append(there.sum(axis=1))
        scores.append(its_scores[there])
    found = pa.chunked_array(ids, pa.string())
    return _table(found, np.concatenate(scores), np.concatenate(counts), gallery)


def _of_lists(lists: Sequence[Sequence[Any]], gallery: Gallery) -> NeighbourLists:
    ids = pa.chunked_array([pa.array([one.item_id for found in lists for one in found], pa.string())])
    scores = np.array([one.score for found in lists for one in found], np.float32)
    return _table(ids, scores, np.array([len(found) for found in lists], np.int64), gallery)


def _table(ids: pa.ChunkedArray, scores: Vectors, counts: Any, gallery: Gallery) -> NeighbourLists:
    ends = np.cumsum(counts)
    rows = np.arange(len(scores))
    query = np.repeat(np.arange(len(counts)), counts)
    rank = rows - np.repeat(ends - counts, counts) + 1
    table = pa.table([pa.array(query, pa.int32()), pa.array(rank, pa.int32()), ids, scores], _COLUMNS)
    return NeighbourLists(table, ends, None, gallery)
