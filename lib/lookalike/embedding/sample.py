"""Read the pictures on which int8 is calibrated and measured: many at a time, and within a time for all of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lookalike import config
from lookalike.errors import ModelError
from lookalike.failures import ImageError
from lookalike.images import decoder
from lookalike.models import network
from lookalike.progress import say_detail
from lookalike.storage import prefetch
from lookalike.storage.image_reader import ImageReader

# 384 pictures of dead hosts, one after the other with retries, took hours. 32 at a time in each task, once, with at
# most 20 s each: 4 minutes in one task if half of them are dead.
THREADS = 32
TRY_SECONDS = 20.0
SECONDS = 300.0

# Of pixels that come to the driver at a time; Spark lets 1 GB through.
ROUND_BYTES = 256 << 20

# (paths, seconds) -> the pixels of each picture, in order, or the reason why there are none
ReadAll = Callable[[Sequence[str | None], float], Iterable[NDArray[np.uint8] | str]]


def read_sample(
    paths: Sequence[str | None], settings: config.Settings, wanted: int, read_all: ReadAll
) -> NDArray[np.uint8]:
    """Return the first `wanted` pictures that can be read and decoded; uint8 [n, size, size, 3].

    Raises ModelError when the time is over and they are fewer than model.calibration_pictures.
    """
    started = time.monotonic()
    pictures, failed = _first(paths, settings, wanted, read_all)
    seconds = time.monotonic() - started
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in failed.most_common())
    report = f"{len(pictures):,} pictures read in {seconds:.0f} s, {failed.total():,} failed" + f" ({reasons})" * bool(
        failed
    )
    if seconds > SECONDS and len(pictures) < min(settings.model.calibration_pictures, wanted):
        raise ModelError(
            "model.precision: int8 is calibrated on pictures of the catalogue, and the time for them is over: "
            f"{report}; see that their stores answer, or set model.precision to float32"
        )
    say_detail(f"a sample of the catalogue for int8: {report}")
    size = network.input_size(settings.model)
    return np.stack(pictures) if pictures else np.empty((0, size, size, 3), dtype=np.uint8)


def _first(
    paths: Sequence[str | None], settings: config.Settings, wanted: int, read_all: ReadAll
) -> tuple[list[NDArray[np.uint8]], Counter[str]]:
    """Return the pictures, and how many failed by their reason; in rounds, each for as many as are still wanted."""
    end, most = time.monotonic() + SECONDS, max(1, ROUND_BYTES // (3 * network.input_size(settings.model) ** 2))
    pictures: list[NDArray[np.uint8]] = []
    failed: Counter[str] = Counter()
    start = 0
    while len(pictures) < wanted and start < len(paths) and (seconds := end - time.monotonic()) > 0:
        # Not one by one at the end: each round may wait for a dead host.
        count = min(most, max(THREADS, wanted - len(pictures)))
        for one in read_all(paths[start : start + count], seconds):
            if isinstance(one, str):
                failed[one] += 1  # the embed step writes its row in `failures`
            else:
                pictures.append(one)
            if len(pictures) == wanted:
                break
        start += count
    return pictures, failed


def read_pictures(
    paths: Sequence[str | None], settings: config.Settings, seconds: float
) -> Iterator[NDArray[np.uint8] | str]:
    """Yield the pixels of each picture, in order, or the reason why there are none; all within so many seconds."""
    size, reader = network.input_size(settings.model), _quick(ImageReader.of(settings))
    end = time.monotonic() + seconds

    def fetch(path: str | None) -> NDArray[np.uint8]:
        if time.monotonic() > end:
            raise ImageError("timeout", "the time of the sample is over")
        return decoder.shared().decode(reader.read(path), size, settings.images).pixels

    for one in prefetch.fetch_ahead(fetch, paths, THREADS, lambda pixels: pixels.nbytes):
        yield one.reason if isinstance(one, ImageError) else one


def _quick(reader: ImageReader) -> ImageReader:
    """Return the same reader with one short try: any other picture is as good."""
    seconds = min(reader.limits.read_timeout, TRY_SECONDS)
    return replace(reader, limits=reader.limits.model_copy(update={"retries": 0, "read_timeout": seconds}))
