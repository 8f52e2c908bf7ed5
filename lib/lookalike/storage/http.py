"""Read pictures from http: and https: URLs, within one deadline for the whole request."""

from __future__ import annotations

import base64
import contextlib
import email.utils
import hashlib
import http.client
import re
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import quote, unquote, urljoin, urlsplit

import urllib3

from lookalike import config
from lookalike.failures import ImageError
from lookalike.storage import http_connections, memory
from lookalike.storage.local import CHUNK_BYTES, check_size, read_limited, reserve
from lookalike.storage.uri import Location
from lookalike.version import VERSION

REDIRECTS = 5
_REDIRECT = (301, 302, 303, 307, 308)

_HEADERS = {
    "User-Agent": f"lookalike/{VERSION}",
    # A compressed answer could become a thousand times larger than the bytes that are read.
    "Accept-Encoding": "identity",
}

_GZIP = b"\x1f\x8b"

ResolveRedirect = Callable[[str], Location]


def read(location: Location, limits: config.ImageSettings, resolve: ResolveRedirect) -> bytes:
    """Return the body of a URL; `resolve(url)` returns the location of a redirect, or refuses it.

    Raises ImageError.
    """
    with _response("GET", location, limits, resolve) as response:
        expected = response.length_remaining or 0  # None where the server gives no number, or sends chunks
        check_size(expected, limits)
        data = read_limited(lambda most: response.read1(min(most, CHUNK_BYTES)), limits, expected)
        if not data and not _promises_no_body(response):
            raise ImageError("server_error", "the connection ended before the first byte of the picture")
        return _unpacked(data, response.headers.get("Content-Encoding", ""), limits)


def _unpacked(data: bytes, encoding: str, limits: config.ImageSettings) -> bytes:
    """Return the picture, which some servers pack whatever they are asked for; never more than images.max_bytes."""
    if encoding.strip().lower() not in ("gzip", "x-gzip") or not data.startswith(_GZIP):
        return data
    stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
    picture = stream.decompress(data, memory.SMALL)
    if stream.unconsumed_tail:
        reserve(limits.max_bytes)
        picture += stream.decompress(stream.unconsumed_tail, limits.max_bytes + 1)
    if len(picture) > limits.max_bytes:
        raise ImageError("too_large", f"unpacked more than images.max_bytes, {limits.max_bytes:,}")
    if not stream.eof:
        raise ImageError("server_error", "the packed answer ends before its picture does")
    return picture


def _promises_no_body(response: urllib3.BaseHTTPResponse) -> bool:
    """Return whether the server says that there are no bytes; else its connection broke, perhaps in the headers."""
    named = {"content-length", "transfer-encoding"} & {name.lower() for name in response.headers}
    return bool(named) or response.status == 204


def version(location: Location, limits: config.ImageSettings, resolve: ResolveRedirect) -> str | None:
    """Return the ETag, or size and time of the last change; None if the server gives neither. Raises ImageError."""
    with _response("HEAD", location, limits, resolve) as response:
        headers = response.headers
        if tag := headers.get("ETag"):
            return _short(tag)
        if changed := headers.get("Last-Modified"):
            return _short(f"{headers.get('Content-Length', '')}-{changed}")
    return None


def _short(version: str) -> str:
    """Return one line of a header, or its digest: a header may have 64 KiB, and the tables keep one an item."""
    line = " ".join(version.split())
    return line if len(line) <= 256 else hashlib.sha256(line.encode()).hexdigest()


@contextmanager
def _response(
    method: str, location: Location, limits: config.ImageSettings, resolve: ResolveRedirect
) -> Iterator[urllib3.BaseHTTPResponse]:
    """Give the answer after all redirects, with a status of 200 to 299."""
    with http_connections.deadline(limits.read_timeout) as over:
        try:
            response = _follow_redirects(method, location, limits, resolve)
            with contextlib.closing(response):
                _check_status(response, method)
                yield response
                # A connection that was read to its end serves the next picture; any other is closed.
                if method == "HEAD" or response.length_remaining == 0:
                    response.release_conn()
            if over():  # a connection that was shut down looks like one that ended
                raise _too_slow(limits)
        except ImageError:
            if over():
                raise _too_slow(limits) from None
            raise
        except Exception as error:  # noqa: BLE001 - whatever a server sends, it fails this picture and nothing else
            raise _too_slow(limits) if over() else _as_image_error(error) from None


