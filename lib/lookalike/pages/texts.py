"""Columns of any type as the texts that pages show."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

# Characters of a label that are held: a column may have a page of text.
LONGEST_LABEL = 200


def texts(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as texts; of a type that has none, each value as Python writes it."""
    try:
        found = column.cast(pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        said = [None if one is None else str(one) for one in column.to_pylist()]
        found = pa.chunked_array([pa.array(said, pa.string())])
    whole = found.combine_chunks()
    return whole if isinstance(whole, pa.Array) else pa.concat_arrays(whole.chunks)


def labels(column: pa.ChunkedArray) -> pa.Array:
    """Return a kept column as labels, '' for a null."""
    return pc.utf8_slice_codeunits(pc.fill_null(texts(column), ""), 0, LONGEST_LABEL)
