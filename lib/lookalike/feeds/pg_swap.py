"""Put new tables into the place of old ones: with their owner and grants, and with the views that read them."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

import psycopg
from psycopg import errors, sql
from psycopg.rows import class_row

from lookalike.errors import ExportError
from lookalike.feeds.pg_connection import Connection
from lookalike.progress import say_detail

TABLES = ("embeddings", "similar_items", "failures", "export", "projection")
NEW = " (new)"  # behind the names of tables that nobody sees yet
OURS = "made by lookalike export, which replaces it"

# Below PostgreSQL's deadlock_timeout of a second: no reader is ended for us, and none waits longer in the queue.
_LOCK_MILLISECONDS = 500
_PAUSE_SECONDS = 1.0
_WAIT_SECONDS = 600.0
_HELD = (errors.LockNotAvailable, errors.DeadlockDetected)


@dataclass(frozen=True)
class Relation:
    """A table or a view that is there: whose it is, and who may do what."""

    oid: int
    schema: str
    table: str
    kind: str
    owner: str
    may_replace: bool
    row_security: bool
    comment: str
    options: str
    definition: str  # of a view
    grants: list[tuple[str, str, bool]]  # privilege, to whom, whether with the right to grant it

    @property
    def name(self) -> sql.Identifier:
        """The name with its schema."""
        return sql.Identifier(self.schema, self.table)

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
        if self.comment:
            comment = sql.SQL("COMMENT ON VIEW {} IS {}").format(self.name, sql.Literal(self.comment))
            connection.execute(comment)
        self.restore(connection)


@dataclass(frozen=True)
class Swap:
    """What is to be replaced, as it was found."""

    tables: list[Relation]
    views: list[Relation]  # those that read others come behind them

    def take_away(self, connection: Connection) -> None:
        """Drop what is there. Views come first, as for those who read: else both could wait for each other."""
        for view in reversed(self.views):
            connection.execute(sql.SQL("DROP VIEW {}").format(view.name))
        if self.tables:
            names = sql.SQL(", ").join(one.name for one in self.tables)
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(names))
            connection.execute(sql.SQL("DROP TABLE {}").format(names))

    def give_back(self, connection: Connection) -> None:
        """Give the new tables what the old ones had."""
        for table in self.tables:
            table.restore(connection)
        for view in self.views:
            view.create_view(connection)


def check(connection: Connection, schema: str) -> None:
    """Raise ExportError for what cannot be replaced now; nothing that views read stays locked meanwhile."""
    with suppress(*_HELD), connection.transaction(force_rollback=True):
        _wait_shortly(connection)
        look(connection, schema)


def swap(connection: Connection, schema: str) -> None:
    """Replace the tables, once no reader holds one of them; raises ExportError."""
    old = _take_away(connection, schema)
    for name in TABLES:
        _rename(connection, schema, name)
    old.give_back(connection)


def _take_away(connection: Connection, schema: str) -> Swap:
    """Wait for readers, without others who wait behind us for long; return what was there then."""
    end = time.monotonic() + _WAIT_SECONDS
    said = False
    while True:
        try:
            with connection.transaction():
                _wait_shortly(connection)
                old = look(connection, schema)
                old.take_away(connection)
                return old
        except _HELD:
            if time.monotonic() > end:
                raise ExportError(
                    f"readers have held the tables of {schema} for {_WAIT_SECONDS:.0f} s; end their "
                    "transactions (pg_stat_activity), and export again"
                ) from None
        if not said:
            say_detail("waiting for the transactions that read the old tables")
            said = True
        time.sleep(_PAUSE_SECONDS)


def _wait_shortly(connection: Connection) -> None:
    connection.execute(f"SET LOCAL lock_timeout TO {_LOCK_MILLISECONDS}".encode())


def _rename(connection: Connection, schema: str, name: str) -> None:
    new, plain = sql.Identifier(schema, name + NEW), sql.Identifier(name)
    connection.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(new, plain))
    indexes = connection.execute(
        "SELECT c.relname FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE indrelid = %s::regclass",
        (sql.Identifier(schema, name).as_string(connection),),
    )
    for (index,) in indexes.fetchall():
        old = sql.Identifier(schema, index)
        rename = sql.SQL("ALTER INDEX {} RENAME TO {}").format(old, sql.Identifier(index.replace(NEW, "")))
        connection.execute(rename)
    comment = sql.SQL("COMMENT ON TABLE {} IS {}").format(sql.Identifier(schema, name), sql.Literal(OURS))
    connection.execute(comment)


_FIND = """
SELECT c.oid, n.nspname AS schema, c.relname AS table, c.relkind::text AS kind, c.relowner::regrole::text AS owner,
       pg_has_role(c.relowner, 'USAGE') AS may_replace, c.relrowsecurity AS row_security,
       coalesce(obj_description(c.oid, 'pg_class'), '') AS comment,
       coalesce(array_to_string(c.reloptions, ', '), '') AS options,
       CASE c.relkind WHEN 'v' THEN pg_get_viewdef(c.oid) ELSE '' END AS definition,
       coalesce((
         SELECT jsonb_agg(jsonb_build_array(
           privilege_type, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END, is_grantable
         )) FROM aclexplode(c.relacl) WHERE grantee <> c.relowner
       ), '[]') AS grants
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


def look(connection: Connection, schema: str) -> Swap:
    """Return what is there; raises ExportError for a table that is not ours, or what cannot be made again."""
    with connection.cursor(row_factory=class_row(Relation)) as cursor:
        tables = cursor.execute(_IN_SCHEMA.encode(), (schema, list(TABLES))).fetchall()
        _check_tables(tables)
        views = cursor.execute(_READERS.encode(), ([one.oid for one in tables],)).fetchall()
    _check_views(views)
    return Swap(tables, views)


def _check_tables(tables: list[Relation]) -> None:
    for one in tables:
        named = f"{one.schema}.{one.table}"
        if one.comment != OURS:
            raise ExportError(f"{named} was not made by lookalike export, and is not replaced; give another --schema")
        if one.row_security:
            raise ExportError(
                f"{named} has row security, which a new table lacks, so readers would see all rows; grant them a view "
                "of it, DISABLE ROW LEVEL SECURITY, and export again"
            )
        _check_owner(one)


def _check_views(views: list[Relation]) -> None:
    for one in views:
        if one.kind != "v":
            raise ExportError(
                f"{one.schema}.{one.table} is made of the tables, and only views are made again; drop it, and export "
                "again"
            )
        _check_owner(one)


def _check_owner(one: Relation) -> None:
    if not one.may_replace:
        raise ExportError(
            f"{one.schema}.{one.table} belongs to {one.owner}, so this user may not replace it; export as that user, "
            f"or GRANT {one.owner} to this one"
        )
