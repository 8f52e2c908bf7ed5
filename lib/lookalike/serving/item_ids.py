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

# What may stand for one id: text, and the numbers of catalogues that have these.
ItemIds = Iterable[Any]


def as_item_id(item_id: object) -> str:
    """Return an id as text, as the tables have it; raise QueryError for what is none."""
    if isinstance(item_id, Neighbour):
        item_id = item_id.item_id
    if _is_missing(item_id):
        raise QueryError(f"an item id is {item_id!r}; give a text, or a whole number")
    text = str(item_id)
    if not is_unicode(text):  # half a character, as the shell passes a byte that is no UTF-8
        raise QueryError(f"item {text!r} is not in the release: it is not text")
    return text


def as_item_ids(item_ids: ItemIds) -> pa.Array:
    """Return ids as a column of texts: of a list, an array, a column of pandas, Arrow or Polars, neighbours or items.

    Raises QueryError for a single id, and for a value that is missing.
    """
    if isinstance(item_ids, str | bytes | Neighbour) or not isinstance(item_ids, Iterable):
        raise QueryError(f"the ids are {_shown(item_ids)}; give a list of ids, or ask for the one with similar")
    if isinstance(item_ids, Items):
        return item_ids.to_arrow()["item_id"].combine_chunks()
    if isinstance(item_ids, pa.Array | pa.ChunkedArray):
        item_ids = item_ids.to_pylist()
    return pa.array([as_item_id(one) for one in item_ids], pa.string())


def _is_missing(item_id: object) -> bool:
    """Return whether it is None, NaN, NaT or pandas's NA, which are not even equal to themselves."""
    if item_id is None or type(item_id).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(item_id, float | np.floating) and bool(np.isnan(item_id))


def _shown(value: object) -> str:
    return f"one text, {value!r}" if isinstance(value, str) else f"of the type {type(value).__name__}"
