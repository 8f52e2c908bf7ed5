"""The failures of a release by their reason: how many each has, and the first few by item id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame

from lookalike.spark import worker

# Of each reason: the page shows them all, and a gate names one.
EXAMPLES = 3

_COLUMNS = ("reason", "item_id", "image_path", "detail")
_SORTED = [("reason", "ascending"), ("item_id", "ascending")]


@dataclass(frozen=True)
class FailedItem:
    """An item without a vector, as the table of failures has it."""

    item_id: str
    image_path: str | None
    detail: str | None


@dataclass(frozen=True)
class FailedReason:
    """How many items failed for a reason, and the first EXAMPLES of them by item id."""

    reason: str
    count: int
    examples: Sequence[FailedItem]


def by_reason(failures: DataFrame) -> list[FailedReason]:
    """Return every reason with its count and examples, the most common one first: one query without a shuffle."""
    kinds = ", ".join(f"{name} string" for name in _COLUMNS)
    found = failures.select(*_COLUMNS).mapInArrow(_of_partition, f"{kinds}, count long").toArrow()
    counts = dict.fromkeys(found["reason"].unique().to_pylist(), 0)
    for reason, count in zip(found["reason"].to_pylist(), found["count"].to_pylist(), strict=True):
        counts[reason] += count
    examples: dict[str, list[FailedItem]] = {reason: [] for reason in counts}
    for row in _first(found).select(_COLUMNS).to_pylist():
        examples[row.pop("reason")].append(FailedItem(**row))
    reasons = [FailedReason(reason, count, examples[reason]) for reason, count in counts.items()]
    return sorted(reasons, key=lambda one: (-one.count, one.reason))


def _of_partition(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the first rows of each reason, with the reason's `count` in its first row, 0 in the others."""
    worker.start_task()
    first, counts = None, dict[str, int]()
    for batch in batches:
        for one in pc.value_counts(batch["reason"]).to_pylist():
            counts[one["values"]] = counts.get(one["values"], 0) + one["counts"]
        rows = pa.Table.from_batches([batch])
        first = _first(rows if first is None else pa.concat_tables([first, rows]))
    if first is not None:
        begins = [counts.pop(reason, 0) for reason in first["reason"].to_pylist()]
        yield from first.append_column("count", pa.array(begins, pa.int64())).combine_chunks().to_batches()


def _first(rows: pa.Table) -> pa.Table:
    """Return the first EXAMPLES of each reason, by reason and item id."""
    rows = rows.sort_by(_SORTED)
    codes = rows["reason"].combine_chunks().dictionary_encode().indices.to_numpy()
    place = np.arange(len(codes)) - np.searchsorted(codes, codes)  # in their order, reasons are numbered upwards
    return rows.filter(pa.array(place < EXAMPLES))
