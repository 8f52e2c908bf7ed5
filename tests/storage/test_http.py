"""Pictures over http, from a server on the loopback that does everything a server should not do."""

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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from lookalike import config
from lookalike.failures import ImageError
from lookalike.storage import http
from lookalike.storage.image_reader import ImageReader

LAST = "Wed, 21 Oct 2015 07:28:00 GMT"


class Handler(BaseHTTPRequestHandler):
    """The path says what happens; `server.seen` has the requests."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        kept = ("command", "path", "headers", "client_address")
        self.server.seen.append(SimpleNamespace(**{name: getattr(self, name) for name in kept}))
        what, _, argument = self.path.split("?")[0].strip("/").partition("/")
        try:
            getattr(self, f"say_{what}")(argument)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def say_ok(self, argument: str) -> None:
        self.answer(200, f"bytes of {argument}".encode(), ETag='"v1"', Last_Modified=LAST)

    def say_size(self, argument: str) -> None:
        self.answer(200, b"x" * int(argument), Last_Modified=LAST)

    def say_plain(self, _: str) -> None:
        self.answer(200, b"nothing known")

    def say_status(self, argument: str) -> None:
        status, _, again = argument.partition("/")
        self.answer(int(status), b"no", **({"Retry_After": again.replace("_", " ")} if again else {}))

    def say_once(self, argument: str) -> None:
        """A trouble the first time, the picture the next."""
        earlier = [one for one in self.server.seen if one.path == self.path]
        if len(earlier) > 1:
            return self.answer(200, b"at last")
        return getattr(self, f"say_{argument.partition('/')[0]}")(argument.partition("/")[2])

    def say_to(self, _: str) -> None:
        self.answer(302, Location=self.path.partition("?")[2].format(port=self.server.server_port))

    def say_hop(self, argument: str) -> None:
        self.answer(307, Location=f"/hop/{int(argument) - 1}" if argument != "0" else "/ok/end")

    def say_nowhere(self, _: str) -> None:
        self.answer(302)

    def say_reset(self, _: str) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.connection.close()
        self.close_connection = True

    def say_stall(self, _: str) -> None:
        self.server.stopped.wait(20)

    def say_garbage(self, _: str) -> None:
        self.wfile.write(b"\0\1\2 this is no HTTP\r\n\r\n")
        self.close_connection = True

    def say_less(self, _: str) -> None:
        """Promises more than it sends."""
        self.answer(200, b"half", Content_Length="1000")
        self.close_connection = True

    def say_more(self, _: str) -> None:
        """Sends more than it promises."""
        self.answer(200, b"wholeEXTRA", Content_Length="5")
        self.close_connection = True

    def say_length(self, argument: str) -> None:
        self.answer(200, b"x", Content_Length=argument)
        self.close_connection = True

    def say_drip(self, argument: str) -> None:
        """Bytes one by one; of the body, of the headers, or of the end of a chunk."""
        starts = {
            "body": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
            "headers": b"HTTP/1.1 200 OK\r\nX-Long: ",
            "status": b"",
            "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        }
        self.wfile.write(starts[argument])
        while not self.server.stopped.wait(0.02):
            self.wfile.write(b"1" if argument != "chunk" else b"1\r\nx\r\n")

    def say_endless(self, _: str) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not self.server.stopped.is_set():
            self.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")

    def say_zipped(self, _: str) -> None:
        self.answer(200, b"as it came", Content_Encoding="gzip")

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """On the loopback, with what it was asked."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[Any] = []
        self.stopped = threading.Event()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server_port}/{path}"

    def handle_error(self, *_: object) -> None:
        pass


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
    """One that may talk to the loopback, and does not wait long."""
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
    assert server.seen[0].path == "/ok/a%20b.jpg?sig=secret"
    assert server.seen[0].headers["Accept-Encoding"] == "identity"
    assert reader().read(server.url("ok/x", host="localhost")) == b"bytes of x"


def test_relative_path_below_a_url_is_encoded(server: Server) -> None:
    limits = reader().limits
    assert ImageReader(limits, root=server.url("ok")).read("50% off #1?.jpg") == b"bytes of 50%25%20off%20%231%3F.jpg"


