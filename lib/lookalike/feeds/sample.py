"""A sample of the items by a hash of their ids: the same ones each night, whatever the order of rows and files."""

from __future__ import annotations

import numpy as np

from lookalike import id_hash
from lookalike.feeds.source import Feed
from lookalike.topk.items import Vectors


def sample(items: Feed, size: int) -> tuple[np.ndarray, Vectors]:
    """Return the positions of at most `size` items with the smallest hashes, in the order of these, and vectors."""
    hashes, places, start = np.empty(0, np.uint32), np.empty(0, np.int64), 0
    for ids in items.ids():
        hashes = np.concatenate([hashes, id_hash.of_many(ids)])
        places = np.concatenate([places, np.arange(start, start + len(ids))])
        start += len(ids)
        least = np.argsort(hashes, kind="stable")[:size]
        hashes, places = hashes[least], places[least]
    return places, items.table.vectors(places) if len(places) else np.empty((0, 0), np.float32)
