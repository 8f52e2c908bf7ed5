"""The releases of a warehouse as the site knows them: which there are, which is current, and the few that are held."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from contextlib import suppress

import pyarrow as pa

from lookalike import config
from lookalike.browse.held import HeldRelease
from lookalike.errors import LookalikeError, WarehouseError
from lookalike.warehouse import opening
from lookalike.warehouse.record import ReleaseRecord
from lookalike.warehouse.release import Refused, ReleaseFolder

# Releases that are held in memory: two are compared, and one is looked at.
HELD = 3

# What is known of the warehouse is this old at most: a store is not asked for each page.
_SECONDS = 5.0
# A page waits no longer for a store that does not answer: its client tries for 40 s.
_PATIENCE = 1.0

_Known = tuple[float, str, list[ReleaseFolder]]  # when, the current release, all that there are

# Releases of which the records are read, to show what became of their figures.
SHOWN = 60


class ReleaseGoneError(WarehouseError):
    """A link leads to a release that the warehouse does not have."""


class Shelf:
    """The releases of one warehouse."""

    def __init__(self, settings: config.Settings) -> None:
        self.warehouse = opening.open_warehouse(settings)
        self._stores = settings.stores
        self._lock = threading.Lock()
        self._held: OrderedDict[str, HeldRelease] = OrderedDict()
        self._reading: dict[str, threading.Lock] = {}
        self._records: dict[str, ReleaseRecord] = {}
        self._listed: _Known | None = None
        self._looking: threading.Thread | None = None

    @property
    def current_id(self) -> str:
        """The release that is current now; raise WarehouseError where there is none."""
        return self._now()[1]

    def folders(self) -> list[ReleaseFolder]:
        """Return the releases that there are, the oldest first, with the one on a disk that was refused last."""
        return self._now()[2]

    @property
    def last_refused(self) -> str | None:
        """The release that a gate refused last, where the warehouse is on a disk."""
        return next((one.release_id for one in reversed(self.folders()) if isinstance(one, Refused)), None)

    def in_memory(self, release_id: str) -> HeldRelease | None:
        """Return a release that is held now."""
        return self._held.get(release_id)

    def held(self, release_id: str) -> HeldRelease:
        """Return a release by its whole id; raise ReleaseGoneError, or WarehouseError where it is damaged."""
        folder = next((one for one in self.folders() if one.release_id == release_id), None)
        if folder is None:
            with self._lock:
                self._held.pop(release_id, None)
            raise ReleaseGoneError(f"the warehouse has no release {release_id}: it was removed, or never was")
        with self._lock:
            reading = self._reading.setdefault(release_id, threading.Lock())
        with reading:  # it may take long, and only who wants this release waits for it
            found = self._held.get(release_id) or self._read(folder)
        with self._lock:
            self._reading.pop(release_id, None)
            self._held[release_id] = found
            self._held.move_to_end(release_id)
            while len(self._held) > HELD:
                self._held.popitem(last=False)
        return found

    def fetch_models(self) -> None:
        """Bring the networks to this machine; raise WarehouseError."""
        self.warehouse.fetch_models()

    def records(self) -> list[ReleaseRecord]:
        """Return the records of the last releases that were published, the oldest first; skip damaged ones."""
        found = []
        for folder in [one for one in self.folders() if not isinstance(one, Refused)][-SHOWN:]:
            with suppress(WarehouseError):
                record = self._records.get(folder.release_id) or folder.record()
                found.append(self._records.setdefault(folder.release_id, record))
        return found

    def _read(self, folder: ReleaseFolder) -> HeldRelease:
        held = HeldRelease(self.warehouse.fetch(folder), self._stores)
        pa.default_memory_pool().release_unused()  # the texts of the lists
        return held

    def _now(self) -> _Known:
        """Return what is known of the warehouse: of a store that takes long to answer, what was known before."""
        if self._listed is None:
            self._listed = self._look()
        elif time.monotonic() - self._listed[0] > _SECONDS:
            with self._lock:
                if self._looking is not None and self._looking.is_alive():
                    return self._listed  # who has begun to look has waited
                self._looking = looking = threading.Thread(target=self._look_again, daemon=True)
                looking.start()
            looking.join(_PATIENCE)
        return self._listed

    def _look_again(self) -> None:
        assert self._listed is not None
        try:
            self._listed = self._look()
        except (LookalikeError, OSError):  # a store that does not answer now: what is held goes on
            self._listed = (time.monotonic(), *self._listed[1:])

    def _look(self) -> _Known:
        now = time.monotonic()
        refused = [] if self.warehouse.shared.in_store else self.warehouse.refused()
        releases: list[ReleaseFolder] = [*self.warehouse.releases(), *refused]
        # Where a gate has refused the first release, there is that one to look at.
        current = refused[-1] if releases and releases == refused else self.warehouse.need_current()
        return now, current.release_id, releases
