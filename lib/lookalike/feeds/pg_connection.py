"""The connection of one export, with the settings that it needs, whatever the server or the environment has."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import conninfo, errors

from lookalike.feeds import pg_errors
from lookalike.progress import say_detail

_CONNECT_SECONDS = 10

# One long transaction that nothing but its end ends. Names come back with their schemas.
_SETTINGS = {
    "search_path": "pg_catalog",
    "statement_timeout": "0",
    "transaction_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
# Else a server goes on with the index of a client that was killed, and holds the lock. From PostgreSQL 14 on.
_CHECK_CLIENT = {"client_connection_check_interval": "5s"}

# Of a connection that is lost it warns on stderr, besides the error that it raises.
logging.getLogger("psycopg").addHandler(logging.NullHandler())

Connection = psycopg.Connection[tuple[Any, ...]]


@contextmanager
def connected(address: str) -> Iterator[Connection]:
    """Connect, and close again: what is not committed is gone then. Raises ExportError or ConfigError."""
    try:
        given = conninfo.conninfo_to_dict(address)
    except psycopg.Error as error:
        raise pg_errors.no_address(address, str(error)) from None
    if "connect_timeout" not in given and "PGCONNECT_TIMEOUT" not in os.environ:
        given["connect_timeout"] = _CONNECT_SECONDS
    given = {"application_name": "lookalike export", **given, "client_encoding": "UTF8"}  # as COPY gets its texts
    try:
        connection = psycopg.connect(conninfo.make_conninfo("", **given), prepare_threshold=None)
    except psycopg.Error as error:
        raise pg_errors.connecting(address, str(error)) from None
    try:
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        connection.add_notice_handler(lambda notice: say_detail(f"the server: {notice.message_primary}"))
        yield connection
    finally:
        connection.close()


def set_up(connection: Connection) -> None:
    """Begin the transaction and make its settings."""
    _set(connection, _SETTINGS)
    with suppress(errors.InvalidParameterValue), connection.transaction():
        _set(connection, _CHECK_CLIENT)  # some systems cannot


def _set(connection: Connection, settings: dict[str, str]) -> None:
    """Make those settings that this version of the server knows."""
    known = "SELECT set_config(name, %s, true) FROM pg_settings WHERE name = %s"
    for name, value in settings.items():
        connection.execute(known, (value, name))
