"""Answers of hostile and broken web servers, byte by byte: each ends as a picture or as a reason, in time."""

from __future__ import annotations

import gzip
import random
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lookalike import config
from lookalike.failures import REASONS, ImageError
from lookalike.storage import http_connections
from lookalike.storage.image_reader import ImageReader
from support.raw_server import Answer, endlessly, keep_silent, reset, sending, serving

OK = b"HTTP/1.1 200 OK\r\n"
CLOSE = b"Connection: close\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n"


def body(content: bytes, *headers: bytes) -> bytes:
    return OK + b"".join(one + b"\r\n" for one in headers) + b"Content-Length: %d\r\n\r\n" % len(content) + content


def length(text: bytes) -> bytes:
    return OK + b"Content-Length: " + text + b"\r\n\r\nwhole"


def busy(retry_after: bytes) -> bytes:
    return b"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\nRetry-After: " + retry_after + b"\r\n\r\n"


def moved(target: bytes, status: int = 302) -> bytes:
    return b"HTTP/1.1 %d Moved\r\nContent-Length: 0\r\nLocation: " % status + target + b"\r\n\r\n"


def status(line: bytes) -> bytes:
    return line + b"\r\nContent-Length: 5\r\n\r\nwhole"


WHOLE = b"whole"
GZIP = gzip.compress(WHOLE)
ARABIC_FIVE = b"\xd9\xa5"
Case = tuple[bytes | Answer, str | bytes]

STATUS_LINES: dict[str, Case] = {
    "no status": (status(b"HTTP/1.1"), "server_error"),
    "no number": (status(b"HTTP/1.1 abc OK"), "server_error"),
    "superscript": (status("HTTP/1.1 20\xb2 OK".encode("latin-1")), "server_error"),
    "negative": (status(b"HTTP/1.1 -200 OK"), "server_error"),
    "too small": (status(b"HTTP/1.1 99 OK"), "server_error"),
    "too large": (status(b"HTTP/1.1 1000 OK"), "server_error"),
    "huge number": (status(b"HTTP/1.1 " + b"2" * 6000 + b" OK"), "server_error"),
    "unknown": (status(b"HTTP/1.1 799 Huh"), "server_error"),
    "no phrase": (status(b"HTTP/1.1 200"), WHOLE),
    "phrase of escapes": (status(b"HTTP/1.1 404 \x1b[2J\x00\xff"), "not_found"),
    "other protocol": (status(b"ICY 200 OK"), "server_error"),
    "version of the future": (status(b"HTTP/9.9 200 OK"), "server_error"),
    "version 1.0": (status(b"HTTP/1.0 200 OK"), WHOLE),
    "long line": (b"HTTP/1.1 200 " + b"x" * (1 << 20) + b"\r\n\r\n", "server_error"),
    "endless line": (endlessly(b"x" * 4096), "server_error"),
    "only line ends": (b"\r\n" * 100, "server_error"),
    "TLS alert": (b"\x15\x03\x01\x00\x02\x02\x46", "server_error"),
    "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", "server_error"),
    "nothing": (b"", "server_error"),
    "reset": (reset, "server_error"),
    "silence": (keep_silent, "timeout"),
    "part of the line": (b"HTTP/1.1 20", "server_error"),
    "switch of protocols": (status(b"HTTP/1.1 101 Switching Protocols"), "server_error"),
    "continue first": (b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + body(WHOLE), WHOLE),
    "early hints first": (b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + body(WHOLE), WHOLE),
    "processing first": (b"HTTP/1.1 102 Processing\r\n\r\n" * 2 + body(WHOLE), WHOLE),
    "endless continue": (endlessly(b"HTTP/1.1 100 Continue\r\n\r\n"), "timeout"),
    "endless hints": (endlessly(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"), "timeout"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", "empty"),
}

