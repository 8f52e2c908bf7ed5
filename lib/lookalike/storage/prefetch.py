"""Read pictures, or their versions, in advance: a few threads read while the core computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from lookalike.failures import ImageError
from lookalike.storage import memory
from lookalike.storage.image_reader import ImageReader

# Bytes fetched and not yet used. Beyond them no further picture is requested; those under way still arrive.
MAX_WAITING_BYTES = 32 << 20

# Versions that a thread asks for in one go: to hand one over costs 40 us, more than the version of a local file.
VERSIONS_AT_ONCE = 32

P = TypeVar("P")
T = TypeVar("T")


def read_versions(paths: Sequence[str | None], reader: ImageReader) -> Iterator[str | ImageError | None]:
    """Yield the version of each picture, in order, or the error; None if its store has none."""

    def versions(share: Sequence[str | None]) -> list[str | ImageError | None]:
        return [_version(path, reader) for path in share]

    threads = reader.limits.fetch_threads
    size = max(1, min(VERSIONS_AT_ONCE, len(paths) // (4 * threads)))  # each thread gets several shares
    shares = (paths[start : start + size] for start in range(0, len(paths), size))
    for found in fetch_ahead(versions, shares, threads, lambda _: 0):
        assert not isinstance(found, ImageError)  # they are in the list
        yield from found


def _version(path: str | None, reader: ImageReader) -> str | ImageError | None:
    try:
        return reader.version(path)
    except ImageError as error:
        return error.without_frames()


def fetch_ahead(
    fetch: Callable[[P], T], paths: Iterable[P], threads: int, size: Callable[[T], int]
) -> Iterator[T | ImageError]:
    """Yield `fetch(path)` for each path, in order, or the ImageError that it raised; `size` gives a result's bytes.

    `fetch` reads at most one picture, and returns what is smaller than its bytes: a hash, or the decoded input.
    """

    def attempt(path: P) -> T | ImageError:
        try:
            with memory.one_picture():
                return fetch(path)
        except ImageError as error:
            return error.without_frames()

    def waiting_bytes() -> int:
        done = (future.result() for future in waiting if future.done())
        return sum(size(found) for found in done if not isinstance(found, ImageError))

    upcoming = iter(paths)
    with ThreadPoolExecutor(threads, thread_name_prefix="fetch") as pool:
        waiting: deque[Future[T | ImageError]] = deque()
        while True:
            while len(waiting) < 2 * threads and waiting_bytes() < MAX_WAITING_BYTES:
                coming = list(islice(upcoming, 1))  # an item's path may be None
                if not coming:
                    break
                waiting.append(pool.submit(attempt, coming[0]))
            if not waiting:
                return
            yield waiting.popleft().result()
