"""Carry the embeddings that stay from the current release to the next one: as files, or by Arrow; never as Spark rows.

100,000 vectors of which 1.2 % go take 11 s of a core to read and to write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from lookalike.errors import CountError
from lookalike.spark import arrow_files
from lookalike.spark.tasks import collect_tasks
from lookalike.storage.files import link_or_copy
from lookalike.warehouse.release import Staged

# Rows of a file: a task carries it in a second, and a million embeddings are 122 files of 20 MB.
ROWS_PER_FILE = 8192

# Files of less than half of that, one or two a night, are carried into one when there are so many.
MAX_SMALL_FILES = 16


def carry_rows(spark: SparkSession, folder: Path, staged: Staged, delta: Path, expected: int) -> None:
    """Carry the rows of a release's embeddings, in `folder`, into the release in the making.

    The files of the `delta` say what goes. Raises CountError unless `expected` rows stay.
    """
    groups = plan_groups({path: _rows(path) for path in sorted(folder.glob("*.parquet"))})
    staged.embeddings.mkdir(exist_ok=True)

    def carry(number: int) -> int:
        target = staged.embeddings / f"carried-{number:05}-{staged.release_id}.parquet"
        return _carry(groups[number], target, _ids_of_gone(delta), staged.work)

    carried = sum(collect_tasks(spark, len(groups), carry))
    if carried != expected:
        raise CountError(
            f"{folder} has {carried:,} rows that stay, where {expected:,} were compared to the catalogue; run again "
            "when nothing writes to it"
        )


def plan_groups(rows: Mapping[Path, int]) -> list[list[Path]]:
    """Return the files that are carried together, by their rows: each alone, but many small ones into few."""
    small = {path: count for path, count in rows.items() if count < ROWS_PER_FILE // 2}
    if len(small) <= MAX_SMALL_FILES:
        return [[path] for path in sorted(rows, key=lambda path: -rows[path])]
    merged: list[list[Path]] = [[]]
    filled = 0
    for path, count in small.items():
        if merged[-1] and filled + count > ROWS_PER_FILE:
            merged.append([])
            filled = 0
        merged[-1].append(path)
        filled += count
    return [*([path] for path in rows if path not in small), *merged]


def _carry(paths: Sequence[Path], target: Path, gone: pa.Array, scratch: Path) -> int:
    """Carry one file, or several into one; return the rows that stay. A file of which nothing goes is linked."""
    ids = (batch for path in paths for batch in arrow_files.read_batches(path, ["item_id"]))
    if len(paths) == 1 and not any(len(_goes(batch, gone)) for batch in ids):
        link_or_copy(paths[0], target.with_name(paths[0].name))
        return _rows(paths[0])
    batches = (batch for path in paths for batch in arrow_files.read_batches(path))
    staying = (some for batch in batches for some in _staying(batch, gone))
    return arrow_files.write_file(target, pq.read_schema(paths[0]), staying, scratch)


def _rows(path: Path) -> int:
    return int(pq.read_metadata(path).num_rows)


@lru_cache(maxsize=1)
def _ids_of_gone(delta: Path) -> pa.Array:
    """Return the ids of the embeddings that go, once for all tasks of a worker: a run has a folder of its own."""
    goes = pc.field("was_embedded") & ~pc.field("keep")
    return pq.read_table(delta, columns=["item_id"], filters=goes)["item_id"].combine_chunks()


def _goes(batch: pa.RecordBatch, gone: pa.Array) -> NDArray[np.int64]:
    """Return the rows of items that are `gone`."""
    return np.flatnonzero(pc.is_in(batch["item_id"], value_set=gone))


def _staying(batch: pa.RecordBatch, gone: pa.Array) -> Iterator[pa.RecordBatch]:
    """Yield the rows between those that go: slices, since a filter copies the vectors, 1 s of 9 for 100,000."""
    edges = [-1, *_goes(batch, gone).tolist(), len(batch)]
    yield from (batch.slice(last + 1, row - last - 1) for last, row in pairwise(edges) if row > last + 1)
