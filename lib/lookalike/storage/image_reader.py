"""URI -> bytes, or what its store says of them: local files, object stores, the web; with retries. No Spark."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import tenacity

from lookalike import config
from lookalike.failures import RETRIED, ImageError
from lookalike.storage import http, local, object_store, uri

# Seconds between tries: full jitter below 0.25, 0.5, 1, 2, …, so that a thousand workers do not return at once.
FIRST_WAIT = 0.25
LONGEST_WAIT = 20.0

T = TypeVar("T")


@dataclass(frozen=True)
class ImageReader:
    """What a worker needs to read pictures: limits, stores, and the root of relative paths."""

    limits: config.ImageSettings = field(default_factory=config.ImageSettings)
    stores: config.StoreSettings = field(default_factory=config.StoreSettings)
    root: str = ""

    @classmethod
    def of(cls, settings: config.Settings) -> ImageReader:
        """As the settings say."""
        return cls(settings.images, settings.stores, settings.catalogue.image_root)

    def read(self, path: str) -> bytes:
        """The bytes of the picture that the catalogue calls `path`; raises ImageError."""
        place = self.place(path)
        data = self._tried(lambda: self._read(place))
        if not data:
            raise ImageError("empty", "0 bytes")
        return data

    def version(self, path: str) -> str | None:
        """What changes with the picture, without reading it: size and time, or ETag; None where the store says nothing.

        Raises ImageError.
        """
        place = self.place(path)
        return self._tried(lambda: self._version(place))

    def place(self, path: str) -> uri.Location:
        """Where the picture is; raises ImageError for what is no URI, or outside of the allowed roots."""
        if self.root and uri.climbs(path):
            raise ImageError("bad_uri", "'..' leads out of catalogue.image_root")
        try:
            place = uri.parse(uri.join_root(self.root, path))
            self._check_root(place)
        except ValueError as error:  # an embedded NUL, too
            raise ImageError("bad_uri", str(error)) from None
        return place

    def _check_root(self, place: uri.Location) -> None:
        roots = self.limits.allowed_roots
        if roots and not any(uri.below(place, root) for root in roots):
            raise ValueError("not below any of images.allowed_roots")
        if not roots and place.scheme == uri.LOCAL and self.root and uri.parse(self.root).scheme != uri.LOCAL:
            raise ValueError("a local path, though catalogue.image_root is a store; name it in images.allowed_roots")

    def _read(self, place: uri.Location) -> bytes:
        if place.scheme == uri.LOCAL:
            return local.read(self._resolved(place), self.limits)
        if place.scheme in uri.WEB:
            return http.read(place, self.limits, self._redirected)
        return object_store.read(place, self.limits, self.stores)

    def _version(self, place: uri.Location) -> str | None:
        if place.scheme == uri.LOCAL:
            return local.version(self._resolved(place))
        if place.scheme in uri.WEB:
            return http.version(place, self.limits, self._redirected)
        return object_store.version(place, self.limits, self.stores)

    def _resolved(self, place: uri.Location) -> str:
        """With the links followed that were followed to check the roots."""
        return os.path.realpath(place.path) if self.limits.allowed_roots else place.path

    def _redirected(self, url: str) -> uri.Location:
        """Where a redirect leads; it may only lead where the catalogue may."""
        try:
            place = uri.parse(url)
            if place.scheme not in uri.WEB:
                raise ValueError("a redirect away from http")
            self._check_root(place)
        except ValueError as error:
            raise ImageError("bad_uri", f"redirected to a place that is refused: {error}") from None
        return place

    def _tried(self, attempt: Callable[[], T]) -> T:
        """`attempt`, again for what may pass within the run."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(self._is_worth_a_retry),
            stop=tenacity.stop_after_attempt(1 + self.limits.retries),
            wait=_pause,
            sleep=time.sleep,
            reraise=True,
        )
        return retrying(attempt)

    def _is_worth_a_retry(self, error: BaseException) -> bool:
        return isinstance(error, ImageError) and error.reason in RETRIED and error.wait <= self.limits.read_timeout


def _pause(state: tenacity.RetryCallState) -> float:
    """Seconds until the next try: the server's word, or a random share of a doubling time."""
    ceiling = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (state.attempt_number - 1))
    error = state.outcome.exception() if state.outcome else None
    asked = error.wait if isinstance(error, ImageError) else 0
    return asked + random.uniform(0, ceiling)  # noqa: S311 - no secret
