"""A release as tables of PostgreSQL: copied into new ones, which take the place of the old in the same transaction.

All is one transaction. Whatever ends it, PostgreSQL itself removes the new tables and the old ones stay; readers wait
for its last milliseconds only. COPY's FREEZE shows the rows to transactions that began before, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.types.json import Jsonb

from lookalike.errors import ConfigError, ExportError, LockError
from lookalike.feeds import pg_binary, pg_connection, pg_errors, pg_swap
from lookalike.feeds.destination import Destination, Writer
from lookalike.feeds.pg_connection import Connection
from lookalike.feeds.pg_swap import NEW
from lookalike.feeds.source import Batch, Feed
from lookalike.feeds.vectors import ExportedVectors
from lookalike.progress import say_detail

# Of pgvector: a halfvec may have 16,000 dimensions, an index of it 4,000.
_INDEXED = 4_000


@dataclass(frozen=True)
class Halfvec:
    """pgvector's type, in whichever schema its extension is."""

    schema: str

    def of(self, dimensions: int) -> sql.Composable:
        """Return the type of vectors of so many dimensions."""
        size = sql.SQL(f"({dimensions})") if dimensions else sql.SQL("")
        return sql.SQL("{}.halfvec").format(sql.Identifier(self.schema)) + size

    @property
    def cosine(self) -> sql.Composable:
        """The operators of an index by cosine."""
        return sql.SQL("{}.halfvec_cosine_ops").format(sql.Identifier(self.schema))


class PostgresDestination(Destination):
    """A schema of a database."""

    def __init__(self, address: str, schema: str, *, arrays: bool, index: bool) -> None:
        if arrays and index:
            raise ConfigError("--index: only pgvector's vectors have one; leave it out, or --arrays")
        if not schema or "\0" in schema or len(schema.encode()) > 63:
            raise ConfigError(f"--schema {schema!r}: a schema's name has 1 to 63 bytes")
        self._address, self._schema, self._arrays, self._index = address, schema, arrays, index
        self.precision = "float32" if arrays else "float16"

    @contextmanager
    def open(self) -> Iterator[Writer]:
        """Begin the transaction."""
        with pg_connection.connected(self._address) as connection:
            try:
                self._prepare(connection)
                halfvec = None if self._arrays else _halfvec(connection)
                pg_swap.check(connection, self._schema)
                yield _Tables(connection, self._schema, halfvec, self._index)
                connection.commit()
            except psycopg.Error as error:
                detail = (error.diag.message_detail or "").partition("\n")[0]
                text = ": ".join(filter(None, (error.diag.message_primary or str(error), detail)))
                raise pg_errors.refused(text, error.sqlstate) from None

    def _prepare(self, connection: Connection) -> None:
        if connection.info.parameter_status("server_encoding") != "UTF8":
            raise ExportError("the database's encoding is not UTF8; create one with that encoding")
        pg_connection.set_up(connection)
        key = f"lookalike export {self._schema}"
        if not _value(connection, "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", key):
            raise LockError(f"another export writes into the schema {self._schema}; wait for it to end")
        if not _value(connection, "SELECT count(*) FROM pg_namespace WHERE nspname = %s", self._schema):
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(self._schema)))


def _value(connection: Connection, query: str, *values: str) -> Any:
    row = connection.execute(query.encode(), values).fetchone()
    return row[0] if row else None


