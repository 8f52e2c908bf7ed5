"""The columns of `embeddings` that say what an item is, and when an item is the same in two releases."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

# What the run knows of a picture; all other columns of `embeddings` are the item's own.
_OF_PICTURE = frozenset(
    {"fingerprint", "image_hash", "model_id", "embedding", "norm", "width", "height", "fixes", "embedded_at"}
)

# What the run knows of a vector: where these are equal, the vector is that of the release before.
_OF_VECTOR = ("image_hash", "model_id", "norm", "embedded_at")


def item_columns(names: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that say what an item is: item_id, image_path, and those that come from the catalogue."""
    return tuple(name for name in names if name not in _OF_PICTURE)


def compared_columns(now: pa.Schema, before: pa.Schema) -> list[str] | None:
    """Return the columns in which an item that stays the same has equal values in the embeddings of two releases.

    None where no item stays the same: the releases keep other columns, or columns of other types.
    """
    if not _items(now).equals(_items(before)):
        return None
    shared = [one for one in _OF_VECTOR if one in now.names and one in before.names]
    own = [one for one in item_columns(now.names) if one != "item_id"]
    return [*own, *(one for one in shared if now.field(one).type == before.field(one).type)]


def in_microseconds(field: pa.Field) -> pa.Field:
    """Return a column's field; nanoseconds are the INT96 of a version before 0.3.0, which is in UTC."""
    old = pa.types.is_timestamp(field.type) and field.type.unit == "ns"
    return pa.field(field.name, pa.timestamp("us", "UTC") if old else field.type)


def _items(stored: pa.Schema) -> pa.Schema:
    return pa.schema([in_microseconds(stored.field(name)) for name in item_columns(stored.names)])
