"""Servers that all tests of feeds share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support import pg_server
from support.pg_server import PASSWORD, Server


@pytest.fixture(scope="session")
def pgvector() -> Iterator[Server]:
    """PostgreSQL with pgvector in the database `shop`, not in `plain`."""
    with pg_server.running(pg_server.pgvector_binaries()) as server, pytest.MonkeyPatch.context() as patch:
        server.do("CREATE EXTENSION vector", user="admin")
        server.do("CREATE DATABASE plain OWNER owner", "postgres", "admin")
        patch.setenv("PGPASSWORD", PASSWORD)
        yield server


@pytest.fixture(scope="session")
def debian() -> Iterator[Server]:
    """Debian's PostgreSQL, which has no pgvector."""
    binaries = pg_server.debian_binaries()
    if binaries is None:
        pytest.skip("Debian's postgresql is not installed")
    with pg_server.running(binaries) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSWORD", PASSWORD)
        yield server
