"""Read rows of a release's Parquet tables, and refuse a table that is not as it was written.

The first query compares the names, sizes and digests of a table's files to files.json: 0.15 s for WHOLE_BYTES. Of a
larger table it compares the digests of the footers alone, 0.1 ms a file; pages carry checksums, which are verified when
they are read. What these do not cover is the header of a page, 30 bytes: of 7,840 bits flipped in such headers 274 gave
other rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from lookalike.errors import WarehouseError
from lookalike.warehouse import release_files
from lookalike.warehouse.item_columns import item_columns as item_columns_of
from lookalike.warehouse.release import ReleaseFolder
from lookalike.warehouse.release_files import ReleaseFiles, StoredFile

# 100,000 items have 15 MB of similar_items; 200 million rows, which no query should wait for, have 1.5 GB.
WHOLE_BYTES = 256 << 20

_FORMAT = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
)


@dataclass(frozen=True)
class Table:
    """The files of a table, their footers read; None where it has no files."""

    folder: Path
    files: ds.Dataset | None

    def rows(self, wanted: ds.Expression, columns: Sequence[str]) -> list[dict[str, Any]]:
        """Return the wanted rows as dictionaries; raise WarehouseError."""
        if self.files is None:
            return []
        try:
            return in_python(self.read(columns, wanted))
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise damaged(self.folder, error) from None

    def read(self, columns: Sequence[str], wanted: ds.Expression | None = None) -> pa.Table:
        """Return columns of the wanted rows, or of all; raise WarehouseError. None has files to read where `files` is.

        Row groups without a wanted row, by their statistics, are not read.
        """
        assert self.files is not None
        try:
            found = self.files.to_table(columns=list(columns), filter=wanted)
        except (OSError, pa.ArrowException) as error:
            raise damaged(self.folder, error) from None
        # Of the schema that Spark wrote the file with: written on, Spark would read that one, with columns of nulls.
        return found.replace_schema_metadata()

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield columns of all rows, a part at a time; raise WarehouseError."""
        try:
            if self.files is not None:
                yield from self.files.to_batches(columns=list(columns), batch_size=1 << 20, fragment_readahead=1)
        except (OSError, pa.ArrowException) as error:
            raise damaged(self.folder, error) from None

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the embeddings of some rows, float32 [n, dimensions]; only row groups that hold any are read."""
        assert self.files is not None
        order = np.argsort(rows, kind="stable")
        parts, start = [], 0
        for fragment in self.files.get_fragments():
            for group in fragment.row_groups:
                first, last = np.searchsorted(rows[order], [start, start + group.num_rows])
                if first < last:
                    wanted = rows[order[first:last]] - start
                    parts.append(self._of_group(fragment.subset(row_group_ids=[group.id]), wanted))
                start += group.num_rows
        if not len(parts):
            return np.empty((0, 0), np.float32) if not start else self.vectors(np.zeros(1, np.int64))[:0]
        found = np.concatenate(parts)
        vectors = np.empty_like(found)
        vectors[order] = found
        return vectors

    def _of_group(self, fragment: ds.Fragment, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        try:
            column = fragment.to_table(columns=["embedding"])["embedding"].combine_chunks()
            matrix: NDArray[np.float32] = column.flatten().to_numpy().reshape(len(column), -1)
            return matrix[rows]
        except (OSError, pa.ArrowException, ValueError) as error:
            raise damaged(self.folder, error) from None


def in_python(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows; where Python lacks a time, such as of the year 12000, the times and days are their texts."""
    try:
        found: list[dict[str, Any]] = table.to_pylist()
    except OverflowError:
        columns = [one.cast(pa.string()) if pa.types.is_temporal(one.type) else one for one in table.columns]
        found = pa.table(columns, table.column_names).to_pylist()
    return found


def item_columns(embeddings: Table) -> tuple[str, ...]:
    """Return the columns that say what an item is: item_id, image_path, and those that come from the catalogue."""
    return item_columns_of(("item_id", "image_path") if embeddings.files is None else embeddings.files.schema.names)


def open_table(release: ReleaseFolder, folder: Path) -> Table:
    """Return the table in a folder of a release; raise WarehouseError when a file of it is damaged, gone or foreign."""
    try:
        names, listed = release_files.table_files(folder), release.files()
        if listed is not None:
            _check_listed(folder, names, listed)
        else:
            _check_unlisted(folder, names)
        table = Table(folder, _with_footers([str(folder / name) for name in names]))
        if listed is None:
            _check_rows(release, table)
    except (OSError, pa.ArrowException) as error:
        raise damaged(folder, error) from None
    return table


def need_whole(path: Path, listed: ReleaseFiles | None) -> None:
    """Raise WarehouseError unless a small file of the index is, byte for byte, the one that files.json lists.

    The shards themselves are not listed here: their digests are in index.json, and are verified when one is opened.
    """
    if listed is None:
        return
    name = f"{path.parent.name}/{path.name}"
    file = next((file for file in listed.of_part(path.parent.name) if file.name == name), None)
    problem = file.problem(path.parent.parent) if file else "it is no file of the release"
    if problem is not None:
        raise damaged(path, problem)


def _check_listed(folder: Path, names: Sequence[str], listed: ReleaseFiles) -> None:
    ours = {Path(file.name).name: file for file in listed.of_part(folder.name)}
    for name in names:
        if name not in ours:
            raise damaged(folder / name, "it is no file of the release")
    check = StoredFile.problem if sum(file.bytes for file in ours.values()) <= WHOLE_BYTES else StoredFile.outer_problem
    for name, file in ours.items():
        if (problem := check(file, folder.parent)) is not None:
            raise damaged(folder / name, problem)


def _check_unlisted(folder: Path, names: Sequence[str]) -> None:
    for name in release_files.unlisted_gone(folder):
        raise damaged(folder / name, "it is gone")
    whole = sum((folder / name).stat().st_size for name in names) <= WHOLE_BYTES
    for name in names:
        if (problem := release_files.unlisted_problem(folder / name, whole=whole)) is not None:
            raise damaged(folder / name, problem)


def _with_footers(paths: Sequence[str]) -> ds.Dataset | None:
    """Return the files as one table that keeps their footers: they are not read again."""
    if not paths:
        return None
    table = ds.dataset(list(paths), format=_FORMAT)
    for fragment in table.get_fragments():
        fragment.ensure_complete_metadata()
    return table


def _check_rows(release: ReleaseFolder, table: Table) -> None:
    """Compare the rows of a table to release.json, where no files.json lists its files: before 0.3.0."""
    counts = release.record().counts
    known = {"embeddings": counts.embedded, "failures": counts.failed, "similar_items": counts.similar_items}
    expected = known.get(table.folder.name)
    there = sum(one.metadata.num_rows for one in table.files.get_fragments()) if table.files else 0
    if expected is not None and there != expected:
        raise damaged(table.folder, f"it has {there:,} rows, release.json says {expected:,}")


def damaged(path: Path, reason: Exception | str) -> WarehouseError:
    """Return the error of a file or table that is not what was written."""
    said = " ".join(str(reason).split())
    return WarehouseError(f"{path} cannot be read ({said}); roll back to another release, or run the job again")
