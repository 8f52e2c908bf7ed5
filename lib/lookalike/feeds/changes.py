"""What to upsert and to delete, so that a copy of one release becomes another one: items, and lists.

The tables of the two releases are compared as they are. So any two releases can be compared that still exist, of any
version, whatever was published or rolled back between them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa

from lookalike.errors import DiskError, WarehouseError
from lookalike.feeds.source import BATCH_ROWS, Feed, feeds_of
from lookalike.progress import say_detail
from lookalike.warehouse.item_columns import compared_columns
from lookalike.warehouse.release import ReleaseFolder

# Beyond it, DuckDB goes on in files.
_MEMORY = "2GB"

_NEIGHBOURS = pa.list_(pa.struct({"similar_item_id": pa.string(), "score": pa.float32()}))


@dataclass
class Changes:
    """The changes from one release to another; `counts` are complete once all batches were read."""

    before: ReleaseFolder
    now: ReleaseFolder
    vectors: bool
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._items, self._lists, _ = feeds_of(self.now)
        self._items_before, self._lists_before, _ = feeds_of(self.before)

    @property
    def schema(self) -> pa.Schema:
        """The columns: of an item `item`, and `embedding` where vectors are asked for; of a list `neighbours`."""
        named = {"kind": pa.string(), "change": pa.string(), "item_id": pa.string(), "item": self._struct}
        embedding = {"embedding": pa.list_(pa.float32())} if self.vectors else {}
        return pa.schema({**named, **embedding, "neighbours": _NEIGHBOURS})

    @property
    def _struct(self) -> pa.DataType:
        return pa.struct([one for one in self._items.columns if one.name != "item_id"])

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the changes: of items, then of lists; deletes first, by item id. Raises WarehouseError or DiskError."""
        with self._database() as database:
            yield from self._of("item", "delete", database, _GONE.format("items"))
            yield from self._of("item", "upsert", database, self._changed_items())
            database.execute(_CHANGED_LISTS)
            yield from self._of("list", "delete", database, _GONE_LISTS)
            yield from self._of("list", "upsert", database, _LISTS)

    @contextmanager
    def _database(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with tempfile.TemporaryDirectory() as folder, duckdb.connect() as database:
            database.execute(f"SET memory_limit = '{_MEMORY}'")
            database.execute("SET temp_directory = ?", [folder])
            database.execute("SET enable_progress_bar = false")  # it goes to stdout, among the changes
            for name, feed in (
                ("items", self._items),
                ("items_before", self._items_before),
                ("lists", self._lists),
                ("lists_before", self._lists_before),
            ):
                database.register(name, _source(feed))
            try:
                yield database
            except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
                raise DiskError(f"the releases cannot be compared ({error}); free space in {folder}") from None
            except duckdb.Error as error:
                raise WarehouseError(
                    f"the releases {self.before.release_id} and {self.now.release_id} cannot be compared ({error}); "
                    "`lookalike export` gives all of one"
                ) from None

    def _of(self, kind: str, change: str, database: duckdb.DuckDBPyConnection, query: str) -> Iterator[pa.RecordBatch]:
        key, rows = f"{kind}_{change}s", 0
        for batch in database.sql(f"{query} ORDER BY item_id").to_arrow_reader(BATCH_ROWS):
            rows += batch.num_rows
            yield self._batch(kind, change, batch)
        self.counts[key] = rows

    def _batch(self, kind: str, change: str, found: pa.RecordBatch) -> pa.RecordBatch:
        """Return the columns of all changes, with nulls in those that this one has not."""
        rows = found.num_rows
        columns = {"kind": pa.array([kind] * rows), "change": pa.array([change] * rows), "item_id": found["item_id"]}
        if (kind, change) == ("item", "upsert"):
            parts = [found[f"c{at}"].cast(one.type) for at, one in enumerate(self._struct)]
            columns["item"] = pa.StructArray.from_arrays(parts, fields=list(self._struct))
            if self.vectors:
                columns["embedding"] = found["embedding"]
        if (kind, change) == ("list", "upsert"):
            columns["neighbours"] = found["neighbours"]
        arrays = [
            columns[one.name].cast(one.type) if one.name in columns else pa.nulls(rows, one.type) for one in self.schema
        ]
        return pa.record_batch(arrays, schema=self.schema)

    def _changed_items(self) -> str:
        vector = ", n.embedding" if self.vectors else ""
        names = [one.name for one in self._struct]
        columns = "".join(f", n.{_quoted(name)} AS c{at}" for at, name in enumerate(names))
        return (
            f"SELECT n.item_id{columns}{vector} FROM items AS n LEFT JOIN items_before AS b USING (item_id) "
            f"WHERE b.item_id IS NULL OR {self._differs()}"
        )

    def _differs(self) -> str:
        compared = compared_columns(_source(self._items).schema, _source(self._items_before).schema)
        if compared is None:
            say_detail("the items of the two releases have other columns: all items are upserted")
            return "true"
        return " OR ".join(f"n.{one} IS DISTINCT FROM b.{one}" for one in map(_quoted, compared))


def _quoted(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""'))


def _source(feed: Feed) -> pa.Table | pa.dataset.Dataset:
    """Return the files of a table, or no row where there are none."""
    if feed.table.files is not None:
        return feed.table.files
    embedding = [pa.field("embedding", pa.list_(pa.float32()))] if feed.has_vectors else []
    return pa.schema([*feed.columns, *embedding]).empty_table()


_GONE = "SELECT item_id FROM {0}_before ANTI JOIN {0} USING (item_id)"
_CHANGED_LISTS = """
CREATE TEMP TABLE changed AS
SELECT DISTINCT item_id
FROM lists AS n FULL JOIN lists_before AS b USING (item_id, rank)
WHERE n.similar_item_id IS DISTINCT FROM b.similar_item_id OR n.score IS DISTINCT FROM b.score
"""
_GONE_LISTS = "SELECT item_id FROM changed ANTI JOIN lists USING (item_id)"
_LISTS = """
SELECT item_id, list({'similar_item_id': similar_item_id, 'score': score} ORDER BY rank) AS neighbours
FROM lists SEMI JOIN changed USING (item_id) GROUP BY item_id
"""
