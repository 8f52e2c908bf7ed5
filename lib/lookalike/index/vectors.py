"""The vectors that shards are built from: copied out of `embeddings` once by Arrow, or mapped from older Annoy files.

Arrow decodes 2,048 numbers in 75 µs. The copies are read three times, to train, to find the lists and to build, and
last as long as the step.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lookalike.index import annoy as annoy_index
from lookalike.spark import arrow_files
from lookalike.topk.items import Vectors
from lookalike.warehouse.release import Staged
from lookalike.warehouse.shared_files import SharedFiles

_COLUMN = "embedding"


@dataclass(frozen=True)
class VectorFiles:
    """Where the vectors of a source are: a file of `embeddings`, of which copies are made, or a `.ann` file.

    The copies are of each machine that does not share a disk with the others.
    """

    shared: SharedFiles
    embeddings: Mapping[str, Path]  # the files of the table, by name
    copies: Path
    before: Path | None  # the folder of the previous index
    dimensions: int

    @classmethod
    def of(cls, staged: Staged, copies: Path) -> VectorFiles:
        """Return those of the table alone; its first vector tells the dimensions."""
        paths = staged.paths("embeddings")
        copies_of = (staged.shared.fetch(path) for path in paths)
        found = (batch for copy in copies_of for batch in arrow_files.read_batches(copy, [_COLUMN], size=1))
        first = next(found, None)
        dimensions = 1 if first is None else len(first[_COLUMN][0])
        return cls(staged.shared, {path.name: path for path in paths}, copies, None, dimensions)

    def copy_file(self, file: str) -> None:
        """Copy the vectors of a file, unless they are."""
        for number in range(len(self._starts(file)) - 1):
            self.copy(file, number)

    def copy(self, file: str, number: int) -> Path:
        """Copy the vectors of a row group, unless there is a copy; complete or not at all: a task may run twice."""
        target = self.shared.here(self.copies / f"{file}.{number}.f32")
        if target.exists():
            return target
        attempt = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        with attempt.open("wb") as copied:
            for batch in arrow_files.read_batches(self.shared.fetch(self.embeddings[file]), [_COLUMN], [number]):
                copied.write(np.ascontiguousarray(batch[_COLUMN].flatten().to_numpy(), dtype=np.float32).data)
        os.replace(attempt, target)
        return target

    def _starts(self, file: str) -> NDArray[np.int64]:
        return _row_group_starts(self.shared, self.embeddings[file])

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
        if source.endswith(".ann"):
            assert self.before is not None  # nothing else has such a source
            items = int(rows.max()) + 1
            path = self.shared.fetch(self.before / source)
            yield annoy_index.map_vectors(path, items, self.dimensions)[rows], np.arange(len(rows))
            return
        starts = self._starts(source)
        numbers = np.searchsorted(starts, rows, side="right") - 1
        for number in np.unique(numbers).tolist():
            some = np.flatnonzero(numbers == number)
            copied = np.memmap(self.copy(source, number), np.float32, "r").reshape(-1, self.dimensions)
            yield copied[rows[some] - starts[number]], some


@lru_cache(maxsize=1024)
def _row_group_starts(shared: SharedFiles, path: Path) -> NDArray[np.int64]:
    """The first row of each row group of a file, and the number of rows: read once in each worker."""
    return arrow_files.row_group_starts(shared.fetch(path))
