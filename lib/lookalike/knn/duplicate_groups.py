"""Duplicate groups in the items of a shard, and the cosines of duplicates by their places in the index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.index.annoy import map_vectors
from lookalike.index.items import read_items, write_items
from lookalike.index.layout import IndexLayout
from lookalike.topk.exact import score_pairs
from lookalike.topk.items import Vectors


def write_groups(layout: IndexLayout, name: str, members: pa.Table) -> Path | None:
    """Write `group` and `represents` of some items, at their `position`, into the items of a shard; return the path.

    All other items have no duplicates. A file that says so already stays as it is: it may be a link to that of the
    release before. Then there is no path.
    """
    path = layout.items(name)
    members, items = members.sort_by("position"), read_items(layout.fetch_items(name))
    none = np.ones(len(items), dtype=bool)
    none[members["position"].to_numpy()] = False
    groups = np.zeros(len(items), dtype=np.int64)
    groups[~none] = members["group"].to_numpy()
    flags = pc.list_flatten(members["represents"]).combine_chunks()
    ends = np.concatenate([[0], np.cumsum(~none) * (len(flags) // max(1, len(members)))]).astype(np.int32)
    known = {
        "duplicate_group": pa.array(groups, mask=none),
        "represents": pa.ListArray.from_arrays(ends, flags, mask=pa.array(none)),
    }
    columns = {column: items[column] for column in items.column_names}
    if all(columns[column].combine_chunks().equals(values) for column, values in known.items()):
        return None
    write_items(layout.shared.here(path), pa.table({**columns, **known}))
    return path


@dataclass(frozen=True)
class ShardFiles:
    """The name and the number of items of each shard, by its number."""

    layout: IndexLayout
    shards: Mapping[int, tuple[str, int]]

    def vectors(self, shards: NDArray[np.integer[Any]], positions: NDArray[np.integer[Any]]) -> Vectors:
        """Return the vectors of some items [n, d], copied from where they lie."""
        found = np.empty((len(shards), self.layout.dimensions), dtype=np.float32)
        for number in np.unique(shards).tolist():
            name, items = self.shards[number]
            here = shards == number
            path = self.layout.shared.fetch(self.layout.annoy(name))
            found[here] = map_vectors(path, items, self.layout.dimensions)[positions[here]]
        return found


def score_duplicates(pairs: pa.RecordBatch, files: ShardFiles) -> pa.RecordBatch:
    """Return the cosine of each item with the one that represents it, whose columns begin with `of_`."""
    places = ((pairs[f"{of}shard"].to_numpy(), pairs[f"{of}position"].to_numpy()) for of in ("", "of_"))
    mine, theirs = (files.vectors(*place) for place in places)
    each = np.arange(len(pairs))
    scores = pa.array(score_pairs(mine, each, theirs, each), pa.float32())
    return pa.record_batch(
        {"item_id": pairs["item_id"], "representative_item_id": pairs["of_item_id"], "score": scores}
    )
