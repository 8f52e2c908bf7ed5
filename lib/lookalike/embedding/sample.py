"""Read the pictures on which int8 is calibrated and measured: many at a time, and within a time for all of them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
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

# 384 pictures of dead hosts, one after the other with retries, took hours. 32 at a time, once, with at most 20 s each:
# 4 minutes if half of them are dead.
THREADS = 32
TRY_SECONDS = 20.0
SECONDS = 300.0


def read_sample(paths: Sequence[str | None], settings: config.Settings, wanted: int) -> NDArray[np.uint8]:
    """Return the first `wanted` pictures that can be read and decoded; uint8 [n, size, size, 3].

    Raises ModelError when the time is over and they are fewer than model.calibration_pictures.
    """
    started = time.monotonic()
    pictures, failed = _read(paths, settings, wanted)
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


def _read(
    paths: Sequence[str | None], settings: config.Settings, wanted: int
) -> tuple[list[NDArray[np.uint8]], Counter[str]]:
    """Return the pictures, and how many failed by their reason."""
    size, reader = network.input_size(settings.model), _quick(ImageReader.of(settings))
    end, enough = time.monotonic() + SECONDS, threading.Event()

    def fetch(path: str | None) -> NDArray[np.uint8]:
        if enough.is_set() or time.monotonic() > end:
            raise ImageError("timeout", "the time of the sample is over")
        return decoder.shared().decode(reader.read(path), size, settings.images).pixels

    pictures: list[NDArray[np.uint8]] = []
    failed: Counter[str] = Counter()
    for one in prefetch.fetch_ahead(fetch, paths, THREADS, lambda pixels: pixels.nbytes):
        if isinstance(one, ImageError):
            failed[one.reason] += 1  # the embed step writes its row in `failures`
        else:
            pictures.append(one)
        if len(pictures) == wanted or time.monotonic() > end:
            enough.set()  # those under way are the last
            break
    return pictures, failed


def _quick(reader: ImageReader) -> ImageReader:
    """Return the same reader with one short try: any other picture is as good."""
    seconds = min(reader.limits.read_timeout, TRY_SECONDS)
    return replace(reader, limits=reader.limits.model_copy(update={"retries": 0, "read_timeout": seconds}))
