"""The items of a shard by position, `items.parquet`: ids, lists, tombstones, and the codes of the constraints."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lookalike.errors import ShardError
from lookalike.safe_text import one_line
from lookalike.storage.disk import disk_error_in

# `duplicate_group` and `represents` are null where the run looks for no duplicates, or the item has none.
ITEMS: Final = pa.schema(
    [
        pa.field("position", pa.int32(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("list", pa.int32(), nullable=False),  # of the group's inverted file; 0 in a group without centroids
        pa.field("deleted", pa.bool_(), nullable=False),  # a tombstone: the item left, or has another vector elsewhere
        pa.field("eligible", pa.bool_(), nullable=False),
        pa.field("variant_group", pa.int64(), nullable=False),
        pa.field("group_codes", pa.list_(pa.int64()), nullable=False),  # of group_by, then of each fallback level
        pa.field("duplicate_group", pa.int64()),
        pa.field("represents", pa.list_(pa.bool_())),
    ]
)


def write_items(path: Path, items: pa.Table) -> None:
    """Write the columns of ITEMS except `position`, in the order of the positions; those not given are null or false.

    Complete or not at all, by another name first: the file of that name may be a link to that of another release.
    """
    rows = len(items)
    known = {name: items[name] for name in items.column_names}
    defaults = {"position": pa.array(np.arange(rows, dtype=np.int32)), "deleted": pa.array(np.zeros(rows, dtype=bool))}
    columns = {**defaults, **known}
    table = pa.table([columns.get(field.name, pa.nulls(rows, field.type)) for field in ITEMS], ITEMS.names).cast(ITEMS)
    attempt = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        pq.write_table(table, attempt, compression="zstd", write_page_checksum=True)
        os.replace(attempt, path)
    finally:
        attempt.unlink(missing_ok=True)


def read_items(path: Path, *columns: str) -> pa.Table:
    """Return some columns of ITEMS, or all, by position; raises ShardError for a damaged file."""
    with _damage_named(path):
        return pq.read_table(path, columns=list(columns) or None, page_checksum_verification=True)


def read_array(path: Path, *, mapped: bool = False) -> NDArray[Any]:
    """Return the array of a file that numpy wrote, centroids or positions; raises ShardError for a damaged one."""
    with _damage_named(path):
        found: NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None)
        return found


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, ValueError, pa.ArrowException) as error:
        if isinstance(error, FileNotFoundError) or disk_error_in(str(error)):  # a disk's, which are named elsewhere
            raise
        raise ShardError(f"{path} is damaged ({one_line(str(error))}); run again, which replaces it") from None
