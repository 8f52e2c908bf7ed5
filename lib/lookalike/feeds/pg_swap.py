"""Put new tables into the place of old ones: with their owner and grants, and with the views that read them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors, sql

from lookalike.errors import ExportError
from lookalike.progress import say_detail

TABLES = ("embeddings", "similar_items", "failures", "export", "projection")
NEW = " (new)"  # behind the names of tables that nobody sees yet
OURS = "made by lookalike export, which replaces it"

# Below PostgreSQL's deadlock_timeout of a second: no reader is ended for us, and none waits longer in the queue.
_LOCK_MILLISECONDS = 500
_PAUSE_SECONDS = 1.0
_WAIT_SECONDS = 600.0

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Relation:
    """A table or a view that is there: whose it is, and who may do what."""

    name: sql.Identifier
    kind: str
    owner: str
    grants: tuple[tuple[str, str, bool], ...]  # privilege, to whom, whether with the right to grant it
    definition: str = ""  # of a view
    options: str = ""

    def restore(self, connection: Connection) -> None:
        """Give owner and grants to what now has the name."""
        for privilege, role, with_grant in self.grants:
            more = " WITH GRANT OPTION" if with_grant else ""
            grant = sql.SQL(f"GRANT {privilege} ON {{}} TO {role}{more}")
            connection.execute(grant.format(self.name))
        change = sql.SQL(f"ALTER TABLE {{}} OWNER TO {self.owner}")
        connection.execute(change.format(self.name))

    def create_view(self, connection: Connection) -> None:
        """Make the view again; raises ExportError where the new tables lack what it reads."""
        options = f" WITH ({self.options})" if self.options else ""
        create = sql.Composed([sql.SQL("CREATE VIEW "), self.name, sql.SQL(f"{options} AS {self.definition}")])
        try:
            connection.execute(create)
        except psycopg.Error as error:
            shown = self.name.as_string(connection)
            raise ExportError(
                f"the view {shown} does not fit the new tables ({error.diag.message_primary}); drop it, and export "
                "again"
            ) from None
        self.restore(connection)


@dataclass(frozen=True)
class Swap:
    """What is to be replaced, as it was found."""

    schema: str
    tables: tuple[Relation, ...]
    views: tuple[Relation, ...]  # those that read others come behind them

    def run(self, connection: Connection) -> None:
        """Replace the tables, once no reader holds one of them; raises ExportError."""
        self._lock(connection)
        for view in reversed(self.views):
            connection.execute(sql.SQL("DROP VIEW {}").format(view.name))
        for table in self.tables:
            connection.execute(sql.SQL("DROP TABLE {}").format(table.name))
        for name in TABLES:
            self._rename(connection, name)
        for table in self.tables:
            table.restore(connection)
        for view in self.views:
            view.create_view(connection)

    def _lock(self, connection: Connection) -> None:
        """Wait for readers, without others who wait behind us for long."""
        if not self.tables:
            return
        names = sql.SQL(", ").join(one.name for one in self.tables)
        statement = sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(names)
        end = time.monotonic() + _WAIT_SECONDS
        said = False
        while True:
            try:
                with connection.transaction():
                    connection.execute(f"SET LOCAL lock_timeout TO {_LOCK_MILLISECONDS}".encode())
                    connection.execute(statement)
                    return
            except errors.LockNotAvailable:
                if time.monotonic() > end:
                    raise ExportError(
                        f"readers have held the tables of {self.schema} for {_WAIT_SECONDS:.0f} s; end their "
                        "transactions (pg_stat_activity), and export again"
                    ) from None
            if not said:
                say_detail("waiting for the transactions that read the old tables")
                said = True
            time.sleep(_PAUSE_SECONDS)

    def _rename(self, connection: Connection, name: str) -> None:
        new, plain = sql.Identifier(self.schema, name + NEW), sql.Identifier(name)
        connection.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(new, plain))
        indexes = connection.execute(
            "SELECT c.relname FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE indrelid = %s::regclass",
            (sql.Identifier(self.schema, name).as_string(connection),),
        )
        for (index,) in indexes.fetchall():
            old = sql.Identifier(self.schema, index)
            rename = sql.SQL("ALTER INDEX {} RENAME TO {}").format(old, sql.Identifier(index.replace(NEW, "")))
            connection.execute(rename)
        comment = sql.SQL("COMMENT ON TABLE {} IS {}").format(sql.Identifier(self.schema, name), sql.Literal(OURS))
        connection.execute(comment)


_FIND = """
SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.relowner::regrole::text,
       coalesce(obj_description(c.oid, 'pg_class'), ''), coalesce(array_to_string(c.reloptions, ', '), '')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
"""
_IN_SCHEMA = f"{_FIND} WHERE n.nspname = %s AND c.relname = ANY(%s)"
_READERS = f"""
WITH RECURSIVE reader(oid, depth) AS (
  SELECT unnest(%s::oid[]), 0
  UNION
  SELECT r.ev_class, depth + 1
  FROM reader JOIN pg_depend d ON d.refobjid = reader.oid AND d.refclassid = 'pg_class'::regclass
       AND d.classid = 'pg_rewrite'::regclass
  JOIN pg_rewrite r ON r.oid = d.objid
  WHERE r.ev_class <> reader.oid AND depth < 50
), deepest AS (SELECT oid, max(depth) AS depth FROM reader GROUP BY oid HAVING max(depth) > 0)
{_FIND} JOIN deepest ON deepest.oid = c.oid ORDER BY depth, c.oid
"""
_GRANTS = """
SELECT privilege_type, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END, is_grantable
FROM pg_class, aclexplode(relacl) WHERE pg_class.oid = %s AND grantee <> relowner
"""


def look(connection: Connection, schema: str) -> Swap:
    """Return what is there; raises ExportError for a table that is not ours, or a reader that cannot be made again."""
    found = connection.execute(_IN_SCHEMA.encode(), (schema, list(TABLES))).fetchall()
    for row in found:
        if row[5] != OURS:
            raise ExportError(
                f"{schema}.{row[2]} was not made by lookalike export, and is not replaced; give another --schema"
            )
    readers = connection.execute(_READERS.encode(), ([row[0] for row in found],)).fetchall()
    for row in readers:
        if row[3] != "v":
            raise ExportError(
                f"{row[1]}.{row[2]} is made of the tables, and only views are made again; drop it, and export again"
            )
    return Swap(
        schema,
        tuple(_relation(connection, row) for row in found),
        tuple(_relation(connection, row) for row in readers),
    )


def _relation(connection: Connection, row: tuple[Any, ...]) -> Relation:
    oid, schema, name, kind, owner, _, options = row
    grants = connection.execute(_GRANTS, (oid,)).fetchall()
    definition = ""
    if kind == "v":
        (definition,) = connection.execute("SELECT pg_get_viewdef(%s::oid)", (oid,)).fetchone() or ("",)
    return Relation(sql.Identifier(schema, name), kind, owner, tuple(grants), definition, options)