def test_connection_serves_one_picture_after_another(server: Server) -> None:
    for number in range(5):
        assert reader().read(server.url(f"ok/{number}")) == f"bytes of {number}".encode()
    reader().version(server.url("ok/x"))
    assert len({one.client_address for one in server.seen}) == 1


@pytest.mark.parametrize(
    ("path", "version"),
    [("ok/a.jpg", '"v1"'), ("size/10", f"10-{LAST}"), ("plain/a", None), ("hop/3", '"v1"')],
)
def test_version_is_the_etag_or_size_and_time_and_reads_nothing(server: Server, path: str, version: str | None) -> None:
    assert reader().version(server.url(path)) == version
    assert {one.command for one in server.seen} == {"HEAD"}


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
def test_trouble_has_its_reason(server: Server, path: str, reason: str) -> None:
    assert reason_of(reader(max_bytes=1 << 20).read, server.url(path)) == reason


@pytest.mark.parametrize("path", ["stall/x", "drip/body", "drip/headers", "drip/status", "drip/chunk"])
@pytest.mark.parametrize("call", ["read", "version"])
def test_whole_read_is_bounded_however_steadily_it_drips(server: Server, path: str, call: str) -> None:
    if call == "version" and path in ("drip/body", "drip/chunk"):
        return  # a HEAD has no body
    assert reason_of(getattr(reader(read_timeout=0.3), call), server.url(path)) == "timeout"
    # and the thread is free for the next picture
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


def test_compressed_answer_is_taken_as_it_is(server: Server) -> None:
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


@pytest.mark.parametrize("trouble", ["status/503", "status/429/0", "reset", "less", "garbage"])
def test_what_may_pass_is_tried_again(server: Server, trouble: str) -> None:
    assert reader(retries=2).read(server.url(f"once/{trouble}")) == b"at last"
    assert len(server.seen) == 2


@pytest.mark.parametrize("trouble", ["status/404", "status/403", "status/400", "length/99999999999"])
def test_what_will_not_pass_is_asked_for_once(server: Server, trouble: str) -> None:
    reason_of(reader(retries=5).read, server.url(trouble))
    assert len(server.seen) == 1


def test_retry_after_is_a_number_or_a_date_and_not_waited_for_when_far(
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
    assert len(server.seen) == 1


def test_redirect_out_of_the_allowed_roots_is_refused(server: Server) -> None:
    limited = reader(allowed_roots=(server.url("to"), server.url("ok/public")))
    assert limited.read(server.url("to/x?/ok/public/a.jpg")) == b"bytes of public/a.jpg"
    assert reason_of(limited.read, server.url("to/x?/ok/private/a.jpg")) == "bad_uri"
    assert reason_of(limited.read, server.url("to/x?/ok/public/%2e%2e/private/a.jpg")) == "bad_uri"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"])
def test_private_address_is_refused_by_whatever_name_and_asked_for_nothing(server: Server, host: str) -> None:
    guarded = reader(allow_private_addresses=False)
    assert reason_of(guarded.read, server.url("ok/a.jpg", host=host)) in {"bad_uri", "server_error"}
    assert server.seen == []


def test_password_is_sent_to_the_server_it_was_named_with_and_to_no_other(server: Server) -> None:
    other = Server()
    threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    url = server.url(f"to/x?{other.url('ok/y')}").replace("//", "//user:secret@", 1)
    assert reader().read(url) == b"bytes of y"
    assert server.seen[0].headers["Authorization"] == "Basic " + base64.b64encode(b"user:secret").decode()
    assert other.seen[0].headers["Authorization"] is None
    assert reason_of(reader().read, server.url("status/403").replace("//", "//user:secret@", 1)) == "forbidden"
    other.shutdown()
    other.server_close()


def test_server_without_a_known_certificate_is_a_server_error(server: Server) -> None:
    assert reason_of(reader().read, server.url("ok/a.jpg").replace("http:", "https:")) == "server_error"
    assert ssl.create_default_context().verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::808:808", True),
    ],
)
def test_addresses_of_nobody_s_own_network_are_public(address: str, public: bool) -> None:
    assert http.is_public(address) is public
