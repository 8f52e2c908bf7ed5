"""Bytes or versions of many pictures: one each, in order, also from a slow store and with failures."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from lookalike import config
from lookalike.failures import ImageError
from lookalike.storage import prefetch
from lookalike.storage.image_reader import ImageReader

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


def reason(found: object) -> str:
    """Return the reason of a result without bytes or version."""
    assert isinstance(found, ImageError)
    return found.reason


def test_contents_are_bytes_or_errors_in_order(store: list[str], tmp_path: Path) -> None:
    (tmp_path / "large.jpg").write_bytes(bytes(1001))
    uris = ["gone.jpg", *store[1:], str(tmp_path / "large.jpg"), "ftp://host/a.jpg", store[0], store[5]]
    found = list(prefetch.read_contents(uris, READER))
    assert found[1:30] == [bytes([size]) * size for size in range(1, 30)]
    assert found[-1] == bytes([5]) * 5
    assert [reason(one) for one in (found[0], *found[30:-1])] == ["not_found", "too_large", "bad_uri", "empty"]


def test_versions_are_texts_or_errors_in_order(store: list[str], tmp_path: Path) -> None:
    found = list(prefetch.read_versions([*store, str(tmp_path), "http://[a.jpg"], READER))
    assert found[:30] == [f"{size}-{size * 10**9}" for size in range(30)]
    assert [reason(one) for one in found[30:]] == ["not_found", "bad_uri"]


def test_no_paths_give_no_results(store: list[str]) -> None:
    assert list(prefetch.read_contents([], READER)) == []
    assert list(prefetch.read_versions(iter(store[:0]), READER)) == []


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
    found = list(prefetch.read_contents(uris, ImageReader(config.ImageSettings(fetch_threads=threads))))
    expected: list[object] = [("server_error", uri) if int(uri) % 7 == 0 else uri.encode() for uri in uris]
    assert [(one.reason, one.detail) if isinstance(one, ImageError) else one for one in found] == expected


def test_only_a_few_uris_are_requested_in_advance(store: list[str]) -> None:
    asked = 0

    def endless() -> Iterator[str]:
        nonlocal asked
        while True:
            asked += 1
            yield store[7]

    stream = prefetch.read_contents(endless(), READER)
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
    for taken, _ in enumerate(prefetch.read_contents([str(tmp_path / "hundred")] * 50, ImageReader(limits))):
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
        list(prefetch.read_contents(broken(), READER))