HEADERS: dict[str, Case] = {
    "no colon": (OK + b"what is this\r\nContent-Length: 5\r\n\r\nwhole", WHOLE),
    "blank before the colon": (OK + b"Content-Length : 5\r\n" + CLOSE + b"\r\nwhole", WHOLE),
    "folded": (OK + b"X-Long: a\r\n\tb\r\nContent-Length:\r\n 5\r\n\r\nwhole", WHOLE),
    "NUL": (OK + b"X-\0: \0\r\nContent-Length: 5\r\n\r\nwhole", WHOLE),
    "not ASCII": (OK + b"X-\xff: \xfe\xff\r\nContent-Length: 5\r\n\r\nwhole", WHOLE),
    "only LF": (b"HTTP/1.1 200 OK\nContent-Length: 5\n\nwhole", WHOLE),
    "ten megabytes of one": (OK + b"X: " + b"x" * (10 << 20) + b"\r\n\r\n", "server_error"),
    "ten thousand": (OK + b"X: x\r\n" * 10_000 + b"\r\n", "server_error"),
    "endless": (endlessly(b"X: x\r\n", first=OK), "server_error"),
    "end within": (OK + b"Content-Le", "server_error"),
    "slowly": (endlessly(b"x", first=OK + b"X: ", pause=0.02), "timeout"),
    "encoding nobody knows": (body(WHOLE, b"Content-Encoding: snappy"), WHOLE),
    "not gzip": (body(WHOLE, b"Content-Encoding: gzip"), WHOLE),
    "gzip": (body(GZIP, b"Content-Encoding: GZIP"), WHOLE),
    "gzip cut": (body(GZIP[:-10], b"Content-Encoding: gzip"), "server_error"),
    "gzip with a wrong sum": (body(GZIP[:-8] + bytes(8), b"Content-Encoding: x-gzip"), "server_error"),
    "gzip bomb": (body(gzip.compress(bytes(16 << 20)), b"Content-Encoding: gzip"), "too_large"),
}

LENGTHS: dict[str, Case] = {
    "long": (length(b"1000"), "server_error"),
    "short": (length(b"2"), b"wh"),
    "nothing": (length(b"0"), "empty"),
    "negative": (length(b"-1"), WHOLE),
    "superscript": (length("²".encode("latin-1")), WHOLE),
    "superscripts": (length("¹²³".encode("latin-1")), WHOLE),
    "Arabic digits": (length(ARABIC_FIVE), WHOLE),
    "no number": (length(b"five"), WHOLE),
    "empty": (length(b""), WHOLE),
    "fraction": (length(b"5.0"), WHOLE),
    "hexadecimal": (length(b"0x5"), WHOLE),
    "infinite": (length(b"inf"), WHOLE),
    "over the limit": (length(b"99999999999"), "too_large"),
    "of 30 digits": (length(b"9" * 30), "too_large"),
    "of 5,000 digits": (length(b"9" * 5000), WHOLE),
    "twice the same": (length(b"5\r\nContent-Length: 5"), WHOLE),
    "two that differ": (length(b"5\r\nContent-Length: 4"), "server_error"),
    "list that differs": (length(b"5, 6"), "server_error"),
    "and chunked": (CHUNKED + b"Content-Length: 2\r\n\r\n5\r\nwhole\r\n0\r\n\r\n", WHOLE),
    "and chunked, in two": (CHUNKED + b"Content-Length: 2\r\n\r\n2\r\nwh\r\n3\r\nole\r\n0\r\n\r\n", WHOLE),
    "none, to the end": (OK + b"\r\nwhole", WHOLE),
    "slow body": (endlessly(b"x", first=OK + b"Content-Length: 10000\r\n\r\n", pause=0.02), "timeout"),
    "silence in the body": (lambda guest: (guest.sendall(length(b"10")), keep_silent(guest))[1], "timeout"),
    "endless body": (endlessly(bytes(1 << 16), first=OK + b"\r\n"), "too_large"),
}

