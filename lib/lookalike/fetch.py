"""Pictures' bytes, or what their store says of them, read ahead by a few threads while the core computes. No Spark."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from lookalike import config, images
from lookalike.images import ImageError

# Bytes fetched and not yet used, past which no further picture is asked for; those under way still arrive.
AHEAD_BYTES = 32 << 20

T = TypeVar("T")


def contents(uris: Iterable[str], limits: config.Images) -> Iterator[bytes | ImageError]:
    """The bytes behind each URI, in order."""
    return _ahead(lambda uri: images.read(uri, limits), uris, limits.fetch_threads)


def versions(uris: Iterable[str], limits: config.Images) -> Iterator[str | ImageError]:
    """Size and modification time of each URI as text, in order."""
    return _ahead(images.version, uris, limits.fetch_threads)


def _ahead(fetch: Callable[[str], T], uris: Iterable[str], threads: int) -> Iterator[T | ImageError]:
    def attempt(uri: str) -> T | ImageError:
        try:
            return fetch(uri)
        except ImageError as error:
            return error

    coming = iter(uris)
    with ThreadPoolExecutor(threads, thread_name_prefix="fetch") as pool:
        waiting: deque[Future[T | ImageError]] = deque()
        while True:
            while len(waiting) < 2 * threads and _fetched_bytes(waiting) < AHEAD_BYTES:
                uri = next(coming, None)
                if uri is None:
                    break
                waiting.append(pool.submit(attempt, uri))
            if not waiting:
                return
            yield waiting.popleft().result()


def _fetched_bytes(waiting: Iterable[Future[T | ImageError]]) -> int:
    done = (future.result() for future in waiting if future.done())
    return sum(len(data) for data in done if isinstance(data, bytes))
