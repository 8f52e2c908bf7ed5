"""The files of the table of neighbours: one for each block of a shard's items, written and read by the tasks."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lookalike.index.built import divided
from lookalike.index.layout import shard_name
from lookalike.topk.items import Codes
from lookalike.warehouse.release import Staged
from lookalike.warehouse.release_files import StoredFile

# See spark.schemas.NEIGHBOURS, which is the same table for Spark.
NEIGHBOURS: Final = pa.schema(
    [
        pa.field("position", pa.int32()),
        pa.field("item_id", pa.string()),
        pa.field("neighbours", pa.list_(pa.int64())),
        pa.field("scores", pa.list_(pa.float32())),
        pa.field("complete", pa.bool_()),
        pa.field("from_fallback", pa.bool_()),
        pa.field("searched", pa.bool_()),
        pa.field("lists", pa.list_(pa.int32())),
    ]
)

_NAME = re.compile(r"^(shard-\d+)-(\d+)-")


@dataclass(frozen=True)
class NeighbourFiles:
    """The table of the release in the making, and the files of the release before."""

    staged: Staged
    previous: PreviousFiles | None = None

    def write(self, number: int, start: int, rows: pa.Table) -> StoredFile:
        """Write the lists of a block, complete or not at all: a task may run twice, and at the same time."""
        path = self.staged.neighbours / f"{shard_name(number)}-{start:08d}-{self.staged.release_id}.parquet"
        copy = self.staged.shared.here(path)
        attempt = copy.with_name(f".{copy.name}.{secrets.token_hex(4)}")
        pq.write_table(rows, attempt, compression="zstd", write_page_checksum=True, use_dictionary=False)
        os.replace(attempt, copy)
        return self.staged.save(path)

    def keep(self, number: int, start: int) -> StoredFile:
        """Link the file of the release before."""
        assert self.previous is not None
        name = f"neighbours/{self.previous.path(number, start).name}"
        return self.staged.link(name, self.previous.known.get(name))

    def read(self, places: Codes) -> pa.Table:
        """Return the previous lists of the items at these places [n] of the previous index, null rows where none is."""
        tables, at, count = [NEIGHBOURS.empty_table()], np.full(len(places), -1), 0
        numbers, all_positions = divided(places)
        for number in np.unique(numbers[places >= 0]).tolist():
            mine = np.flatnonzero(numbers == number)
            positions = all_positions[mine]
            table = self._read_shard(number, int(positions.min()), int(positions.max()))
            known = table["position"].to_numpy()
            found = np.searchsorted(known, positions)
            there = found < len(known)
            there[there] = known[found[there]] == positions[there]
            at[mine[there]] = count + found[there]
            count += len(table)
            tables.append(table)
        return pa.concat_tables(tables).take(pa.array(at, mask=at < 0)).combine_chunks()

    def _read_shard(self, number: int, low: int, high: int) -> pa.Table:
        """Return the rows of the files of a shard in which the positions `low` to `high` are, by position."""
        files = self.previous.of(number) if self.previous else []
        starts = np.array([start for start, _ in files], dtype=np.int64)
        first = max(0, int(np.searchsorted(starts, low, side="right")) - 1)
        copies = [self.staged.shared.fetch(path) for start, path in files[first:] if start <= high]
        tables = (pq.read_table(copy, schema=NEIGHBOURS, page_checksum_verification=True) for copy in copies)
        return pa.concat_tables([NEIGHBOURS.empty_table(), *tables])


@dataclass(frozen=True, eq=False)
class PreviousFiles:
    """The files of the table in the release before, and what its files.json says of them by name, where it has one."""

    paths: Sequence[Path]
    known: Mapping[str, StoredFile]

    def of(self, number: int) -> list[tuple[int, Path]]:
        """Return the first positions and the paths of the files of a shard, in order."""
        return self._by_shard.get(shard_name(number), [])

    def path(self, number: int, start: int) -> Path:
        """Return the file of a shard that begins with this position."""
        return next(path for first, path in self.of(number) if first == start)

    @cached_property
    def _by_shard(self) -> dict[str, list[tuple[int, Path]]]:
        found: dict[str, list[tuple[int, Path]]] = {}
        for path in sorted(self.paths):
            if (named := _NAME.match(path.name)) is not None:
                found.setdefault(named[1], []).append((int(named[2]), path))
        return found


def as_matrix(lists: pa.ListArray, width: int, empty: float) -> NDArray[Any]:
    """Return lists of numbers as a table [n, width], `empty` where a list is shorter."""
    lengths = lists.value_lengths().fill_null(0).to_numpy().astype(np.int64)
    flat = lists.flatten().to_numpy()
    table = np.full((len(lists), width), empty, dtype=flat.dtype)
    row = np.repeat(np.arange(len(lists)), lengths)
    table[row, np.arange(len(flat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)] = flat
    return table