CHUNKS: dict[str, Case] = {
    "sound": (CHUNKED + b"\r\n3\r\nwho\r\n2;name=value\r\nle\r\n0\r\nX: trailer\r\n\r\n", WHOLE),
    "no size": (CHUNKED + b"\r\n\r\nwhole\r\n", "server_error"),
    "not hexadecimal": (CHUNKED + b"\r\nxyz\r\nwhole\r\n0\r\n\r\n", "server_error"),
    "superscript": (CHUNKED + "\r\n²\r\nwh\r\n0\r\n\r\n".encode("latin-1"), "server_error"),
    "negative": (CHUNKED + b"\r\n-5\r\nwhole\r\n0\r\n\r\n", "server_error"),
    "size beyond the data": (CHUNKED + b"\r\nFF\r\nwhole", "server_error"),
    "size of 64 bits": (CHUNKED + b"\r\nFFFFFFFFFFFFFFFF\r\nwhole", "server_error"),
    "size of 6,000 digits": (CHUNKED + b"\r\n" + b"F" * 6000 + b"\r\nwhole", "server_error"),
    "endless size": (endlessly(b"0" * 256, first=CHUNKED + b"\r\n"), "server_error"),
    "endless extension": (endlessly(b"x" * 4096, first=CHUNKED + b"\r\n5;"), "server_error"),
    "no last chunk": (CHUNKED + b"\r\n5\r\nwhole\r\n", "server_error"),
    "no line end": (CHUNKED + b"\r\n5\r\nwholeXX0\r\n\r\n", WHOLE),
    "size too small": (CHUNKED + b"\r\n4\r\nwhole\r\n0\r\n\r\n", "server_error"),
    "nothing": (CHUNKED + b"\r\n0\r\n\r\n", "empty"),
    "endless trailers": (endlessly(b"X: x\r\n", first=CHUNKED + b"\r\n0\r\n"), "timeout"),
    "endless chunks": (endlessly(b"10000\r\n" + bytes(0x10000) + b"\r\n", first=CHUNKED + b"\r\n"), "too_large"),
    "slowly": (endlessly(b"1\r\nx\r\n", first=CHUNKED + b"\r\n", pause=0.02), "timeout"),
}

RETRY_AFTERS: dict[str, Case] = {
    f"retry after {text[:40]!r}": (busy(text), "server_error")
    for text in (
        b"",
        b"-5",
        b"nan",
        b"inf",
        b"1e400",
        b"9" * 5000,
        "²".encode("latin-1"),
        ARABIC_FIVE,
        b"\xff\xfe\0",
        b"1\r\nRetry-After: 2",
        b"Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        b"Mon, 01 Jan 9999 23:59:59 -2359",
        b"Mon, 01 Jan 0001 00:00:00 +2359",
        b"Mon, 01 Jan 0000 00:00:00 GMT",
        b"Mon, 99 Jan 2020 99:99:99 GMT",
        b"Mon, 01 Jan 2020 00:00:00 +99999999999999999999",
        b"Mon, 01 Jan 1600 00:00:00",
        b"01 Jan",
        b",",
        b"(" * 3000,
    )
}

