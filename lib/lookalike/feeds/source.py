"""The tables of a release as they are exported: a few thousand rows at a time, vectors as matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lookalike.errors import ExportError
from lookalike.serving import tables
from lookalike.topk.items import Vectors
from lookalike.warehouse.item_columns import in_microseconds
from lookalike.warehouse.release import ReleaseFolder

# At 2,048 dimensions a batch of vectors is 8 MB; one of names and numbers is smaller.
BATCH_ROWS = 1024

_LISTS = pa.schema({"item_id": pa.string(), "rank": pa.int32(), "similar_item_id": pa.string(), "score": pa.float32()})
_FAILURES = pa.schema({"item_id": pa.string(), "image_path": pa.string(), "reason": pa.string(), "detail": pa.string()})
_ITEMS = pa.schema({"item_id": pa.string(), "image_path": pa.string()})
_VECTOR = "embedding"

AnyVectors = NDArray[np.float16] | NDArray[np.float32]
Convert = Callable[[Vectors], AnyVectors]


@dataclass(frozen=True)
class Batch:
    """Some rows of a table, and the vector of each, where it has any."""

    rows: pa.RecordBatch
    vectors: AnyVectors | None = None


@dataclass(frozen=True)
class Feed:
    """One table to export; `keys` are the columns that tell its rows apart."""

    name: str
    columns: pa.Schema
    keys: tuple[str, ...]
    has_vectors: bool
    table: tables.Table

    @property
    def rows(self) -> int:
        """How many rows the table has."""
        return self.table.files.count_rows() if self.table.files is not None else 0

    def batches(self, convert: Convert) -> Iterator[Batch]:
        """Yield the rows in the order of the release's files, vectors converted; raises WarehouseError."""
        for batch in self._read([*self.columns.names, *([_VECTOR] if self.has_vectors else [])]):
            rows = batch.select(self.columns.names).cast(self.columns)
            yield Batch(rows, convert(matrix(batch[_VECTOR])) if self.has_vectors else None)

    def ids(self) -> Iterator[pa.Array]:
        """Yield the item ids in the same order."""
        return (batch["item_id"] for batch in self._read(["item_id"]))

    def vectors(self) -> Iterator[Vectors]:
        """Yield the vectors in the same order."""
        return (matrix(batch[_VECTOR]) for batch in self._read([_VECTOR]))

    def _read(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        if self.table.files is None:
            return
        try:
            # A fragment after the other, or their read-ahead would hold many row groups of vectors.
            for batch in self.table.files.to_batches(
                columns=names, batch_size=BATCH_ROWS, batch_readahead=2, fragment_readahead=1
            ):
                if batch.num_rows:
                    yield batch
        except (OSError, pa.ArrowException) as error:
            raise tables.damaged(self.table.folder, error) from None


def matrix(column: pa.Array) -> Vectors:
    """Return a column of lists of one length as a matrix; raises ExportError."""
    numbers = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    if column.null_count or not len(column) or len(numbers) % len(column):
        raise ExportError("embeddings holds rows without a vector; roll back to another release, or run the job again")
    found: Vectors = numbers.reshape(len(column), -1)
    return found


def feeds_of(release: ReleaseFolder) -> list[Feed]:
    """Return the tables of a release to export; raises WarehouseError. Items come first."""
    embeddings = tables.open_table(release, release.embeddings)
    lists, failures = (tables.open_table(release, one) for one in (release.similar_items, release.failures))
    return [
        Feed("embeddings", _item_columns(embeddings), ("item_id",), True, embeddings),
        Feed("similar_items", _LISTS, ("item_id", "rank"), False, lists),
        Feed("failures", _FAILURES, ("item_id",), False, failures),
    ]


def _item_columns(embeddings: tables.Table) -> pa.Schema:
    """Return what an item is, without its vector."""
    if embeddings.files is None:
        return _ITEMS
    stored = embeddings.files.schema
    return pa.schema([in_microseconds(stored.field(name)) for name in tables.item_columns(embeddings)])
