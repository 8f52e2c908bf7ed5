"""Bytes or versions of many pictures: one each, in order, also from a slow store and with failures."""

from __future__ import annotations

import os
import random
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from lookalike import config
from lookalike.failures import ImageError
from lookalike.storage import bounded, memory, prefetch
from lookalike.storage.image_reader import ImageReader
from support.raw_server import Answer, endlessly, sending, serving

LIMITS = config.ImageSettings(max_bytes=1000)
READER = ImageReader(LIMITS)


@pytest.fixture
def store(tmp_path: Path) -> list[str]:
    """Write 30 files of 0 to 29 bytes, with times a second apart; give their paths."""
    paths = [tmp_path / f"{size}.jpg" for size in range(30)]
    for size, path in enumerate(paths):
        path.write_bytes(bytes([size]) * size)
        os.utime(path, ns=(0, size * 10**9))
    return [str(path) for path in paths]


def contents(paths: Iterable[str], reader: ImageReader) -> Iterator[bytes | ImageError]:
    return prefetch.fetch_ahead(reader.read, paths, reader.limits.fetch_threads, len)


def reason(found: object) -> str:
    """Return the reason of a result without bytes or version."""
    assert isinstance(found, ImageError)
    return found.reason


def test_contents_are_bytes_or_errors_in_order(store: list[str], tmp_path: Path) -> None:
    (tmp_path / "large.jpg").write_bytes(bytes(1001))
    uris = ["gone.jpg", *store[1:], str(tmp_path / "large.jpg"), "ftp://host/a.jpg", store[0], store[5]]
    found = list(contents(uris, READER))
    assert found[1:30] == [bytes([size]) * size for size in range(1, 30)]
    assert found[-1] == bytes([5]) * 5
    assert [reason(one) for one in (found[0], *found[30:-1])] == ["not_found", "too_large", "bad_uri", "empty"]


def test_versions_are_texts_or_errors_in_order(store: list[str], tmp_path: Path) -> None:
    paths = [*store, str(tmp_path), "http://[a.jpg"]
    for times in (1, 2 * prefetch.VERSIONS_AT_ONCE):
        found = list(prefetch.read_versions(paths * times, READER))
        assert len(found) == times * len(paths)
        for start in range(0, len(found), len(paths)):
            *versions, folder, bad = found[start : start + len(paths)]
            assert versions == [f"{size}-{size * 10**9}" for size in range(30)]
            assert (reason(folder), reason(bad)) == ("not_found", "bad_uri")


def test_no_paths_give_no_results(store: list[str]) -> None:
    assert list(contents([], READER)) == []
    assert list(prefetch.read_versions(store[:0], READER)) == []


def slow(jitter: random.Random) -> Callable[..., bytes]:
    """Return a read that takes up to 4 ms and returns the URI itself, or fails for every seventh."""

    def read(reader: ImageReader, uri: str) -> bytes:
        time.sleep(jitter.random() * 0.004)
        if int(uri) % 7 == 0:
            raise ImageError("server_error", uri)
        return uri.encode()

    return read


