"""A warehouse in an object store, and its mirror: a folder in which runs work as in a local warehouse.

    <uri>/releases, refused, models, CURRENT, VIEWS    as in reading.py; LOCK/ as in mirrored_lock.py
    <mirror>/                                          a local warehouse: copies of what this machine has needed, and
                                                       what only a run needs: work/, checkpoints/, catalog/

Releases never change, so a file of the mirror that has the size of its object is that object; where its bytes differ
all the same, a run finds it by files.json. A model may be compiled again and keep its size: the mirror's is the store's
when their records, which name the artefact by a digest, are the same. Readers of the store see what readers of a local
warehouse see: all objects of a release are there before its release.json, and CURRENT is one object.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from lookalike import config
from lookalike.errors import WarehouseError
from lookalike.storage import json_file
from lookalike.storage.files import write_atomic
from lookalike.storage.prefix import Prefix, StoredObject, Transfer, TransferRunner, copy_all, in_store, run_transfers
from lookalike.warehouse import lock, mirrored_lock, release_files
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import Refused, ReleaseFolder, Staged


def open_warehouse(settings: config.Settings, runner: TransferRunner = run_transfers) -> Warehouse:
    """Return the warehouse of the settings, with `runner` for its transfers; raises WarehouseError."""
    return at(settings.warehouse, settings.stores, runner)


def at(
    where: config.WarehouseSettings, stores: config.StoreSettings, runner: TransferRunner = run_transfers
) -> Warehouse:
    """Return the warehouse at a path or URI; raises WarehouseError."""
    if not in_store(where.path):
        return Warehouse(where.path)
    return RemoteWarehouse(Prefix(where.path.rstrip("/"), stores), folder(where), runner)


def folder(where: config.WarehouseSettings) -> Path:
    """Return the folder in which runs work: the warehouse itself, or its mirror."""
    if not in_store(where.path):
        return Warehouse(where.path).path
    if where.mirror:
        return Warehouse(where.mirror).path
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "lookalike", hashlib.sha256(where.path.rstrip("/").encode()).hexdigest()[:16])


class _BothLocks:
    """The lock of the mirror and the lock of the store."""

    def __init__(self, *locks: lock.WriteLock) -> None:
        self._locks = locks

    def check(self) -> None:
        for held in self._locks:
            held.check()


class RemoteWarehouse(Warehouse):
    """The releases below a prefix of a store. Its methods return folders of the mirror, which `fetch` fills."""

    def __init__(self, prefix: Prefix, mirror: Path, runner: TransferRunner = run_transfers) -> None:
        super().__init__(str(mirror))
        self.name = prefix.uri
        self._prefix, self._run_transfers = prefix, runner

    # ---- reading

    def releases(self) -> list[ReleaseFolder]:
        """Return all complete releases, the oldest first; their records are then in the mirror."""
        self._match("releases", "release.json")
        return super().releases()

    def refused(self) -> list[Refused]:
        """Return the last release that a gate refused; its record is then in the mirror."""
        self._match("refused", "refused.json")
        return super().refused()

    def fetch(self, release: ReleaseFolder | None) -> None:
        """Copy into the mirror what it lacks of a release and of the models."""
        wanted = ["models"]
        if release is not None:
            wanted.append(self._name_of(release.root))
        found = {name: one for below in wanted for name, one in self._prefix.objects(below).items()}
        missing = {name: one for name, one in found.items() if not self._has(name, one)}
        self._run_transfers(
            [Transfer(self._prefix, name, self.path / name, one.size, up=False) for name, one in missing.items()]
        )
        pointer = self.pointer()
        if pointer and release and pointer.release_id == release.release_id:
            self._link(release)

    def restore(self, release: ReleaseFolder, names: Sequence[str]) -> bool:
        """Replace damaged files of a release by the store's, and remove those that it does not have."""
        for name in names:
            if (path := release.root / name).is_file():
                path.unlink()
        self.fetch(release)
        return True

    def problem(self, release: ReleaseFolder) -> str | None:
        """Return what is wrong with the objects of a release, as their names and sizes tell."""
        below = self._name_of(release.root)
        path = release.root / release_files.NAME
        if not path.is_file() and (data := self._prefix.read(f"{below}/{path.name}")) is not None:
            write_atomic(path, data)
        if (listed := release.files()) is None:
            return None
        there = self._prefix.objects(below)
        for file in listed.needed():
            found = there.get(f"{below}/{file.name}")
            if found is None or found.size != file.bytes:
                return f"{file.name}: {f'it has {found.size:,} bytes, not {file.bytes:,}' if found else 'it is gone'}"
        return None

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
        """Take the lock of the mirror first: it tells at once whether a run of this machine lives."""
        with super()._lock(ttl) as here, mirrored_lock.hold(self._prefix, ttl) as there:
            yield _BothLocks(here, there)

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
        self._copy_linked(staged)
        self._push(staged.root, self.models)
        self._prefix.write(self._name_of(staged.record_path), body)
        super()._complete(staged, body)

    def _set_aside(self, staged: Staged) -> None:
        super()._set_aside(staged)
        release = next(one for one in super().refused() if one.release_id == staged.release_id)
        self._prefix.remove_all("refused")
        self._push(release.root)

    def _remove(self, root: Path) -> None:
        """Remove the record first: a folder without one is not a release."""
        name = self._name_of(root)
        self._prefix.remove(f"{name}/release.json")
        self._prefix.remove_all(name)
        super()._remove(root)

    def _discard(self, root: Path) -> None:
        """Remove the record from the store, too: without it the rest is no release, and the next run sweeps it."""
        super()._discard(root)
        with suppress(WarehouseError):
            self._prefix.remove(f"{self._name_of(root)}/release.json")

    def _freed(self, releases: Sequence[ReleaseFolder]) -> int:
        return sum(sum(self.sizes(release).values()) for release in releases)

    def _sweep(self) -> None:
        super()._sweep()
        with suppress(WarehouseError):  # until a rollback repairs the pointer, any release may be the current one
            self.current()
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
        """Make the mirror's records of a kind equal to the store's. A folder without a record is left to its run."""
        there = self._prefix.folders(kind)
        here = {path.parent.name: path for path in (self.path / kind).glob(f"*/{record}")}
        for release_id in set(here) - set(there):
            shutil.rmtree(self.path / kind / release_id, ignore_errors=True)
        for release_id in set(there) - {name for name, path in here.items() if _is_sound(path)}:
            data = self._prefix.read(f"{kind}/{release_id}/{record}")
            if data is not None:
                self._make(self.path / kind / release_id)
                write_atomic(self.path / kind / release_id / record, data)

    def _copy_linked(self, staged: Staged) -> None:
        """Copy inside the store what the release has of its parent: the files that are one with the parent's.

        Where the store refuses, the files are sent as all others are.
        """
        if staged.parent is None:
            return
        there = self._prefix.objects(self._name_of(staged.parent.root))
        copies = {}
        for path in sorted(staged.root.rglob("*")):
            twin = staged.parent.root / path.relative_to(staged.root)
            known = there.get(self._name_of(twin))
            if known and twin.is_file() and path.samefile(twin) and path.stat().st_size == known.size:
                copies[self._name_of(path)] = (self._name_of(twin), known.size)
        with suppress(WarehouseError):
            copy_all(self._prefix, copies)

    def _push(self, *roots: Path) -> None:
        """Copy into the store the files of these folders that it lacks."""
        there = {name: one for root in roots for name, one in self._prefix.objects(self._name_of(root)).items()}
        files = {self._name_of(path): path for root in roots for path in sorted(root.rglob("*")) if path.is_file()}
        missing = {name: path for name, path in files.items() if name not in there or not self._has(name, there[name])}
        for records in (False, True):  # a model's record comes last: it makes the pair valid
            some = {name: path for name, path in missing.items() if _is_model_record(name) == records}
            self._run_transfers(
                [Transfer(self._prefix, name, path, path.stat().st_size, up=True) for name, path in some.items()]
            )

    def _has(self, name: str, one: StoredObject) -> bool:
        """Return whether the mirror's file is the object, or would be if nothing had damaged it."""
        path = self.path / name
        if not path.is_file() or path.stat().st_size != one.size:
            return False
        return not _may_change(name) or self._has_record_of(name)

    def _has_record_of(self, name: str) -> bool:
        """Return whether the record of a model is the same in the mirror and in the store."""
        record = self.path / Path(name).with_suffix(".json")
        return self._prefix.read(self._name_of(record)) == (record.read_bytes() if record.is_file() else None)

    def _name_of(self, path: Path) -> str:
        return path.relative_to(self.path).as_posix()


def _may_change(name: str) -> bool:
    return name.startswith("models/")


def _is_model_record(name: str) -> bool:
    return _may_change(name) and name.endswith(".json")


def _is_sound(record: Path) -> bool:
    try:
        json_file.unsealed(json_file.read(record))
    except (OSError, ValueError):
        return False
    return True