REDIRECTS: dict[str, Case] = {
    "no target": (moved(b""), "server_error"),
    "blank target": (moved(b"  "), "server_error"),
    "itself": (moved(b"#part"), "server_error"),
    "itself, by query": (moved(b"?"), "server_error"),
    "for ever": (moved(b"x/"), "server_error"),
    "no port": (moved(b"http://127.0.0.1:x/"), "bad_uri"),
    "port of a superscript": (moved("http://127.0.0.1:8²/".encode("latin-1")), "bad_uri"),
    "port 0": (moved(b"http://127.0.0.1:0/"), "bad_uri"),
    "port 65536": (moved(b"http://127.0.0.1:65536/"), "bad_uri"),
    "no host": (moved(b"https:///x"), "bad_uri"),
    "broken IPv6": (moved(b"//[::1/x"), "bad_uri"),
    "broken brackets": (moved(b"http://[/x"), "bad_uri"),
    "NUL": (moved(b"/a\0b"), "bad_uri"),
    "backslash": (moved(b"http:\\\\127.0.0.1\\x"), "bad_uri"),
    "file": (moved(b"file:///etc/passwd"), "bad_uri"),
    "ftp": (moved(b"ftp://127.0.0.1/x"), "bad_uri"),
    "store": (moved(b"abfs://c@127.0.0.1/x"), "bad_uri"),
    "data": (moved(b"data:image/png;base64,AAAA"), "bad_uri"),
    "dots": (moved(b"/%2e%2e/x"), "bad_uri"),
    "very long": (moved(b"/" + b"x" * 60_000), "server_error"),
    "300": (moved(b"/x", 300), "server_error"),
    "305": (moved(b"http://127.0.0.1:1/", 305), "server_error"),
    "a blank and UTF-8": (moved("/odd/é b".encode()), WHOLE),
}

CASES = {
    f"{table}: {name}": case
    for table, cases in (
        ("status line", STATUS_LINES),
        ("header", HEADERS),
        ("length", LENGTHS),
        ("chunk", CHUNKS),
        ("", RETRY_AFTERS),
        ("redirect", REDIRECTS),
    )
    for name, case in cases.items()
}
ANSWERS = [case[0] for case in CASES.values()]
TIME = 0.3
PATIENCE = 10  # for a slow machine: what nothing limits goes on for ever, and a look-up for 20 s
LIMITS: dict[str, Any] = {"allow_private_addresses": True, "retries": 0, "connect_timeout": 1, "max_bytes": 1 << 20}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    def answer(request: bytes) -> Answer:
        if request.startswith(b"GET /odd/%C3%A9%20b "):
            return sending(body(WHOLE))
        found = ANSWERS[int(request.split(b"/")[1])] if request[5:6].isdigit() else moved(b"/x")
        return sending(found) if isinstance(found, bytes) else found

    with serving(answer) as number:
        yield number


def outcome(url: str, **limits: Any) -> str | bytes:
    reader = ImageReader(config.ImageSettings(**{**LIMITS, "read_timeout": TIME, **limits}))
    found = attempt(reader, url)
    if isinstance(found, bytes):
        return found
    assert found.reason in REASONS
    assert len(found.detail) < 400
    assert found.detail.isprintable()
    assert " object at 0x" not in found.detail
    return found.reason


def attempt(reader: ImageReader, url: str) -> bytes | ImageError:
    try:
        return reader.read(url)
    except ImageError as error:
        return error


@pytest.mark.parametrize("name", CASES)
def test_answer_ends_as_a_picture_or_a_reason_in_time(port: int, name: str) -> None:
    started = time.monotonic()
    assert outcome(f"http://127.0.0.1:{port}/{list(CASES).index(name)}/a.jpg") == CASES[name][1]
    assert time.monotonic() - started < PATIENCE


def test_connection_that_its_server_closed_meanwhile_costs_no_try() -> None:
    def once(_: bytes) -> Answer:
        return lambda guest: (guest.sendall(body(WHOLE)), guest.recv(1 << 16))[0]  # ends at the second request

    with serving(once) as number:
        for _ in range(20):
            assert outcome(f"http://127.0.0.1:{number}/a.jpg", read_timeout=5) == WHOLE


@pytest.mark.parametrize("refusal", [400, 403, 405, 414, 501])
def test_server_that_refuses_head_is_no_lasting_failure(refusal: int) -> None:
    reader = ImageReader(config.ImageSettings(**{**LIMITS, "read_timeout": 5}))
    with serving(lambda _: sending(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % refusal)) as number:
        with pytest.raises(ImageError) as refused:
            reader.version(f"http://127.0.0.1:{number}/a.jpg")
        assert not refused.value.permanent


