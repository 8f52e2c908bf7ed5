"""Pictures behind http: and https: URLs: pooled connections, one deadline for all of a request. No Spark."""

from __future__ import annotations

import contextlib
import email.utils
import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from lookalike import config
from lookalike.failures import ImageError
from lookalike.storage.local import check_size, read_limited
from lookalike.storage.uri import Location
from lookalike.version import VERSION

REDIRECTS = 5
_REDIRECT = (301, 302, 303, 307, 308)

_HEADERS = {
    "User-Agent": f"lookalike/{VERSION}",
    # A compressed answer could be a thousand times larger than what is read of it.
    "Accept-Encoding": "identity",
}

ResolveRedirect = Callable[[str], Location]


def read(place: Location, limits: config.ImageSettings, follow: ResolveRedirect) -> bytes:
    """The body behind a URL; `follow(url)` gives the place that a redirect leads to, or refuses it.

    Raises ImageError.
    """
    with _response("GET", place, limits, follow) as response:
        length = response.headers.get("Content-Length", "")
        expected = int(length) if length.isdigit() and len(length) < 20 else 0
        check_size(expected, limits)
        return read_limited(response.read1, limits)


def version(place: Location, limits: config.ImageSettings, follow: ResolveRedirect) -> str | None:
    """The ETag, or size and time of the last change; None where the server says neither. Raises ImageError."""
    with _response("HEAD", place, limits, follow) as response:
        said = response.headers
        if tag := said.get("ETag"):
            return " ".join(tag.split())
        if changed := said.get("Last-Modified"):
            return f"{said.get('Content-Length', '')}-{' '.join(changed.split())}"
    return None


@contextmanager
def _response(
    method: str, place: Location, limits: config.ImageSettings, follow: ResolveRedirect
) -> Iterator[urllib3.BaseHTTPResponse]:
    """The answer that is no redirect, with status 200 to 299."""
    with _deadline(limits.read_timeout) as expired:
        try:
            response = _followed(method, place, limits, follow)
            with contextlib.closing(response):
                _check_status(response)
                yield response
                # Read to its end, the connection serves the next picture; else it is closed with what is left.
                if method == "HEAD" or response.length_remaining == 0:
                    response.release_conn()
            if expired():  # a connection that was cut looks like one that ended
                raise _too_slow(limits)
        except ImageError:
            if expired():
                raise _too_slow(limits) from None
            raise
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError) as error:
            raise _too_slow(limits) if expired() else _reason(error) from None


def _followed(
    method: str, place: Location, limits: config.ImageSettings, follow: ResolveRedirect
) -> urllib3.BaseHTTPResponse:
    headers = {**_HEADERS, **_authorization(place.uri)}
    for _ in range(1 + REDIRECTS):
        response = _pool(limits.allow_private_addresses).request(
            method,
            _without_user(place.uri),
            headers=headers,
            timeout=urllib3.Timeout(connect=limits.connect_timeout, read=limits.read_timeout),
            redirect=False,
            retries=False,
            preload_content=False,
            decode_content=False,
        )
        target = response.headers.get("Location")
        if response.status not in _REDIRECT or not target:
            return response
        response.close()
        before, place = place, follow(urljoin(_without_user(place.uri), target))
        if (before.scheme, before.authority) != (place.scheme, place.authority):
            headers = _HEADERS  # the password is for the server that was named with it
    raise ImageError("server_error", f"more than {REDIRECTS} redirects")


def _check_status(response: urllib3.BaseHTTPResponse) -> None:
    status = response.status
    if 200 <= status < 300:
        return
    detail = f"the server answers {status} {response.reason or ''}"[:200]
    if status in (404, 410):
        raise ImageError("not_found", detail)
    if status in (401, 402, 403, 407, 451):
        raise ImageError("forbidden", detail)
    if status in (400, 414):
        raise ImageError("bad_uri", detail)
    raise ImageError("timeout" if status in (408, 504) else "server_error", detail, _asked_wait(response))


def _asked_wait(response: urllib3.BaseHTTPResponse) -> float:
    """Seconds of Retry-After, which is a number or a date."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdigit() and len(text) < 10:
        return float(text)
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    return 0


def _reason(error: Exception) -> ImageError:
    if isinstance(error, ValueError | urllib3.exceptions.LocationValueError):  # a host name that IDNA refuses
        return ImageError("bad_uri", str(error))
    refused = isinstance(error, urllib3.exceptions.NewConnectionError)  # for urllib3 a kind of time-out
    if not refused and isinstance(error, urllib3.exceptions.TimeoutError | TimeoutError):
        return ImageError("timeout", str(error))
    return ImageError("server_error", str(error) or type(error).__name__)


def _too_slow(limits: config.ImageSettings) -> ImageError:
    return ImageError("timeout", f"not whole after images.read_timeout, {limits.read_timeout:g} s")


def _authorization(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    if parts.username is None:
        return {}
    return dict(urllib3.make_headers(basic_auth=f"{parts.username}:{parts.password or ''}"))


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()


class _Bounded:
    """A connection that knows the deadline of its thread, and whom it may talk to."""

    sock: socket.socket | None
    private = False

    def _new_conn(self) -> socket.socket:
        sock: socket.socket = super()._new_conn()  # type: ignore[misc]
        # The address itself, after the name was resolved: no name can lead elsewhere between two look-ups.
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


class _Http(_Bounded, HTTPConnection):
    pass


class _Https(_Bounded, HTTPSConnection):
    pass


class _PrivateHttp(_Http):
    private = True


class _PrivateHttps(_Https):
    private = True


@lru_cache(maxsize=2)
def _pool(private: bool) -> urllib3.PoolManager:
    """64 threads at most (images.fetch_threads), and pictures come from few hosts."""

    class Http(HTTPConnectionPool):
        ConnectionCls = _PrivateHttp if private else _Http

    class Https(HTTPSConnectionPool):
        ConnectionCls = _PrivateHttps if private else _Https

    pool = urllib3.PoolManager(num_pools=16, maxsize=64)
    pool.pool_classes_by_scheme = {"http": Http, "https": Https}
    return pool


def is_public(address: str) -> bool:
    """Whether an IP address belongs to nobody's own network, also where an IPv6 one wraps an IPv4 one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        ip = inner or ip
    return ip.is_global and not ip.is_multicast


_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052


class _Deadline:
    """A request's time: when it is over, the connection that it waits on is cut.

    A socket's own time-out starts anew with every byte: a server that drips them, be it headers, would hold the
    thread for ever.
    """

    def __init__(self, seconds: float) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._over = False
        self.timer = threading.Timer(seconds, self._cut)
        self.timer.daemon = True

    def over(self) -> bool:
        """Whether the time is up."""
        return self._over

    def on(self, sock: socket.socket | None) -> None:
        """Wait on `sock` from now on."""
        with self._lock:
            self._socket = sock
            if self._over:
                self._shut()

    def _cut(self) -> None:
        with self._lock:
            self._over = True
            self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


class _Thread(threading.local):
    watch: _Deadline | None = None


_thread = _Thread()


@contextmanager
def _deadline(seconds: float) -> Iterator[Callable[[], bool]]:
    """Bound what this thread asks for; gives whether the time was up."""
    watch = _thread.watch = _Deadline(seconds)
    watch.timer.start()
    try:
        yield watch.over
    finally:
        watch.timer.cancel()
        _thread.watch = None


def _watch(sock: socket.socket | None) -> None:
    if _thread.watch is not None:
        _thread.watch.on(sock)