def _follow_redirects(
    method: str, location: Location, limits: config.ImageSettings, resolve: ResolveRedirect
) -> urllib3.BaseHTTPResponse:
    headers = {**_HEADERS, **_authorization(location.uri)}
    for _ in range(1 + REDIRECTS):
        response = _request(method, _without_user(location.uri), headers, limits)
        target = response.headers.get("Location", "").strip()
        if response.status not in _REDIRECT or not target:
            return response
        response.close()
        before, location = location, resolve(_joined(_without_user(location.uri), target))
        if (before.scheme, before.authority) != (location.scheme, location.authority):
            headers = _HEADERS  # the password is for the server in the first URL only
    raise ImageError("server_error", f"more than {REDIRECTS} redirects")


def _request(method: str, url: str, headers: dict[str, str], limits: config.ImageSettings) -> urllib3.BaseHTTPResponse:
    try:
        urllib3.util.parse_url(url)
    except urllib3.exceptions.LocationValueError as error:  # a host name that IDNA refuses
        raise ImageError("bad_uri", str(error)) from None
    pool = http_connections.pool(private=limits.allow_private_addresses)
    while True:
        try:
            return pool.request(
                method,
                url,
                headers=headers,
                timeout=urllib3.Timeout(connect=limits.connect_timeout, read=limits.read_timeout),
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
            )
        except urllib3.exceptions.ProtocolError:
            # A server may close a connection that has waited for the next picture just as that is asked for. The pool
            # drops it, so that this ends with a new one.
            if not http_connections.reused():
                raise


def _joined(url: str, target: str) -> str:
    """Return the URL of a redirect, with the blanks and the UTF-8 that servers send encoded as URLs have them."""
    try:
        return urljoin(url, quote(target.encode("latin-1"), safe=_URL_CHARACTERS))
    except ValueError as error:
        raise ImageError("bad_uri", f"redirected to a refused location: {error}") from None


# All of ASCII that is printed, and the control characters, which `resolve` refuses.
_URL_CHARACTERS = "".join(chr(code) for code in range(128) if code != ord(" "))


def _check_status(response: urllib3.BaseHTTPResponse, method: str) -> None:
    status = response.status
    if 200 <= status < 300:
        return
    # The standard's words, not the server's: those may be of any length, and hold control characters.
    detail = f"the server answers {status} {http.client.responses.get(status, '')}".rstrip()
    if status in (404, 410):
        raise ImageError("not_found", detail)
    if status in (401, 402, 403, 407, 451):
        raise ImageError("forbidden", detail)
    if status in (400, 414) and method == "GET":  # a server that refuses HEAD in this way may have the picture
        raise ImageError("bad_uri", detail)
    wait = _retry_after(response.headers.get("Retry-After", ""))
    raise ImageError("timeout" if status in (408, 504) else "server_error", detail, wait)


# ASCII digits alone: str.isdigit is true for '²' too, which int() and float() refuse.
_NUMBER = re.compile(r"[0-9]+")


def _retry_after(text: str) -> float:
    """Return the seconds of the header Retry-After, which is a number or a date; 0 for anything else."""
    text = text.strip()[:64]
    if _NUMBER.fullmatch(text):
        return float(text)
    with contextlib.suppress(ValueError, TypeError, OverflowError, IndexError, OSError):  # of an absurd date
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    return 0.0


def _as_image_error(error: Exception) -> ImageError:
    reason = "timeout" if isinstance(error, urllib3.exceptions.TimeoutError | TimeoutError) else "server_error"
    while isinstance(error.__cause__, Exception):  # the innermost one says it without urllib3's wrapping
        error = error.__cause__
    return ImageError(reason, f"the answer cannot be read: {str(error)[:200] or type(error).__name__}")


def _too_slow(limits: config.ImageSettings) -> ImageError:
    return ImageError("timeout", f"not complete after images.read_timeout, {limits.read_timeout:g} s")


def _authorization(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    if parts.username is None:
        return {}
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return {"Authorization": f"Basic {base64.b64encode(user).decode()}"}


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
