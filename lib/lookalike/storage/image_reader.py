"""Read a picture, or its version, by its path in the catalogue: local files, object stores and http; with retries."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

import tenacity

from lookalike import config
from lookalike.failures import RETRIED, ImageError
from lookalike.redaction import redacted_uri
from lookalike.storage import http, local, names, object_store, outage, uri

# Seconds between tries: random below 0.25, 0.5, 1, 2, …, so that a thousand workers do not retry at the same time.
FIRST_WAIT = 0.25
LONGEST_WAIT = 20.0

# A store answers one request in twenty by an error when it is busy, and a picture takes two.
STORE_TRIES = 8

_OUTSIDE = "not below any of images.allowed_roots"

T = TypeVar("T")


@dataclass(frozen=True)
class ImageReader:
    """Everything a worker needs to read pictures: limits, stores, and the root of relative paths."""

    limits: config.ImageSettings = field(default_factory=config.ImageSettings)
    stores: config.StoreSettings = field(default_factory=config.StoreSettings)
    root: str = ""
    named: tuple[str, ...] = ()  # further places that the settings name

    @classmethod
    def of(cls, settings: config.Settings) -> ImageReader:
        """Return the reader for these settings."""
        catalogue = settings.catalogue
        return cls(settings.images, settings.stores, catalogue.image_root, (catalogue.path, settings.warehouse.path))

    def read(self, path: str | None) -> bytes:
        """Return the bytes of the picture with this `path` in the catalogue; raises ImageError."""
        try:
            location = self.location(path)
            data = self._retry(lambda: self._read(location), location)
        except ImageError as error:
            raise self._explained(error, path) from None
        if not data:
            raise ImageError("empty", "0 bytes")
        return data

    def version(self, path: str | None) -> str | None:
        """Return what changes with the picture, without reading it: size and time, or ETag; None if the store has none.

        Raises ImageError.
        """
        location = self.location(path)
        return self._retry(lambda: self._version(location), location)

    def location(self, path: str | None) -> uri.Location:
        """Return where the picture is; raises ImageError if that is no URI or not below an allowed root."""
        if path is None or names.is_blank(path):
            raise ImageError("no_path", "the catalogue names no picture")
        if self.root and uri.leaves_root(path):
            raise ImageError("bad_uri", "'..' leads out of catalogue.image_root")
        try:
            location = uri.parse(uri.join_root(self.root, path))
            if location.scheme == uri.LOCAL:
                return self._local(location, is_relative=not path.startswith("/") and not uri.is_uri(path))
            self._check_root(location)
            self._check_host(location)
        except ValueError as error:  # also an embedded NUL
            raise ImageError("bad_uri", str(error)) from None
        return location

    def _check_root(self, location: uri.Location) -> None:
        roots = self.limits.allowed_roots
        if roots and not any(uri.is_below(location, root) for root in roots):
            raise ValueError(_OUTSIDE)

    def _local(self, location: uri.Location, is_relative: bool) -> uri.Location:
        """Return where a local file is, behind all links, and the root that it must not leave; raises ValueError."""
        if self.limits.allowed_roots:
            tops, problem = self._allowed_folders, _OUTSIDE
        elif self.root and not self._root_folder:
            raise ValueError("a local path, though catalogue.image_root is a store; name it in images.allowed_roots")
        elif self._root_folder and is_relative and ".." in location.path.split("/"):
            tops, problem = [self._root_folder], "'..' behind a link leads out of catalogue.image_root"
        else:
            return location
        path = local.real_path(location.path)
        top = next((top for top in tops if uri.is_inside(path, top)), None)
        if top is None:
            raise ValueError(problem)
        return replace(location, path=path, top=top)

    @cached_property
    def _allowed_folders(self) -> list[str]:
        found = map(uri.parse, self.limits.allowed_roots)
        return [local.real_path(root.path) for root in found if root.scheme == uri.LOCAL]

    @cached_property
    def _root_folder(self) -> str:
        """The folder catalogue.image_root; none if it is not set, or a place in a store."""
        root = uri.parse(self.root) if self.root else None
        return local.real_path(root.path) if root and root.scheme == uri.LOCAL else ""

    def _explained(self, error: ImageError, path: str | None) -> ImageError:
        """Return the error with what is odd in the path, and with a local file of nearly that name, if there is one."""
        if path is None or error.reason not in ("not_found", "bad_uri"):
            return error
        near = (name for name in names.near_names(path) if self._is_local_file(name))
        hint = f"did you mean '{redacted_uri(found)}'?" if (found := next(near, None)) else ""
        detail = "; ".join(part for part in (error.detail, names.oddity(path), hint) if part)
        return ImageError(error.reason, detail, error.wait)

    def _is_local_file(self, path: str) -> bool:
        """Whether the path names a local file that may be read; asks no store and no server."""
        try:
            location = self.location(path)
            return location.scheme == uri.LOCAL and bool(self._version(location))
        except ImageError:
            return False

    def _check_host(self, location: uri.Location) -> None:
        """Refuse a host that a row alone names: it would be sent the credentials of this machine."""
        host = uri.store_host(location)
        if not host or (location.scheme == "abfs" and self.stores.azure_endpoint):  # then that is the host
            return
        if host not in self._known_hosts(location.scheme):
            key = "azure_accounts" if location.scheme == "abfs" else "hdfs_name_nodes"
            raise ValueError(f"the settings do not name the host {host}; add it to stores.{key} if it is yours")

    def _known_hosts(self, scheme: str) -> set[str]:
        listed = {uri.account_host(one) for one in self.stores.azure_accounts}
        known = listed if scheme == "abfs" else {one.lower() for one in self.stores.hdfs_name_nodes}
        for text in (self.root, *self.named, *self.limits.allowed_roots):
            with contextlib.suppress(ValueError):  # the catalogue may be the name of a table
                place = uri.parse(text)
                known |= {uri.store_host(place)} if place.scheme == scheme else set()
        return known

    def _read(self, location: uri.Location) -> bytes:
        if location.scheme == uri.LOCAL:
            return local.read(location, self.limits)
        if location.scheme in uri.WEB:
            return http.read(location, self.limits, self._redirected)
        return object_store.read(location, self.limits, self.stores)

    def _version(self, location: uri.Location) -> str | None:
        if location.scheme == uri.LOCAL:
            return local.version(location)
        if location.scheme in uri.WEB:
            return http.version(location, self.limits, self._redirected)
        return object_store.version(location, self.limits, self.stores)

    def _redirected(self, url: str) -> uri.Location:
        """Return where a redirect leads; only to a location that the catalogue could name."""
        try:
            location = uri.parse(url)
            if location.scheme not in uri.WEB:
                raise ValueError("a redirect away from http")
            self._check_root(location)
        except ValueError as error:
            raise ImageError("bad_uri", f"redirected to a refused location: {error}") from None
        return location

    def _retry(self, attempt: Callable[[], T], location: uri.Location) -> T:
        """Call `attempt`, and retry errors that may pass within the run."""
        store = None if location.scheme in (uri.LOCAL, *uri.WEB) else outage.store_of(location)
        try:  # before tenacity, which takes three times as long as the version of a local file
            return _noted(_asked_again_if_refused(attempt) if store else attempt(), store)
        except ImageError as error:
            if not self._is_worth_a_retry(error):
                raise
            first = [error]

        def again() -> T:
            if first:
                raise first.pop()
            return _noted(attempt(), store)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(self._is_worth_a_retry),
            stop=_Stop(self.limits.retries, store),
            wait=_seconds_to_wait,
            sleep=time.sleep,
            reraise=True,
        )
        return retrying(again)

    def _is_worth_a_retry(self, error: BaseException) -> bool:
        return isinstance(error, ImageError) and error.reason in RETRIED and error.wait <= self.limits.read_timeout


def _asked_again_if_refused(attempt: Callable[[], T]) -> T:
    """Call `attempt`, and once more where the store refuses it.

    By such an answer Amazon's client learns how wrong the clock of this machine is, and signs by the store's from then
    on. Of several threads it tries again for the first alone: six of 300 pictures, with a clock two days ahead, stayed
    refused.
    """
    try:
        return attempt()
    except ImageError as error:
        if error.reason != "forbidden":
            raise
    return attempt()


def _noted(found: T, store: str | None) -> T:
    """Return what was found, after it is known that the store answers."""
    if store is not None:
        outage.note_answer(store)
    return found


@dataclass(frozen=True)
class _Stop:
    """Whether a try was the last one: after `retries` further ones; of a store's errors, which are no answer about the
    picture, not before some more, nor while the store is out.
    """

    retries: int
    store: str | None

    def __call__(self, state: tenacity.RetryCallState) -> bool:
        if state.attempt_number <= self.retries:
            return False
        error = state.outcome.exception() if state.outcome else None
        failed = isinstance(error, ImageError) and error.reason == "server_error"
        if self.store is None or not self.retries or not failed:
            return True
        if state.attempt_number < STORE_TRIES or outage.is_out(self.store, state.seconds_since_start or 0):
            return False
        outage.give_up(self.store)
        return True


def _seconds_to_wait(state: tenacity.RetryCallState) -> float:
    """Return the seconds until the next try: what the server asked for, plus a random part of a doubling time."""
    ceiling = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (state.attempt_number - 1))
    error = state.outcome.exception() if state.outcome else None
    asked = error.wait if isinstance(error, ImageError) else 0
    return asked + random.uniform(0, ceiling)  # noqa: S311 - no secret
