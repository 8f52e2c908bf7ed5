"""The ids that a caller asks with: of lists, arrays, columns, or of what the release has answered before."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from lookalike.errors import QueryError
from lookalike.serving.questions import is_unicode
from lookalike.serving.results import Items
from lookalike.serving.shard import Neighbour

# What may stand for one id: text, the numbers of catalogues that have these, a neighbour.
ItemId = str | int | Neighbour
ItemIds = Iterable[Any]

# How None, pandas and numpy write a value that is not there.
_MISSING = ("None", "<NA>", "NaT")


def as_item_id(item_id: object) -> str:
    """Return an id as text, as the tables have it, also of a neighbour or a row of items; raise QueryError for others.

    What is neither text nor a number, such as a UUID, is taken as its text.
    """
    if isinstance(item_id, Neighbour):
        item_id = item_id.item_id
    elif isinstance(item_id, dict) and "item_id" in item_id:
        item_id = item_id["item_id"]
    elif isinstance(item_id, pa.Scalar):
        item_id = item_id.as_py()
    text = str(item_id)
    if not isinstance(item_id, str):
        # A float is a column with missing values. What has parts is a list or a column that a caller takes for an id.
        has_parts = isinstance(item_id, Iterable) and not isinstance(item_id, bytes)
        if has_parts or isinstance(item_id, float | np.floating | bytes) or text in _MISSING:
            shown = f"of the type {type(item_id).__name__}" if has_parts else repr(item_id)
            raise QueryError(f"an item id is {shown}; give a text, or a whole number")
    if not is_unicode(text):  # half a character, as the shell passes a byte that is no UTF-8
        raise QueryError(f"item {text!r} is not in the release: it is not text")
    return text


def as_item_ids(item_ids: ItemIds) -> pa.Array:
    """Return ids as a column of texts: of a list, an array, a column of pandas, Arrow or Polars, neighbours or items.

    Raises QueryError for a single id, a table, and a value that is missing.
    """
    if isinstance(item_ids, Items):
        return item_ids.to_arrow()["item_id"].combine_chunks()
    single = isinstance(item_ids, str | bytes | Neighbour) or not isinstance(item_ids, Iterable)
    if single or len(getattr(item_ids, "shape", (0,))) != 1:
        raise QueryError(f"the ids are {_shown(item_ids)}; give a list of ids, or one column")
    if isinstance(item_ids, pa.Array | pa.ChunkedArray):
        item_ids = item_ids.to_pylist()
    return pa.array([as_item_id(one) for one in item_ids], pa.string())


def _shown(value: object) -> str:
    return f"one text, {value!r}" if isinstance(value, str) else f"of the type {type(value).__name__}"
