"""Connections for `http`: pooled, with a deadline for the whole request, and to public addresses unless allowed."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from lookalike.failures import ImageError


class _Deadline:
    """The time of one request; when it is over, the connection that the request uses is shut down.

    A socket's own time-out starts again with every byte: a server that sends single bytes, even in the headers, would
    hold the thread without end.
    """

    def __init__(self, seconds: float) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._over = False
        self.timer = threading.Timer(seconds, self._end)
        self.timer.daemon = True

    def over(self) -> bool:
        """Return whether the time is over."""
        return self._over

    def watch(self, sock: socket.socket | None) -> None:
        """Make `sock` the one to shut down."""
        with self._lock:
            self._socket = sock
            if self._over:
                self._shut_down()

    def _end(self) -> None:
        with self._lock:
            self._over = True
            self._shut_down()

    def _shut_down(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


class _Request(threading.local):
    """The request that this thread makes."""

    deadline: _Deadline | None = None


_request = _Request()


@contextmanager
def deadline(seconds: float) -> Iterator[Callable[[], bool]]:
    """Limit the time of all requests that this thread makes in the context; gives `over()`."""
    _request.deadline = _Deadline(seconds)
    _request.deadline.timer.start()
    try:
        yield _request.deadline.over
    finally:
        _request.deadline.timer.cancel()
        _request.deadline = None


def _watch(sock: socket.socket | None) -> None:
    if _request.deadline is not None:
        _request.deadline.watch(sock)


class _BoundedConnection:
    """A connection that keeps the deadline of its thread, and refuses private addresses unless they are allowed."""

    sock: socket.socket | None
    private = False

    def _new_conn(self) -> socket.socket:
        sock: socket.socket = super()._new_conn()  # type: ignore[misc]
        # Check the address after the name was resolved: a second look-up of the name could give another one.
        if not self.private and not is_public(sock.getpeername()[0]):
            sock.close()
            raise ImageError("bad_uri", "its host is a private address; see images.allow_private_addresses")
        _watch(sock)
        return sock

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        _watch(self.sock)

    def request(self, *args: object, **options: object) -> None:
        if self.sock is not None:
            _watch(self.sock)
        super().request(*args, **options)  # type: ignore[misc]


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


_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052


def is_public(address: str) -> bool:
    """Return whether an IP address is on the public internet; an IPv4 one inside an IPv6 one is checked too."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        ip = inner or ip
    return ip.is_global and not ip.is_multicast
