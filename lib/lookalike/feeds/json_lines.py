"""Rows as JSON Lines. Arrow writes the numbers; nothing loops over those of a vector."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookalike.feeds import json_values
from lookalike.feeds.source import AnyVectors, Batch


def encode(batch: Batch) -> bytes:
    """Return a line for each row."""
    columns = {name: json_values.texts(batch.rows[name]) for name in batch.rows.schema.names}
    if batch.vectors is not None:
        columns["embedding"] = vector_texts(batch.vectors)
    lines = pc.binary_join_element_wise(json_values.objects_of_texts(columns), "\n", "")
    return "".join(lines.to_pylist()).encode()


def vector_texts(vectors: AnyVectors) -> pa.Array:
    """Return the JSON of each vector: the shortest decimals that are the same float32."""
    numbers = pa.array(vectors.astype(np.float32, copy=False).ravel()).cast(pa.string())  # float16 has no text
    offsets = pa.array(np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1])
    return pc.binary_join_element_wise("[", pc.binary_join(pa.ListArray.from_arrays(offsets, numbers), ","), "]", "")