def test_damaged_answers_end_as_reasons_whatever_the_damage() -> None:
    sound = CHUNKED + b'ETag: "v1"\r\nRetry-After: 1\r\nLocation: /x\r\n\r\n5\r\nwhole\r\n0\r\n\r\n'
    draw = random.Random(14)

    def damaged(_: bytes) -> Answer:
        data = bytearray(sound)
        for _ in range(draw.randrange(1, 6)):
            place = draw.randrange(len(data))
            data[place : place + draw.randrange(3)] = draw.randbytes(draw.randrange(3))
        return sending(bytes(data))

    with serving(damaged) as number:
        for _ in range(300):
            outcome(f"http://127.0.0.1:{number}/a.jpg", read_timeout=5)


@pytest.mark.parametrize(
    ("scheme", "answer", "reason"),
    [
        ("https", sending(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "server_error"),
        ("https", keep_silent, "timeout"),
        # a handshake of single bytes: a record of TLS that promises 16 KiB
        ("https", endlessly(b"\0", first=b"\x16\x03\x03\x40\x00", pause=0.02), "timeout"),
        ("https", reset, "server_error"),
        ("http", reset, "server_error"),
        ("http", endlessly(b"\x16\x03\x03", pause=0.02), "timeout"),
    ],
)
def test_server_of_another_protocol_has_its_reason(scheme: str, answer: Answer, reason: str) -> None:
    started = time.monotonic()
    with serving(lambda _: answer, wait_for_request=False) as number:
        assert outcome(f"{scheme}://127.0.0.1:{number}/a.jpg") == reason
    assert time.monotonic() - started < PATIENCE


def test_no_thread_and_no_connection_is_left_after_a_time_out() -> None:
    with serving(lambda _: keep_silent) as number:
        for _ in range(3):
            assert outcome(f"http://127.0.0.1:{number}/a.jpg", read_timeout=0.05) == "timeout"
        assert not [one for one in threading.enumerate() if isinstance(one, threading.Timer)]
        assert http_connections._request.deadline is None


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Addresses by host name, instead of those of the network; a name that is not there never gets an answer."""
    known: dict[str, list[str]] = {}

    def look_up(host: str, port: int, *_: object, **__: object) -> list[Any]:
        if host not in known:
            threading.Event().wait(20)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


def test_look_up_of_a_name_counts_as_reading(names: dict[str, list[str]]) -> None:
    started = time.monotonic()
    assert outcome("http://slow.example/a.jpg", read_timeout=0.3, connect_timeout=10) == "timeout"
    assert time.monotonic() - started < PATIENCE  # the look-up takes longer


def test_ten_dead_addresses_cost_one_time_out_and_a_live_one_behind_them_is_reached(
    names: dict[str, list[str]], port: int
) -> None:
    number = list(CASES).index("length: twice the same")
    with socket.socket() as full:
        full.bind(("127.0.0.2", port))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:  # the queue of the kernel is full: a connection waits
            one.setblocking(False)
            one.connect_ex(("127.0.0.2", port))
        started = time.monotonic()
        names["dead.example"] = ["127.0.0.2"] * 10
        assert outcome(f"http://dead.example:{port}/x", connect_timeout=0.5, read_timeout=5) == "timeout"
        assert outcome(f"http://dead.example:{port}/x", connect_timeout=9, read_timeout=0.5) == "timeout"
        assert time.monotonic() - started < 5  # one after the other, 5 s each
        names["half.example"] = ["127.0.0.2", "127.0.0.1"]
        assert outcome(f"http://half.example:{port}/{number}/x", read_timeout=5) == WHOLE
        for one in waiting:
            one.close()


def test_only_the_public_addresses_of_a_name_are_connected_to(names: dict[str, list[str]], port: int) -> None:
    names["rebind.example"] = ["127.0.0.1", "169.254.169.254", "10.0.0.1"]
    assert outcome(f"http://rebind.example:{port}/x", allow_private_addresses=False) == "bad_uri"
