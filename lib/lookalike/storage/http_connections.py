"""Connections for `http`: pooled, with a deadline for the whole request, and to public addresses unless allowed."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from lookalike.storage import addresses, memory


class _Deadline:
    """The time of one request; when it is over, the connection that the request uses is shut down.

    A socket's own time-out starts again with every byte: a server that sends single bytes, even in the headers, would
    hold the thread without end.
    """

    def __init__(self, seconds: float) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._over = False
        self._end = time.monotonic() + seconds
        self._waited = memory.waiting_clock()
        self._closed = threading.Event()
        threading.Thread(target=self._watch_the_time, name="deadline", daemon=True).start()

    def over(self) -> bool:
        """Return whether the time is over."""
        return self._over

    def left(self) -> float:
        """Return the seconds left; never 0, which would be no limit for a socket."""
        return max(0.001, self._seconds_left())

    def _seconds_left(self) -> float:
        return self._end + self._waited() - time.monotonic()

    def watch(self, sock: socket.socket) -> None:
        """Make `sock` the one to shut down."""
        # A second name of the connection: TLS takes the socket's first one away before the handshake.
        second = socket.socket(fileno=os.dup(sock.fileno()))
        with self._lock:
            self._forget()
            self._socket = second
            if self._over:
                self._break()

    def close(self) -> None:
        """End the watch."""
        self._closed.set()
        with self._lock:
            self._forget()

    def _watch_the_time(self) -> None:
        while (left := self._seconds_left()) > 0:
            if self._closed.wait(left):
                return
        with self._lock:
            self._over = True
            self._break()

    def _break(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _forget(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class _Request(threading.local):
    """The request that this thread makes."""

    deadline: _Deadline | None = None
    reused = False


_request = _Request()


@contextmanager
def deadline(seconds: float) -> Iterator[Callable[[], bool]]:
    """Limit the time of all requests that this thread makes in the context; gives `over()`."""
    limit = _request.deadline = _Deadline(seconds)
    try:
        yield limit.over
    finally:
        _request.deadline = None
        limit.close()


def reused() -> bool:
    """Return whether this thread's last request went over a connection that had served another picture."""
    return _request.reused


class _FinalResponse(http.client.HTTPResponse):
    """An answer that may come after any number of informational ones; the base class skips 100 alone."""

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 102 <= status < 200:
                return version, status, reason
            http.client.parse_headers(self.fp)  # such as 103 Early Hints


class _BoundedConnection:
    """A connection that keeps the deadline of its thread, and refuses private addresses unless they are allowed."""

    response_class: Any = _FinalResponse
    sock: socket.socket | None
    timeout: Any
    port: int
    _dns_host: str
    private = False
    served = False  # whether a request was made over `sock`

    def _new_conn(self) -> socket.socket:
        limit = _request.deadline
        seconds = min(self.timeout, limit.left()) if limit else self.timeout
        sock = addresses.connect(self._dns_host, self.port, seconds, private=self.private)
        sock.settimeout(self.timeout)
        self.served = False
        if limit:
            limit.watch(sock)
        return sock

    def request(self, *args: object, **options: object) -> None:
        _request.reused = self.sock is not None and self.served
        if self.sock is not None and _request.deadline is not None:
            _request.deadline.watch(self.sock)
        super().request(*args, **options)  # type: ignore[misc]
        self.served = True  # connecting, which may be a part of the request, says that it is not


class _PublicHttp(_BoundedConnection, HTTPConnection):
    pass


class _PublicHttps(_BoundedConnection, HTTPSConnection):
    pass


class _AnyHttp(_PublicHttp):
    private = True


class _AnyHttps(_PublicHttps):
    private = True


def pool(*, private: bool) -> urllib3.PoolManager:
    """Return this process's pool of connections: a forked child that used its parent's would get its answers."""
    return _pool(private, os.getpid())


@lru_cache(maxsize=4)
def _pool(private: bool, _process: int) -> urllib3.PoolManager:
    """Return a pool: 64 connections of a host, the most that images.fetch_threads allows, and of few hosts."""

    class Http(HTTPConnectionPool):
        ConnectionCls = _AnyHttp if private else _PublicHttp

    class Https(HTTPSConnectionPool):
        ConnectionCls = _AnyHttps if private else _PublicHttps

    manager = urllib3.PoolManager(num_pools=16, maxsize=64)
    manager.pool_classes_by_scheme = {"http": Http, "https": Https}
    return manager
