"""The vectors that shards are built from: copied out of `embeddings` once by Arrow, or mapped from older Annoy files.

Arrow decodes 2,048 numbers in 75 µs. The copies are read three times, to train, to find the lists and to build, and
last as long as the step.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lookalike.index import annoy as annoy_index
from lookalike.topk.items import Vectors

_COLUMN = "embedding"


class RowGroup(NamedTuple):
    """A row group of a file of `embeddings`, by its number in the file."""

    file: str
    number: int


@dataclass(frozen=True)
class VectorFiles:
    """Where the vectors of a source are: a file of `embeddings`, of which copies are made, or a `.ann` file."""

    embeddings: Path
    copies: Path
    before: Path | None  # the folder of the previous index
    dimensions: int
    starts: Mapping[str, NDArray[np.int64]]  # the first row of each row group, and the number of rows, by file

    @classmethod
    def of(cls, embeddings: Path, files: Iterable[str], copies: Path, before: Path | None) -> VectorFiles:
        """Read the footers of some files of `embeddings`; 300 take 0.1 s."""
        footers = {name: pq.read_metadata(embeddings / name) for name in files}
        starts = {
            name: np.cumsum([0, *(footer.row_group(number).num_rows for number in range(footer.num_row_groups))])
            for name, footer in footers.items()
        }
        widths = [width for footer in footers.values() if (width := _dimensions(footer))]
        return cls(embeddings, copies, before, widths[0] if widths else 1, starts)

    def row_groups(self) -> list[RowGroup]:
        """Return all row groups of the files."""
        return [RowGroup(file, number) for file, starts in self.starts.items() for number in range(len(starts) - 1)]

    def row_groups_of(self, sources: Sequence[str], rows: NDArray[np.int64]) -> list[RowGroup]:
        """Return the row groups that hold some rows."""
        of_row = np.array(sources)
        return [
            RowGroup(file, int(number))
            for file in sorted(set(sources) & self.starts.keys())
            for number in np.unique(self._group_of(file, rows[of_row == file]))
        ]

    def copy(self, group: RowGroup) -> None:
        """Copy the vectors of a row group, complete or not at all: a task may run twice."""
        with pq.ParquetFile(self.embeddings / group.file, page_checksum_verification=True) as file:
            column = file.read_row_group(group.number, columns=[_COLUMN], use_threads=False)[_COLUMN]
        target = self._copy_of(group)
        attempt = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        with attempt.open("wb") as copied:
            for chunk in column.chunks:
                copied.write(np.ascontiguousarray(chunk.flatten().to_numpy(), dtype=np.float32).data)
        os.replace(attempt, target)

    def gather(self, sources: pa.Array | pa.ChunkedArray, rows: NDArray[np.int64]) -> Vectors:
        """Return the vectors of some rows of some sources, float32 [n, d]."""
        coded = (sources.combine_chunks() if isinstance(sources, pa.ChunkedArray) else sources).dictionary_encode()
        codes = coded.indices.to_numpy()
        found = np.empty((len(rows), self.dimensions), dtype=np.float32)
        for code, source in enumerate(coded.dictionary.to_pylist()):
            here = np.flatnonzero(codes == code)
            for mapped, some in self._mapped(source, rows[here]):
                found[here[some]] = mapped
        return found

    def _mapped(self, source: str, rows: NDArray[np.int64]) -> Iterable[tuple[Vectors, NDArray[np.int64]]]:
        """Yield the vectors of some of the rows of a source, and which of `rows` these are."""
        if source not in self.starts:
            assert self.before is not None  # nothing else has such a source
            items = int(rows.max()) + 1
            yield annoy_index.map_vectors(self.before / source, items, self.dimensions)[rows], np.arange(len(rows))
            return
        numbers = self._group_of(source, rows)
        for number in np.unique(numbers).tolist():
            some = np.flatnonzero(numbers == number)
            copied = np.memmap(self._copy_of(RowGroup(source, number)), np.float32, "r").reshape(-1, self.dimensions)
            yield copied[rows[some] - self.starts[source][number]], some

    def _group_of(self, file: str, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(self.starts[file], rows, side="right") - 1

    def _copy_of(self, group: RowGroup) -> Path:
        return self.copies / f"{group.file}.{group.number}.f32"


def _dimensions(footer: pq.FileMetaData) -> int:
    """The numbers in each vector of a file; 0 of a file without rows."""
    if not footer.num_rows:
        return 0
    group = footer.row_group(0)
    paths = (group.column(at) for at in range(group.num_columns))
    values = next(column.num_values for column in paths if column.path_in_schema.split(".")[0] == _COLUMN)
    return int(values // group.num_rows)
