"""A warehouse in an object store.

    <uri>/releases, refused, work, checkpoints, models, CURRENT, VIEWS    as in reading.py; LOCK/ as in remote_lock.py
    <cache>/                    the copies of a machine, by the same names; on the driver also locks and catalog/

Tasks put what they make below the prefix of the run, and fetch what they need; see shared_files.py. Releases never
change, so a copy is the object; where its bytes differ all the same, the machine finds it by files.json before it
uses it. A model may be compiled again and keep its size: a copy is the store's when their records, which name the
artefact by a digest, are the same. Readers of the store see what readers of a local warehouse see: all objects of a
release are there before its release.json, and CURRENT is one object.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from lookalike.errors import WarehouseError
from lookalike.storage import cache, json_file
from lookalike.storage.files import link_or_copy, write_atomic
from lookalike.storage.prefix import STREAMS, StoredObject, copy_all
from lookalike.warehouse import lock, remote_lock
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import Refused, ReleaseFolder, Staged
from lookalike.warehouse.shared_files import ON_DISK, InStore


class _BothLocks:
    """The lock of this machine and the lock of the store."""

    def __init__(self, *locks: lock.WriteLock) -> None:
        self._locks = locks

    def check(self) -> None:
        for held in self._locks:
            held.check()


class RemoteWarehouse(Warehouse):
    """The releases below a prefix of a store; this machine keeps copies."""

    shared: InStore

    def __init__(self, shared: InStore) -> None:
        super().__init__(str(shared.root))
        self.name = shared.prefix.uri
        self._prefix, self.shared = shared.prefix, shared

    # ---- reading

    def releases(self) -> list[ReleaseFolder]:
        """Return all complete releases, the oldest first; their records are then on this machine."""
        self._match("releases", "release.json")
        return super().releases()

    def refused(self) -> list[Refused]:
        """Return the last release that a gate refused; its record is then on this machine."""
        self._match("refused", "refused.json")
        return super().refused()

    def fetch(self, release: ReleaseFolder) -> ReleaseFolder:
        """Copy what this machine lacks of a release, and keep it there until the store no longer has the release."""
        copy = ReleaseFolder(release.root)
        self._make(copy.root)
        (copy.root / cache.KEEP).touch()
        wanted = self.shared.sizes(release.root)
        for path in ON_DISK.sizes(copy.root).keys() - wanted.keys():
            path.unlink()
        with ThreadPoolExecutor(STREAMS) as pool:
            list(pool.map(self._fetch, wanted))
        pointer = self.pointer()
        if pointer and pointer.release_id == release.release_id:
            self._link(release)
        return copy

    def _fetch(self, path: Path) -> None:
        copy = self.shared.fetch(path)
        if copy != path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            link_or_copy(copy, path)

    def fetch_models(self) -> None:
        """Copy what this machine lacks of the models."""
        found = self._prefix.objects("models")
        missing = {name: one for name, one in found.items() if not self._has(name, one)}
        with ThreadPoolExecutor(STREAMS) as pool:
            list(pool.map(lambda name: self._prefix.download(name, self.path / name, missing[name].size), missing))

    def place_of(self, current: ReleaseFolder) -> str:
        """Return where readers find the current release, which CURRENT names."""
        return f"{self.name}/{self._name_of(current.root)}"

    def sizes(self, release: ReleaseFolder) -> dict[str, int]:
        """Return the bytes of each part of a release, by its name."""
        below = self._name_of(release.root)
        sizes: dict[str, int] = {}
        for name, one in self._prefix.objects(below).items():
            part = name.removeprefix(f"{below}/").partition("/")[0]
            sizes[part] = sizes.get(part, 0) + one.size
        return sizes

    # ---- writing

    @contextmanager
    def _lock(self, ttl: float) -> Iterator[lock.WriteLock]:
        """Take the lock of this machine first: it tells at once whether a run of it lives."""
        with super()._lock(ttl) as here, remote_lock.hold(self._prefix, ttl) as there:
            yield _BothLocks(here, there)

    def _shared_by(self, release_id: str) -> InStore:
        return replace(self.shared, making=release_id)

    def _get(self, name: str) -> bytes:
        data = self._prefix.read(name)
        if data is None:
            raise FileNotFoundError(name)
        return data

    def _put(self, name: str, data: bytes) -> None:
        """Write to the store first: its CURRENT decides, not the copy."""
        self._check_lock()
        self._prefix.write(name, data)
        super()._put(name, data)

    def _complete(self, staged: Staged, body: bytes) -> None:
        """Write release.json: the other objects are there since their tasks have saved them."""
        self._push_models()
        self._prefix.write(self._name_of(staged.record_path), body)
        super()._complete(staged, body)

    def _set_aside(self, staged: Staged) -> None:
        """Copy the release, inside the store, to the place of the one that was refused before."""
        super()._set_aside(staged)
        self._prefix.remove_all("refused")
        below, to = self._name_of(staged.root), f"refused/{staged.release_id}"
        found = self._prefix.objects(below)
        copy_all(self._prefix, {f"{to}{name.removeprefix(below)}": (name, one.size) for name, one in found.items()})
        record = Refused(self.path / to).record_path
        self._prefix.write(self._name_of(record), record.read_bytes())
        self._prefix.remove_all(below)

    def _remove(self, root: Path) -> None:
        """Remove the record first: a folder without one is not a release."""
        name = self._name_of(root)
        self._prefix.remove(f"{name}/release.json")
        self._prefix.remove_all(name)
        super()._remove(root)

    def _discard(self, root: Path) -> None:
        """Remove the record from the store first: without it the rest is no release, and the next run sweeps it."""
        super()._discard(root)
        with suppress(WarehouseError):
            self._prefix.remove(f"{self._name_of(root)}/release.json")
            self._prefix.remove_all(self._name_of(root))

    def _freed(self, releases: Sequence[ReleaseFolder]) -> int:
        return sum(sum(self.sizes(release).values()) for release in releases)

    def _sweep(self) -> None:
        super()._sweep()
        with suppress(WarehouseError):  # until a rollback repairs the pointer, any release may be the current one
            current = self.current()
            self._prefix.remove_all("work")
            for name in self._prefix.folders("checkpoints"):
                if name != self.checkpoints(current).name:
                    self._prefix.remove_all(f"checkpoints/{name}")
            complete = {release.release_id for release in self.releases()}
            for release_id in self._prefix.folders("releases"):
                if release_id not in complete and not self._may_be_live(release_id):
                    self._prefix.remove_all(f"releases/{release_id}")

    # ---- the parts

    def _release(self, release_id: str) -> ReleaseFolder:
        release = super()._release(release_id)
        if not release.record_path.is_file():
            self._match("releases", "release.json")
        return release

    def _match(self, kind: str, record: str) -> None:
        """Make this machine's records of a kind those of the store. A folder without a record is left to its run."""
        there = self._prefix.folders(kind)
        here = {path.parent.name: path for path in (self.path / kind).glob(f"*/{record}")}
        for release_id in set(here) - set(there):
            shutil.rmtree(self.path / kind / release_id, ignore_errors=True)
        for release_id in set(there) - {name for name, path in here.items() if _is_sound(path)}:
            data = self._prefix.read(f"{kind}/{release_id}/{record}")
            if data is not None:
                self._make(self.path / kind / release_id)
                write_atomic(self.path / kind / release_id / record, data)

    def _push_models(self) -> None:
        """Copy into the store the models that it lacks; a model's record comes last: it makes the pair valid."""
        there = self._prefix.objects("models")
        files = {self._name_of(path): path for path in sorted(self.models.glob("*")) if path.is_file()}
        missing = {name: path for name, path in files.items() if name not in there or not self._has(name, there[name])}
        for name in sorted(missing, key=lambda name: (name.endswith(".json"), name)):
            self._prefix.upload(missing[name], name)

    def _has(self, name: str, one: StoredObject) -> bool:
        """Return whether this machine's copy of a model's file is the object: where the records are the same."""
        path = self.path / name
        if not path.is_file() or path.stat().st_size != one.size:
            return False
        record = path.with_suffix(".json")
        return self._prefix.read(self._name_of(record)) == (record.read_bytes() if record.is_file() else None)

    def _name_of(self, path: Path) -> str:
        return path.relative_to(self.path).as_posix()


def _is_sound(record: Path) -> bool:
    try:
        json_file.unsealed(json_file.read(record))
    except (OSError, ValueError):
        return False
    return True
