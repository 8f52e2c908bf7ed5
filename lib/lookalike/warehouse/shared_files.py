"""Files that the driver and all tasks name by one path: on a disk that all of them see, or in a store.

What is in a store has copies on the machines that need it, below a folder of each machine's own. A task that makes a
file writes it `here`, and then saves it for all others; one that needs a file fetches it first.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from lookalike.errors import WarehouseError
from lookalike.storage import cache, files
from lookalike.storage.prefix import Prefix, StoredObject
from lookalike.warehouse import release_files
from lookalike.warehouse.release_files import ReleaseFiles, StoredFile
from lookalike.warehouse.stored import parse


class SharedFiles(Protocol):
    """What a task asks of the files of a warehouse; all paths are those that the driver has for them."""

    def __hash__(self) -> int:
        """Caches of a worker know files by it."""

    @property
    def in_store(self) -> bool:
        """Whether other machines see a file only after it is saved."""

    def here(self, path: Path) -> Path:
        """Return where this machine has a file, or makes it; the folder is there."""

    def fetch(self, path: Path, version: str = "") -> Path:
        """Return where this machine has a file that was saved; raises FileNotFoundError or WarehouseError.

        Of a file that a run writes once more, `version` names what is wanted.
        """

    def save(self, path: Path, version: str = "") -> None:
        """Keep for all machines, also after a power cut, what this one has made; raises OSError or WarehouseError.

        What another try of the same task has saved before stays, and is then `here`, too.
        """

    def keep_copy(self, path: Path, sha256: str) -> None:
        """Note the digest of a file that is here, so that the next run need not fetch it."""

    def link(self, source: Path, target: Path) -> None:
        """Give a saved file, which never changes, another name; raises OSError or WarehouseError."""

    def sizes(self, folder: Path) -> dict[Path, int]:
        """Return the bytes of all saved files below a folder, in order; none that is hidden, or in a hidden folder."""

    def remove(self, folder: Path) -> None:
        """Remove a folder with all that is in it."""


@dataclass(frozen=True)
class OnDisk:
    """Files on a disk that all machines see under the same paths."""

    in_store = False

    def here(self, path: Path) -> Path:
        """Return the path."""
        return _made(path)

    def fetch(self, path: Path, version: str = "") -> Path:
        """Return the path."""
        return path

    def save(self, path: Path, version: str = "") -> None:
        """Wait until the file is on the disk."""
        files.sync(path)

    def keep_copy(self, path: Path, sha256: str) -> None:
        """The file is where the next run looks."""

    def link(self, source: Path, target: Path) -> None:
        """Link the file, or copy it where the file system has no links."""
        files.link_or_copy(source, self.here(target))

    def sizes(self, folder: Path) -> dict[Path, int]:
        """Return the files below the folder."""
        found = (path for path in sorted(folder.rglob("*")) if _is_shown(path.relative_to(folder)) and path.is_file())
        return {path: path.stat().st_size for path in found}

    def remove(self, folder: Path) -> None:
        """Remove the folder."""
        files.remove_tree(folder)


ON_DISK = OnDisk()


@dataclass(frozen=True)
class InStore:
    """The objects below a prefix, with copies below `root` on the driver, and below a folder that each machine finds.

    `base`, which has `root` in it, is the folder of all copies of a machine; when these are more bytes than `limit`,
    those go that were not used for longest. The files of a release in the warehouse are kept by content, by what its
    files.json says: the same file of several releases is one copy. A copy of the release in the `making` is of one
    version of the file.
    """

    prefix: Prefix
    root: Path
    base: Path
    limit: int
    making: str = ""

    in_store = True

    def here(self, path: Path) -> Path:
        """Return the path of the copy; its folder is there."""
        return _made(self._folder / path.relative_to(self.base))

    def fetch(self, path: Path, version: str = "") -> Path:
        """Return the copy, after it was downloaded where it was missing, or of another version."""
        name = self._name(path)
        kind, _, below = name.partition("/")
        release_id = below.partition("/")[0]
        if kind == "releases" and release_id == self.making:
            return self._fetch_version(name, self.here(path), version)
        expected = _listed(self.prefix, release_id).get(name) if kind == "releases" else None
        copy = self.here(path) if expected is None else self._by_content(path.name, expected.sha256)
        if not cache.use(copy):
            with cache.one_at_a_time(self._folder, copy):
                if not cache.use(copy):
                    self._make_sound(name, copy, expected)
        return copy

    def save(self, path: Path, version: str = "") -> None:
        """Upload the file, or download what another try of the task has uploaded."""
        copy, name = self.here(path), self._name(path)
        if not version and self.prefix.find(name) is not None:
            self._download(name, copy)
        else:
            cache.make_room(self._folder, self.limit, copy.stat().st_size)
            self.prefix.upload(copy, name)
        cache.note_version(copy, version)

    def keep_copy(self, path: Path, sha256: str) -> None:
        """Give the copy the name by which the next run will ask for it."""
        with suppress(OSError):  # it is there, or the file system has no links: then it will be downloaded
            os.link(self.here(path), self._by_content(path.name, sha256))

    def link(self, source: Path, target: Path) -> None:
        """Copy the object inside the store; where the store refuses that, its bytes pass through this machine."""
        name, copy = self._name(source), self._name(target)
        try:
            self.prefix.copy(name, copy, self._find(name).size)
        except WarehouseError:
            files.link_or_copy(self.fetch(source), self.here(target))
            self.save(target)

    def sizes(self, folder: Path) -> dict[Path, int]:
        """Return the objects below the folder."""
        found = self.prefix.objects(self._name(folder))
        paths = {name: self.root / name for name in sorted(found)}
        return {path: found[name].size for name, path in paths.items() if _is_shown(path.relative_to(folder))}

    def remove(self, folder: Path) -> None:
        """Remove the objects and the copies of this machine."""
        self.prefix.remove_all(self._name(folder))
        files.remove_tree(self.here(folder))

    # ---- the parts

    @property
    def _folder(self) -> Path:
        return _folder_here(self.base)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _by_content(self, name: str, sha256: str) -> Path:
        return _made(self._folder / cache.CONTENT / sha256[:32] / name)

    def _fetch_version(self, name: str, copy: Path, version: str) -> Path:
        """Return the copy of a file of this run, after it was downloaded where there is none, or of another version."""
        with cache.one_at_a_time(self._folder, copy):
            if cache.version_of(copy) != version or not copy.is_file():
                self._download(name, copy)
                cache.note_version(copy, version)
        return copy

    def _make_sound(self, name: str, copy: Path, expected: StoredFile | None) -> None:
        """Download an object, unless the copy is what files.json says; raises WarehouseError if the object is not."""
        if copy.is_file() and (expected is None or _is(copy, expected)):
            cache.trust(copy)
            return
        self._download(name, copy)
        if expected is not None and not _is(copy, expected):
            copy.unlink(missing_ok=True)
            raise WarehouseError(
                f"{self.prefix.uri}/{name} is damaged: its content is not what was written; roll back to another "
                "release, or remove this object and run again, which makes its part again"
            )

    def _download(self, name: str, copy: Path) -> None:
        size = self._find(name).size
        cache.make_room(self._folder, self.limit, size)
        self.prefix.download(name, copy, size)

    def _find(self, name: str) -> StoredObject:
        if (found := self.prefix.find(name)) is None:
            raise FileNotFoundError(errno.ENOENT, "it is gone", f"{self.prefix.uri}/{name}")
        return found


def _is_shown(below: Path) -> bool:
    """Return whether readers of Parquet see a file: neither its name nor that of a folder, as _delta_log, hides it."""
    return not any(part.startswith((".", "_")) for part in below.parts)


@lru_cache
def _folder_here(base: Path) -> Path:
    """Return the folder of the copies on this machine: the driver's, or one of temporary files where it cannot be."""
    try:
        base.mkdir(parents=True, exist_ok=True)
        if os.access(base, os.W_OK):
            return base
    except OSError:
        pass
    name = hashlib.sha256(os.fsencode(base)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir(), f"lookalike-{os.getuid()}", name)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _is(copy: Path, expected: StoredFile) -> bool:
    return copy.stat().st_size == expected.bytes and files.sha256(copy) == expected.sha256


@lru_cache(maxsize=16)
def _listed(prefix: Prefix, release_id: str) -> dict[str, StoredFile]:
    """Return what files.json of a release says, by the names of the objects; of one before 0.3.0 nothing."""
    name = f"releases/{release_id}/{release_files.NAME}"
    data = prefix.read(name)
    if data is None:
        return {}
    listed = parse(ReleaseFiles, data, f"{prefix.uri}/{name}", "roll back to another release")
    return {f"releases/{release_id}/{file.name}": file for file in listed.files}


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def names_in(found: Iterable[Path], suffix: str = ".parquet") -> list[Path]:
    """Return the paths with a suffix, in order."""
    return sorted(path for path in found if path.name.endswith(suffix))
