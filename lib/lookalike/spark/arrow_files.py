"""Write Parquet files by Arrow inside a task, in the layout that Spark's own files have here (see spark.parquet)."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lookalike.errors import WarehouseError

# 8 MB of vectors: a reader of a sample reads few.
ROW_GROUP_ROWS = 1024

_OPTIONS = {
    "compression": "zstd",
    "compression_level": 3,
    "write_page_checksum": True,
    # Spark reads the types from its own key in the footer, and other readers from Parquet's schema.
    "store_schema": False,
    # 16,384 vectors of int8: 2,240 bytes each in 5.3 s for 100,000, against 2,597 bytes in 6.3 s in pages of 1 MB.
    "data_page_size": 128 << 10,
}

# Numbers that hardly repeat: a dictionary would add to them.
_PLAIN = ("embedding.list.element", "score")


def write_file(
    path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch], group_rows: int = ROW_GROUP_ROWS
) -> int:
    """Write a table's file, by a hidden name first, and return its rows; of a task that runs twice the first stays."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    rows = 0
    try:
        with _writer(part, schema) as writer:
            for table in _row_groups(schema, batches, group_rows):
                writer.write_table(table, row_group_size=group_rows)
                rows += table.num_rows
            if schema.metadata:  # with them Spark's types, which Parquet's schema tells in part
                writer.add_key_value_metadata(schema.metadata)
        _name(part, path)
    finally:
        part.unlink(missing_ok=True)
    return rows


def _name(part: Path, path: Path) -> None:
    """Give a finished file its name, unless there is one of that name: the first try of a task to end has made it.

    The order of rows may differ between two tries, and what the first one has reported of its file stays true.
    """
    try:
        os.link(part, path)
    except FileExistsError:
        return
    except OSError:  # a file system without links
        os.replace(part, path)


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    columns = [name for name in _leaves(schema) if name not in _PLAIN]
    return pq.ParquetWriter(path, schema, use_dictionary=columns, write_statistics=columns, **_OPTIONS)


def _leaves(schema: pa.Schema) -> list[str]:
    """Return the paths of the columns of a Parquet file with this schema."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    found = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return [found.column(number).path for number in range(len(found))]


def _row_groups(schema: pa.Schema, batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Yield the rows in tables of one row group each."""
    waiting = schema.empty_table()
    for batch in batches:
        waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch], schema)])
        while len(waiting) >= rows:
            yield waiting.slice(0, rows)
            waiting = waiting.slice(rows)
    if len(waiting):
        yield waiting


def read_batches(
    path: Path,
    columns: Sequence[str] | None = None,
    row_groups: Sequence[int] | None = None,
    size: int = ROW_GROUP_ROWS,
) -> Iterator[pa.RecordBatch]:
    """Yield a file of a release, or some of its row groups, in batches of `size` rows; raises WarehouseError."""
    with _named(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        # By batches 100,000 vectors take 4 s of a core, read as a whole 12 s: the memory is used again.
        groups = range(file.num_row_groups) if row_groups is None else row_groups
        yield from file.iter_batches(size, row_groups=list(groups), columns=columns, use_threads=False)


def read_schema(path: Path) -> pa.Schema:
    """Return the schema of a file of a release; raises WarehouseError."""
    with _named(path):
        return pq.read_schema(path)


def read_statistics(path: Path, column: str) -> list[pq.Statistics | None]:
    """Return what the footer of a file of a release says of a column in each row group; raises WarehouseError."""
    with _named(path):
        footer = pq.read_metadata(path)
    names = [footer.schema.column(number).path for number in range(len(footer.schema))]
    groups = (footer.row_group(number) for number in range(footer.num_row_groups))
    return [group.column(names.index(column)).statistics for group in groups]


def take_rows(path: Path, column: str, rows: NDArray[np.int64]) -> pa.Array:
    """Return a column at some rows [n], in any order, of a file of a release; raises WarehouseError."""
    order = np.argsort(rows, kind="stable")
    starts, wanted, found = row_group_starts(path), rows[order], []
    groups = np.searchsorted(starts, wanted, side="right") - 1
    for group in np.unique(groups).tolist():
        mine = pa.array(wanted[groups == group] - starts[group])
        table = pa.Table.from_batches(read_batches(path, [column], [group]))
        found += table.take(mine)[column].chunks
    back = np.empty(len(rows), dtype=np.int64)
    back[order] = np.arange(len(rows))
    return pa.chunked_array(found).combine_chunks().take(pa.array(back))


def path_of(uri: str) -> Path:
    """Return the path of a file as Spark names it: file:/a or file:///a, by the way in which it listed the folder."""
    return Path("/" + unquote(uri.removeprefix("file:")).lstrip("/"))


def row_group_starts(path: Path) -> NDArray[np.int64]:
    """Return the first row of each row group of a file of a release, and the number of rows; raises WarehouseError."""
    with _named(path):
        footer = pq.read_metadata(path)
    return np.cumsum([0, *(footer.row_group(number).num_rows for number in range(footer.num_row_groups))])


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise WarehouseError(f"{path} cannot be read ({reason}); run again, which makes its part again") from None
