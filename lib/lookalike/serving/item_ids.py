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


# What a caller may take for an id: a whole list, a row of another type, bytes; a float is a column with missing values.
_LISTS = (list, set, tuple, dict, np.ndarray)
_NO_IDS = (float, np.floating, bytes, *_LISTS)


def as_item_id(item_id: object) -> str:
    """Return an id as text, as the tables have it, also of a neighbour or a row of items; raise QueryError for others.

    What is neither text nor a number, such as a UUID, is taken as its text.
    """
    if isinstance(item_id, Neighbour):
        item_id = item_id.item_id
    elif isinstance(item_id, dict) and "item_id" in item_id:
        item_id = item_id["item_id"]
    if item_id is None or isinstance(item_id, _NO_IDS) or type(item_id).__name__ in ("NAType", "NaTType"):
        shown = f"of the type {type(item_id).__name__}" if isinstance(item_id, _LISTS) else repr(item_id)
        raise QueryError(f"an item id is {shown}; give a text, or a whole number")
    text = str(item_id)
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
