"""The files of similar_items: they divide the items by id, and each is sorted by item_id and rank.

With each goes a file of the table `changes`, with the items whose lists differ from those of the release before.

A task finds lists that belong into many files. They travel as few large values, which Spark moves as they are, and
Arrow writes the files: 600,000 neighbours take 0.33 s of a core.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookalike.knn.lists import FOUND
from lookalike.knn.task import FoundPart
from lookalike.neighbours.list_changes import IdRange, PreviousLists, list_changes
from lookalike.spark import arrow_files, schemas
from lookalike.topk.items import Ids, as_ids
from lookalike.warehouse.release import Staged
from lookalike.warehouse.release_files import StoredFile

SIMILAR_ITEMS: Final = schemas.as_arrow(schemas.SIMILAR_ITEMS)
CHANGES: Final = schemas.as_arrow(schemas.CHANGES)

# What travels from the tasks that search to those that write: rows of FOUND, as a stream of Arrow, and their file; and
# what was written of the table of neighbours, as JSON, with whichever file.
PARTS: Final = "file int, lists binary, written array<string>"

# A reader that asks for one item reads the row groups with its id in their range: 1 MB each. 250,000 items with 20
# neighbours: pyarrow takes 6 ms with 64 groups, 60 with 16, 300 with one.
ROW_GROUP_ROWS = 1 << 16


@dataclass(frozen=True)
class SimilarItemFiles:
    """The files of the release in the making: after each of `bounds`, which ascend, another begins."""

    staged: Staged
    bounds: Ids
    before: PreviousLists | None = None  # with which they are compared

    def parts(self, part: FoundPart) -> Iterator[pa.RecordBatch]:
        """Yield what a task has found as one row of PARTS for each file."""
        found, written = part.rows, [file.model_dump_json() for file in part.files]
        files = np.searchsorted(self.bounds, as_ids(found["item_id"])) if len(found) else np.zeros(0, np.int64)
        for number in np.unique(files).tolist():
            yield _part(number, _as_stream(found.filter(pa.array(files == number))), [])
        yield _part(0, None, written)

    def write(self, number: int, parts: Iterable[pa.Buffer]) -> tuple[list[StoredFile], int]:
        """Write a file from all parts of it, and its changes; return both, and how many of its items were searched."""
        tables = [pa.ipc.open_stream(part).read_all() for part in parts]
        found = pa.concat_tables([FOUND.empty_table(), *tables]).sort_by("item_id")
        files = [self._write(number, [_columns(found)]), self._write_changes(number, found)]
        return files, pc.sum(found["searched"]).as_py() or 0

    def reuse(self, number: int, path: Path) -> StoredFile:
        """Write a file of another release as one of this."""
        batches = arrow_files.read_batches(self.staged.shared.fetch(path), SIMILAR_ITEMS.names[:-1])
        return self._write(number, (batch.columns for batch in batches))

    def _write(self, number: int, columns: Iterable[list[pa.Array]]) -> StoredFile:
        """Write batches of all columns but the last, which is the same in all rows."""
        release_id = self.staged.release_id
        batches = (
            pa.record_batch([*some, pa.repeat(release_id, len(some[0]))], schema=SIMILAR_ITEMS) for some in columns
        )
        path = self.staged.similar_items / f"part-{number:05d}-{release_id}.parquet"
        arrow_files.write_file(self.staged.shared.here(path), SIMILAR_ITEMS, batches, ROW_GROUP_ROWS)
        return self.staged.save(path)

    def _write_changes(self, number: int, found: pa.Table) -> StoredFile:
        changes = list_changes(found, self.before, IdRange.between(self.bounds, number))
        path = self.staged.changes / f"lists-{number:05d}-{self.staged.release_id}.parquet"
        arrow_files.write_file(self.staged.shared.here(path), CHANGES, changes, ROW_GROUP_ROWS)
        return self.staged.save(path)


def _part(file: int, lists: bytes | None, written: list[str]) -> pa.RecordBatch:
    columns = [pa.array([file], pa.int32()), pa.array([lists], pa.binary()), pa.array([written], pa.list_(pa.string()))]
    return pa.record_batch(columns, ["file", "lists", "written"])


def _columns(found: pa.Table) -> list[pa.Array]:
    """The columns of the table, without release_id, for rows of FOUND."""
    items, lists, scores = (found[name].combine_chunks() for name in FOUND.names[:3])
    of = pc.list_parent_indices(lists).to_numpy()
    ranks = pa.array(1 + np.arange(len(of)) - np.searchsorted(of, of), pa.int32())
    return [items.take(pa.array(of)), ranks, lists.flatten(), scores.flatten()]


def _as_stream(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    return bytes(sink.getvalue())
