"""Rows as JSON Lines. Arrow writes the numbers; nothing loops over those of a vector."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookalike.feeds import json_values
from lookalike.feeds.source import AnyVectors, Batch

_ESCAPED = r'["\\\x00-\x1f\x7f]'


def encode(batch: Batch) -> bytes:
    """Return a line for each row."""
    columns: dict[str, pa.Array] = {name: _texts(batch.rows[name]) for name in batch.rows.schema.names}
    if batch.vectors is not None:
        columns["embedding"] = _vectors(batch.vectors)
    parts: list[Any] = []
    for number, (name, texts) in enumerate(columns.items()):
        parts += [f"{',' if number else '{'}{json.dumps(name)}:", texts]
    lines = pc.binary_join_element_wise(*parts, "}\n", "")
    return "".join(lines.to_pylist()).encode()


def _texts(column: pa.Array) -> pa.Array:
    """Return the JSON of each value."""
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return column.cast(pa.string()).fill_null("null")
    if pa.types.is_floating(kind):
        numbers = pc.if_else(pc.is_finite(column), column, None)  # JSON has no other ones
        return numbers.cast(pa.string()).fill_null("null")
    if pa.types.is_string(kind) and not pc.any(pc.match_substring_regex(column, _ESCAPED)).as_py():
        return pc.binary_join_element_wise('"', column, '"', "").fill_null("null")
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        column = column.cast(pa.string())
    values = column.to_pylist()
    return pa.array([json_values.text(one) for one in values], pa.string())


def _vectors(vectors: AnyVectors) -> pa.Array:
    # The shortest decimal that is the same float32: arrow has no text of float16.
    numbers = pa.array(vectors.astype(np.float32, copy=False).ravel()).cast(pa.string())
    offsets = pa.array(np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1])
    return pc.binary_join_element_wise("[", pc.binary_join(pa.ListArray.from_arrays(offsets, numbers), ","), "]", "")
