"""Read pictures from http: and https: URLs, within one deadline for the whole request."""

from __future__ import annotations

import contextlib
import email.utils
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urljoin, urlsplit

import urllib3

from lookalike import config
from lookalike.failures import ImageError
from lookalike.storage import http_connections
from lookalike.storage.local import check_size, read_limited
from lookalike.storage.uri import Location
from lookalike.version import VERSION

REDIRECTS = 5
_REDIRECT = (301, 302, 303, 307, 308)

_HEADERS = {
    "User-Agent": f"lookalike/{VERSION}",
    # A compressed answer could become a thousand times larger than the bytes that are read.
    "Accept-Encoding": "identity",
}

ResolveRedirect = Callable[[str], Location]


def read(location: Location, limits: config.ImageSettings, resolve: ResolveRedirect) -> bytes:
    """Return the body of a URL; `resolve(url)` returns the location of a redirect, or refuses it.

    Raises ImageError.
    """
    with _response("GET", location, limits, resolve) as response:
        length = response.headers.get("Content-Length", "")
        expected = int(length) if length.isdigit() and len(length) < 20 else 0
        check_size(expected, limits)
        return read_limited(response.read1, limits)


def version(location: Location, limits: config.ImageSettings, resolve: ResolveRedirect) -> str | None:
    """Return the ETag, or size and time of the last change; None if the server gives neither. Raises ImageError."""
    with _response("HEAD", location, limits, resolve) as response:
        headers = response.headers
        if tag := headers.get("ETag"):
            return " ".join(tag.split())
        if changed := headers.get("Last-Modified"):
            return f"{headers.get('Content-Length', '')}-{' '.join(changed.split())}"
    return None


@contextmanager
def _response(
    method: str, location: Location, limits: config.ImageSettings, resolve: ResolveRedirect
) -> Iterator[urllib3.BaseHTTPResponse]:
    """Give the answer after all redirects, with a status of 200 to 299."""
    with http_connections.deadline(limits.read_timeout) as over:
        try:
            response = _follow_redirects(method, location, limits, resolve)
            with contextlib.closing(response):
                _check_status(response)
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
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError) as error:
            raise _too_slow(limits) if over() else _as_image_error(error) from None


def _follow_redirects(
    method: str, location: Location, limits: config.ImageSettings, resolve: ResolveRedirect
) -> urllib3.BaseHTTPResponse:
    headers = {**_HEADERS, **_authorization(location.uri)}
    for _ in range(1 + REDIRECTS):
        response = http_connections.pool(private=limits.allow_private_addresses).request(
            method,
            _without_user(location.uri),
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
        before, location = location, resolve(urljoin(_without_user(location.uri), target))
        if (before.scheme, before.authority) != (location.scheme, location.authority):
            headers = _HEADERS  # the password is for the server in the first URL only
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
    raise ImageError("timeout" if status in (408, 504) else "server_error", detail, _retry_after(response))


def _retry_after(response: urllib3.BaseHTTPResponse) -> float:
    """Return the seconds of the header Retry-After, which is a number or a date."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdigit() and len(text) < 10:
        return float(text)
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    return 0


def _as_image_error(error: Exception) -> ImageError:
    if isinstance(error, ValueError | urllib3.exceptions.LocationValueError):  # a host name that IDNA refuses
        return ImageError("bad_uri", str(error))
    refused = isinstance(error, urllib3.exceptions.NewConnectionError)  # urllib3 counts it among the time-outs
    if not refused and isinstance(error, urllib3.exceptions.TimeoutError | TimeoutError):
        return ImageError("timeout", str(error))
    return ImageError("server_error", str(error) or type(error).__name__)


def _too_slow(limits: config.ImageSettings) -> ImageError:
    return ImageError("timeout", f"not complete after images.read_timeout, {limits.read_timeout:g} s")


def _authorization(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    if parts.username is None:
        return {}
    return dict(urllib3.make_headers(basic_auth=f"{parts.username}:{parts.password or ''}"))


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
