"""Pictures over http: bytes and versions, redirects, limits, and the reason of each failure."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from lookalike import config
from lookalike.failures import ImageError
from lookalike.storage.image_reader import ImageReader
from support.picture_server import LAST, Server


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield running
    running.stopped.set()
    running.shutdown()
    running.server_close()


def reader(**limits: Any) -> ImageReader:
    """Return a reader that may connect to the loopback, and does not wait long."""
    return ImageReader(
        config.ImageSettings(**{"allow_private_addresses": True, "retries": 0, "read_timeout": 5, **limits})
    )


def reason_of(call: Callable[..., object], *args: object) -> str:
    with pytest.raises(ImageError) as refused:
        call(*args)
    assert len(refused.value.detail.splitlines()) == 1
    assert "secret" not in str(refused.value)
    return refused.value.reason


def test_bytes_behind_a_url(server: Server) -> None:
    assert reader().read(server.url("ok/a%20b.jpg?sig=secret#part")) == b"bytes of a%20b.jpg"
    assert server.requests[0].path == "/ok/a%20b.jpg?sig=secret"
    assert server.requests[0].headers["Accept-Encoding"] == "identity"
    assert reader().read(server.url("ok/x", host="localhost")) == b"bytes of x"


def test_relative_path_below_a_url_is_encoded(server: Server) -> None:
    limits = reader().limits
    assert ImageReader(limits, root=server.url("ok")).read("50% off #1?.jpg") == b"bytes of 50%25%20off%20%231%3F.jpg"


def test_connection_serves_one_picture_after_another(server: Server) -> None:
    for number in range(5):
        assert reader().read(server.url(f"ok/{number}")) == f"bytes of {number}".encode()
    reader().version(server.url("ok/x"))
    assert len({one.client_address for one in server.requests}) == 1


@pytest.mark.parametrize(
    ("path", "version"),
    [("ok/a.jpg", '"v1"'), ("size/10", f"10-{LAST}"), ("plain/a", None), ("hop/3", '"v1"')],
)
def test_version_is_the_etag_or_size_and_time_and_reads_nothing(server: Server, path: str, version: str | None) -> None:
    assert reader().version(server.url(path)) == version
    assert {one.command for one in server.requests} == {"HEAD"}


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("status/404", "not_found"),
        ("status/410", "not_found"),
        ("status/401", "forbidden"),
        ("status/403", "forbidden"),
        ("status/400", "bad_uri"),
        ("status/408", "timeout"),
        ("status/418", "server_error"),
        ("status/429", "server_error"),
        ("status/500", "server_error"),
        ("status/503", "server_error"),
        ("status/304", "server_error"),
        ("nowhere/x", "server_error"),
        ("reset/x", "server_error"),
        ("garbage/x", "server_error"),
        ("less/x?sig=secret", "server_error"),
        ("length/99999999999", "too_large"),
        ("endless/x", "too_large"),
        ("hop/6", "server_error"),
        ("size/0", "empty"),
    ],
)
def test_every_failure_has_its_reason(server: Server, path: str, reason: str) -> None:
    assert reason_of(reader(max_bytes=1 << 20).read, server.url(path)) == reason


@pytest.mark.parametrize(
    ("path", "call"),
    [
        *((what, call) for what in ("stall/x", "drip/headers", "drip/status") for call in ("read", "version")),
        ("drip/body", "read"),  # the answer to HEAD has no body
        ("drip/chunk", "read"),
    ],
)
def test_read_is_out_of_time_when_a_server_sends_single_bytes(server: Server, path: str, call: str) -> None:
    assert reason_of(getattr(reader(read_timeout=0.3), call), server.url(path)) == "timeout"
    # and the thread can read the next picture
    assert reader().read(server.url("ok/next")) == b"bytes of next"


@pytest.mark.parametrize(("size", "fits"), [(1000, True), (1001, False)])
def test_body_is_too_large_from_one_byte_over_the_limit(server: Server, size: int, fits: bool) -> None:
    limited = reader(max_bytes=1000)
    if fits:
        assert len(limited.read(server.url(f"size/{size}"))) == size
    else:
        assert reason_of(limited.read, server.url(f"size/{size}")) == "too_large"


def test_more_bytes_than_promised_are_not_read(server: Server) -> None:
    assert reader().read(server.url("more/x")) == b"whole"
    assert reader().read(server.url("ok/next")) == b"bytes of next"


def test_compressed_answer_is_not_decompressed(server: Server) -> None:
    assert reader().read(server.url("zipped/x")) == b"as it came"


def test_server_that_is_not_there_is_a_server_error() -> None:
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a.jpg"
        assert reason_of(reader().read, url) == "server_error"
    assert reason_of(reader().read, "http://no-such-host.invalid/a.jpg?sig=secret") == "server_error"
    assert reason_of(reader().read, f"http://{'x' * 70}.example/a.jpg") in {"bad_uri", "server_error"}


def test_server_that_does_not_accept_is_a_time_out() -> None:
    with contextlib.closing(socket.socket()) as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:  # the queue of the kernel is full
            one.setblocking(False)
            one.connect_ex(address)
        url = f"http://127.0.0.1:{address[1]}/a.jpg"
        assert reason_of(reader(connect_timeout=0.2, read_timeout=1).read, url) == "timeout"
        for one in waiting:
            one.close()


@pytest.mark.parametrize("failure", ["status/503", "status/429/0", "reset", "less", "garbage"])
def test_error_that_may_pass_is_retried(server: Server, failure: str) -> None:
    assert reader(retries=2).read(server.url(f"once/{failure}")) == b"at last"
    assert len(server.requests) == 2


@pytest.mark.parametrize("failure", ["status/404", "status/403", "status/400", "length/99999999999"])
def test_lasting_error_is_not_retried(server: Server, failure: str) -> None:
    reason_of(reader(retries=5).read, server.url(failure))
    assert len(server.requests) == 1


def test_retry_after_is_a_number_or_a_date_and_a_far_one_is_not_waited_for(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    assert reader(retries=1).read(server.url("once/status/429/3")) == b"at last"
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=4), usegmt=True).replace(" ", "_")
    assert reader(retries=1).read(server.url(f"once/status/503/{soon}")) == b"at last"
    assert 3 <= pauses[0] <= 3.25
    assert 2 <= pauses[1] <= 4.25
    assert reason_of(reader(retries=1).read, server.url("status/429/3600")) == "server_error"
    assert reader(retries=1).read(server.url("once/status/503/tomorrow")) == b"at last"
    assert len(pauses) == 3


def test_redirects_are_followed_within_bounds(server: Server) -> None:
    assert reader().read(server.url("hop/3")) == b"bytes of end"
    assert reader().read(server.url("to/x?/ok/y")) == b"bytes of y"
    assert reason_of(reader().read, server.url("to/x?/to/x")) in {"server_error"}


@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "FILE:///etc/passwd", "s3://bucket/a.jpg", "ftp://host/a", "gopher://127.0.0.1/"],
)
def test_redirect_away_from_http_is_refused(server: Server, target: str) -> None:
    assert reason_of(reader().read, server.url(f"to/x?{target}")) == "bad_uri"
    assert len(server.requests) == 1


def test_redirect_out_of_the_allowed_roots_is_refused(server: Server) -> None:
    limited = reader(allowed_roots=(server.url("to"), server.url("ok/public")))
    assert limited.read(server.url("to/x?/ok/public/a.jpg")) == b"bytes of public/a.jpg"
    assert reason_of(limited.read, server.url("to/x?/ok/private/a.jpg")) == "bad_uri"
    assert reason_of(limited.read, server.url("to/x?/ok/public/%2e%2e/private/a.jpg")) == "bad_uri"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"])
def test_private_address_is_refused_under_every_name_and_gets_no_request(server: Server, host: str) -> None:
    guarded = reader(allow_private_addresses=False)
    assert reason_of(guarded.read, server.url("ok/a.jpg", host=host)) in {"bad_uri", "server_error"}
    assert server.requests == []


def test_password_is_sent_to_the_server_of_its_url_only(server: Server) -> None:
    other = Server()
    threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    url = server.url(f"to/x?{other.url('ok/y')}").replace("//", "//user:secret@", 1)
    assert reader().read(url) == b"bytes of y"
    assert server.requests[0].headers["Authorization"] == "Basic " + base64.b64encode(b"user:secret").decode()
    assert other.requests[0].headers["Authorization"] is None
    assert reason_of(reader().read, server.url("status/403").replace("//", "//user:secret@", 1)) == "forbidden"
    other.shutdown()
    other.server_close()


def test_server_without_a_known_certificate_is_a_server_error(server: Server) -> None:
    assert reason_of(reader().read, server.url("ok/a.jpg").replace("http:", "https:")) == "server_error"
    assert ssl.create_default_context().verify_mode is ssl.CERT_REQUIRED