def _halfvec(connection: Connection) -> Halfvec:
    """Return pgvector's type; raises ExportError where the database has none."""
    found = "SELECT n.nspname FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace WHERE typname = 'halfvec'"
    schema = _value(connection, found)
    if schema is None:
        version = _value(connection, "SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        there = _value(connection, "SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'")
        todo = (
            "its pgvector is older than 0.7: ALTER EXTENSION vector UPDATE"
            if version
            else "run CREATE EXTENSION vector in it"
            if there
            else "install pgvector on the server and run CREATE EXTENSION vector"
        )
        raise ExportError(f"the database has no type halfvec; {todo}; or export plain arrays with --arrays")
    return Halfvec(schema)


@dataclass(frozen=True)
class _Tables(Writer):
    connection: Connection
    schema: str
    halfvec: Halfvec | None
    index: bool

    def write(self, feed: Feed, vectors: ExportedVectors) -> int:
        table = sql.Identifier(self.schema, feed.name + NEW)
        self._create(feed, vectors, table)
        rows = self._copy(feed, vectors, table)
        keys = sql.SQL(", ").join(map(sql.Identifier, feed.keys))
        named = sql.Identifier(f"{feed.name}{NEW}_pkey")
        self.connection.execute(sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} PRIMARY KEY ({})").format(table, named, keys))
        if feed.has_vectors and self.index and self.halfvec is not None:
            self._build_index(table, self.halfvec, vectors.dimensions)
        self.connection.execute(sql.SQL("ANALYZE {}").format(table))
        return rows

    def _create(self, feed: Feed, vectors: ExportedVectors, table: sql.Composable) -> None:
        columns = [
            sql.SQL("{} ").format(sql.Identifier(field.name)) + sql.SQL(pg_binary.column_type(field.type))
            for field in feed.columns
        ]
        if feed.has_vectors:
            kind = self.halfvec.of(vectors.dimensions) if self.halfvec else sql.SQL("real[]")
            columns.append(sql.SQL("embedding ") + kind)
        self.connection.execute(sql.SQL("CREATE TABLE {} ({})").format(table, sql.SQL(", ").join(columns)))

    def _copy(self, feed: Feed, vectors: ExportedVectors, table: sql.Composable) -> int:
        rows = nuls = 0
        statement = sql.SQL("COPY {} FROM STDIN (FORMAT binary, FREEZE)").format(table)
        with self.connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.write(pg_binary.HEADER)
            for batch in feed.batches(vectors.convert):
                copy.write(pg_binary.encode(batch, halves=self.halfvec is not None))
                rows += batch.rows.num_rows
                nuls += pg_binary.nuls(batch)
            copy.write(pg_binary.TRAILER)
        if nuls:
            say_detail(
                f"{feed.name}: in {nuls:,} texts the character NUL is {pg_binary.SHOWN_NUL}, for PostgreSQL has none"
            )
        return rows

    def _build_index(self, table: sql.Composable, halfvec: Halfvec, dimensions: int) -> None:
        if not dimensions:
            return
        if dimensions > _INDEXED:
            raise ConfigError(f"--index: pgvector indexes up to {_INDEXED:,} dimensions; give --dimensions")
        say_detail("the index of the vectors is built")
        named = sql.Identifier(f"embeddings{NEW}_hnsw")
        build = sql.SQL("CREATE INDEX {} ON {} USING hnsw (embedding {})")
        self.connection.execute(build.format(named, table, halfvec.cosine))

    def show(self, record: Mapping[str, Any], vectors: ExportedVectors) -> None:
        self._record(record, vectors)
        pg_swap.swap(self.connection, self.schema)

    def _record(self, record: Mapping[str, Any], vectors: ExportedVectors) -> None:
        """Make the table of one row that says what the others are, and that of the projection."""
        table, directions = (sql.Identifier(self.schema, name + NEW) for name in ("export", "projection"))
        self.connection.execute(sql.SQL("CREATE TABLE {} (release_id text, record jsonb)").format(table))
        self.connection.execute(
            sql.SQL("INSERT INTO {} VALUES (%s, %s)").format(table), (record["release_id"], Jsonb(dict(record)))
        )
        create = sql.SQL("CREATE TABLE {} (direction integer PRIMARY KEY, weights real[])")
        self.connection.execute(create.format(directions))
        if vectors.projection is not None:
            with (
                self.connection.cursor() as cursor,
                cursor.copy(sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(directions)) as copy,
            ):
                copy.write(pg_binary.HEADER + _directions(vectors) + pg_binary.TRAILER)


def _directions(vectors: ExportedVectors) -> bytes:
    assert vectors.projection is not None
    weights = vectors.projection.directions.T
    numbers = pa.record_batch({"direction": pa.array(range(1, len(weights) + 1), pa.int32())})
    return pg_binary.encode(Batch(numbers, weights), halves=False)
