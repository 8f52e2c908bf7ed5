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

from lookalike.catalogue.delta import Delta
from lookalike.errors import CountError
from lookalike.spark import arrow_files
from lookalike.spark.tasks import collect_tasks
from lookalike.warehouse.release import Staged
from lookalike.warehouse.release_files import StoredFile
from lookalike.warehouse.shared_files import SharedFiles

# Rows of a file: a task carries it in a second, and a million embeddings are 122 files of 20 MB.
ROWS_PER_FILE = 8192

# Files of less than half of that, one or two a night, are carried into one when there are so many.
MAX_SMALL_FILES = 16


def carry_rows(delta: Delta, staged: Staged) -> None:
    """Carry the rows of the parent's embeddings that stay into the release in the making.

    Raises CountError unless as many rows stay as were compared to the catalogue.
    """
    assert delta.before is not None
    sources, shared = delta.before.sound_files("embeddings"), staged.shared
    groups, of_delta = plan_groups({path: _rows_of(path, staged) for path in sources}), tuple(delta.paths)
    known = {path: staged.inherited.get(f"{path.parent.name}/{path.name}") for path in sources}

    def carry(number: int) -> StoredFile:
        gone = _ids_of_gone(shared, of_delta)
        target = staged.embeddings / f"carried-{number:05}-{staged.release_id}.parquet"
        return _linked(groups[number], known, gone, staged) or _carry(groups[number], target, gone, staged)

    files = collect_tasks(delta.table.sparkSession, len(groups), carry)
    staged.add(files)
    carried = sum(file.rows or 0 for file in files)
    if carried != delta.kept:
        raise CountError(
            f"{delta.before.release.embeddings} has {carried:,} rows that stay, where {delta.kept:,} were compared to "
            "the catalogue; run again when nothing writes to it"
        )


def _rows_of(path: Path, staged: Staged) -> int:
    known = staged.inherited.get(f"{path.parent.name}/{path.name}")
    return known.rows or 0 if known else int(pq.read_metadata(staged.shared.fetch(path)).num_rows)


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


def _linked(
    paths: Sequence[Path], known: Mapping[Path, StoredFile | None], gone: pa.Array, staged: Staged
) -> StoredFile | None:
    """Link a file of which nothing goes; None where something does, or where several become one."""
    if len(paths) > 1:
        return None
    ids = arrow_files.read_batches(staged.shared.fetch(paths[0]), ["item_id"])
    if any(len(_goes(batch, gone)) for batch in ids):
        return None
    return staged.link(f"{paths[0].parent.name}/{paths[0].name}", known[paths[0]])


def _carry(paths: Sequence[Path], target: Path, gone: pa.Array, staged: Staged) -> StoredFile:
    """Carry the rows that stay of one file, or of several into one; return what is written."""
    copies = [staged.shared.fetch(path) for path in paths]
    batches = (batch for copy in copies for batch in arrow_files.read_batches(copy))
    staying = (some for batch in batches for some in _staying(batch, gone))
    arrow_files.write_file(staged.shared.here(target), pq.read_schema(copies[0]), staying)
    return staged.save(target)


@lru_cache(maxsize=1)
def _ids_of_gone(shared: SharedFiles, delta: tuple[Path, ...]) -> pa.Array:
    """Return the ids of the embeddings that go, once for all tasks of a worker: a run has files of its own."""
    goes = pc.field("was_embedded") & ~pc.field("keep")
    found = [pq.read_table(shared.fetch(path), columns=["item_id"], filters=goes)["item_id"] for path in delta]
    return pa.chunked_array([chunk for one in found for chunk in one.chunks], pa.string()).combine_chunks()


def _goes(batch: pa.RecordBatch, gone: pa.Array) -> NDArray[np.int64]:
    """Return the rows of items that are `gone`."""
    return np.flatnonzero(pc.is_in(batch["item_id"], value_set=gone))


def _staying(batch: pa.RecordBatch, gone: pa.Array) -> Iterator[pa.RecordBatch]:
    """Yield the rows between those that go: slices, since a filter copies the vectors, 1 s of 9 for 100,000."""
    edges = [-1, *_goes(batch, gone).tolist(), len(batch)]
    yield from (batch.slice(last + 1, row - last - 1) for last, row in pairwise(edges) if row > last + 1)