@pytest.mark.parametrize("threads", [1, 2, 16])
def test_slow_reads_keep_the_order(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr(ImageReader, "read", slow(random.Random(threads)))
    uris = [str(n) for n in range(300 if threads > 1 else 40)]
    found = list(contents(uris, ImageReader(config.ImageSettings(fetch_threads=threads))))
    expected: list[object] = [("server_error", uri) if int(uri) % 7 == 0 else uri.encode() for uri in uris]
    assert [(one.reason, one.detail) if isinstance(one, ImageError) else one for one in found] == expected


def test_only_a_few_uris_are_requested_in_advance(store: list[str]) -> None:
    asked = 0

    def endless() -> Iterator[str]:
        nonlocal asked
        while True:
            asked += 1
            yield store[7]

    stream = contents(endless(), READER)
    assert list(islice(stream, 20)) == [bytes([7]) * 7] * 20
    assert asked <= 20 + 2 * LIMITS.fetch_threads
    stream.close()


class Pool(ThreadPoolExecutor):
    """The real pool; the test can wait until all submitted work is done."""

    latest: Pool

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.futures: list[Future[Any]] = []
        Pool.latest = self

    def submit(self, *args: Any, **options: Any) -> Future[Any]:
        future = super().submit(*args, **options)
        self.futures.append(future)
        return future


def test_no_more_is_fetched_while_enough_bytes_wait(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "hundred").write_bytes(bytes(100))
    monkeypatch.setattr(prefetch, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(prefetch, "MAX_WAITING_BYTES", 250)
    limits = config.ImageSettings(fetch_threads=4)
    started = [0]
    for taken, _ in enumerate(contents([str(tmp_path / "hundred")] * 50, ImageReader(limits))):
        wait(Pool.latest.futures)
        waited = started[-1] - taken
        if waited * 100 >= 250:
            assert len(Pool.latest.futures) == started[-1]
        assert len(Pool.latest.futures) - taken <= 2 * limits.fetch_threads
        started.append(len(Pool.latest.futures))
    assert started[-1] == 50
    assert started[1] < started[8]


def test_stream_that_is_abandoned_leaves_no_thread(store: list[str]) -> None:
    stream = prefetch.read_versions(store * 20, READER)
    list(islice(stream, 1))
    stream.close()
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("fetch")]


def test_error_of_the_source_of_uris_is_passed_on(store: list[str]) -> None:
    def broken() -> Iterator[str]:
        yield store[3]
        raise LookupError("the partition is gone")

    with pytest.raises(LookupError, match="partition"):
        list(contents(broken(), READER))


@pytest.mark.parametrize(
    "answer",
    [
        endlessly(bytes(1 << 16), first=b"HTTP/1.1 200 OK\r\n\r\n"),
        endlessly(bytes(1 << 16), first=b"HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n"),
        endlessly(
            b"10000\r\n" + bytes(1 << 16) + b"\r\n", first=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        ),
    ],
)
def test_large_answers_wait_their_turn_so_that_their_sum_is_bounded(
    answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "SMALL", 1 << 20)
    monkeypatch.setattr(memory, "LARGE", 16 << 20)
    memory._budget.cache_clear()
    limits = config.ImageSettings(fetch_threads=16, max_bytes=8 << 20, allow_private_addresses=True, retries=0)
    with serving(lambda _: answer) as port:
        tracemalloc.start()
        lengths = prefetch.fetch_ahead(
            lambda path: len(ImageReader(limits).read(path)),
            [f"http://127.0.0.1:{port}/{n}" for n in range(32)],
            16,
            int,
        )
        found = {one.reason if isinstance(one, ImageError) else one for one in lengths}
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    memory._budget.cache_clear()
    assert found in ({"too_large"}, {8 << 20})
    # 16 threads with 1 MB and what they are reading, and 16 MB; without turns 128 MB
    assert peak < 64 << 20


def test_small_picture_never_waits_for_large_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "LARGE", 10 << 20)
    memory._budget.cache_clear()
    with memory.one_picture():
        assert memory.reserve(10 << 20, 0)
        others = ThreadPoolExecutor(1).submit(small_and_large)
        assert others.result() == [True, False]
        assert memory.reserve(1 << 30, 0)  # the next try of the same picture; more than all is all
    assert ThreadPoolExecutor(1).submit(small_and_large).result() == [True, True]
    memory._budget.cache_clear()


def small_and_large() -> list[bool]:
    with memory.one_picture():
        return [memory.reserve(memory.SMALL, 0), memory.reserve(memory.SMALL + 1, 0)]


def test_large_answers_that_wait_for_others_are_not_timed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SMALL", 1 << 20)
    monkeypatch.setattr(memory, "LARGE", 4 << 20)
    memory._budget.cache_clear()
    body = [b"80000\r\n" + bytes(1 << 19) + b"\r\n"] * 4 + [b"0\r\n\r\n"]
    answer = sending(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *body)
    limits = config.ImageSettings(max_bytes=4 << 20, read_timeout=1, allow_private_addresses=True, retries=0)

    def fetch(path: str) -> int:
        data = ImageReader(limits).read(path)
        time.sleep(0.2)  # decoding, one at a time
        return len(data)

    with serving(lambda _: answer) as port:
        paths = [f"http://127.0.0.1:{port}/{number}" for number in range(8)]
        assert list(prefetch.fetch_ahead(fetch, paths, 8, int)) == [2 << 20] * 8
    memory._budget.cache_clear()


def test_store_is_not_timed_out_while_its_picture_waits_for_others() -> None:
    memory._budget.cache_clear()
    with ThreadPoolExecutor(1) as pool, memory.one_picture():
        waiting = threading.Event()

        def hold() -> None:
            with memory.one_picture():
                memory.reserve(memory.LARGE)
                waiting.set()
                time.sleep(0.5)

        pool.submit(hold)
        waiting.wait()
        assert bounded.call(lambda: memory.reserve(memory.LARGE), 0.2, "store")
    memory._budget.cache_clear()
