"""Use a prefix of an object store as a folder: list, read, replace, download, upload, remove."""

from __future__ import annotations

import errno
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from pyarrow import fs

from lookalike import config
from lookalike.errors import WarehouseError
from lookalike.failures import RETRIED, ImageError
from lookalike.storage import bounded, object_store, outage
from lookalike.storage.uri import parse

# Stores that replace an object in one step, so that a reader sees the old bytes or the new ones; HDFS and http do not.
STORES = ("s3", "gs", "abfs")

# The clients have limits of their own (object_store.FILE_TIMEOUTS), but not that of Azure, and not all of Google's. So
# each request ends after the time that five tries of Amazon's take, and 10 s more a MB: 100 kB/s is a slow line.
FILE_SECONDS = 400.0
SLOWEST = 100_000

# Transfers at the same time on one machine; S3's own tools make 10.
STREAMS = 8

T = TypeVar("T")


def in_store(path: str) -> bool:
    """Return whether `path` names an object or a prefix in one of the stores."""
    try:
        return parse(path).scheme in STORES
    except ValueError:
        return False


@dataclass(frozen=True)
class StoredObject:
    """Size and time of an object in a store."""

    size: int
    modified: datetime


@dataclass(frozen=True)
class Prefix:
    """The objects with keys that begin with the key of `uri`, named by the rest. All methods raise WarehouseError."""

    uri: str
    stores: config.StoreSettings

    def objects(self, below: str = "", *, recursive: bool = True) -> dict[str, StoredObject]:
        """Return all objects by name, or those `below` a name; without those deeper if not `recursive`."""
        found = self._listed(below, recursive=recursive)
        base = len(self._key("")) + 1
        return {
            info.path[base:]: StoredObject(info.size, info.mtime) for info in found if info.type == fs.FileType.File
        }

    def folders(self, below: str) -> list[str]:
        """Return the folders directly `below` a name, in order."""
        found = self._listed(below, recursive=False)
        return sorted(info.base_name for info in found if info.type == fs.FileType.Directory)

    def find(self, name: str) -> StoredObject | None:
        """Return one object's size and time, or None if it is not there."""
        info = self._ask(name, object_store.info_of)
        return StoredObject(info.size, info.mtime) if info.type == fs.FileType.File else None

    def is_there(self) -> bool:
        """Return whether there is an object at the URI itself, or any below it."""
        info = self._ask("", lambda store, key: store.get_file_info(key))
        return bool(info.type != fs.FileType.NotFound)

    def read(self, name: str) -> bytes | None:
        """Return the bytes of an object, or None if it is not there."""

        def read_all(store: fs.FileSystem, key: str) -> bytes | None:
            with suppress(FileNotFoundError), object_store.whole(store.open_input_stream(key), store, key) as file:
                data: bytes = file.read()
                return data
            return None

        return self._ask(name, read_all)

    def write(self, name: str, data: bytes) -> None:
        """Replace an object in one step."""

        def write_all(store: fs.FileSystem, key: str) -> None:
            with store.open_output_stream(key) as file:
                file.write(data)

        self._ask(name, write_all, len(data))

    def download(self, name: str, path: Path, size: int) -> None:
        """Write a local copy of an object of `size` bytes; `path` is complete or not there. Raises OSError, too."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")

        def copy(store: fs.FileSystem, key: str) -> None:
            with object_store.whole(store.open_input_stream(key), store, key) as source, part.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)

        try:
            self._ask(name, copy, size)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def upload(self, path: Path, name: str) -> None:
        """Write a local file into the store; raises OSError, and leaves nothing, where the file cannot be read."""

        def copy(store: fs.FileSystem, key: str) -> None:
            with path.open("rb") as source, store.open_output_stream(key) as sink:
                shutil.copyfileobj(source, sink, 1 << 20)

        try:
            self._ask(name, copy, path.stat().st_size)
        except OSError:  # of this disk: what was read until then is an object now
            with suppress(WarehouseError):
                self.remove(name)
            raise

    def copy(self, source: str, name: str, size: int) -> None:
        """Copy an object of `size` bytes inside the store: its bytes do not pass through this machine.

        One request: not every store does it.
        """

        def copy_object(store: fs.FileSystem, key: str) -> None:
            store.copy_file(self._key(source), key)

        self._ask(name, copy_object, size, patience=0)

    def remove(self, name: str) -> None:
        """Remove one object, if it is there."""

        def delete(store: fs.FileSystem, key: str) -> None:
            with suppress(FileNotFoundError):
                store.delete_file(key)

        self._ask(name, delete)

    def remove_all(self, below: str) -> None:
        """Remove all objects below a name."""

        def delete(store: fs.FileSystem, key: str) -> None:
            with suppress(FileNotFoundError):
                store.delete_dir(key)

        self._ask(below, delete)

    def _listed(self, below: str, *, recursive: bool) -> list[fs.FileInfo]:
        return self._ask(
            below,
            lambda store, key: store.get_file_info(fs.FileSelector(key, recursive=recursive, allow_not_found=True)),
        )

    def _key(self, name: str) -> str:
        base = object_store.key(parse(self.uri)).strip("/")
        return f"{base}/{name}" if name else base

    def _ask(
        self, name: str, request: Callable[[fs.FileSystem, str], T], size: int = 0, patience: float | None = None
    ) -> T:
        """Call `request(store, key)`, which moves `size` bytes, within a time; a store that was there gets more tries.

        Raises WarehouseError, and OSError where it is this machine's disk that fails.
        """
        wait = outage.PATIENCE if patience is None else patience
        until = time.monotonic() + (wait if outage.has_answered(self._store) else 0)
        while True:
            try:
                found = self._ask_once(name, request, size)
            except ImageError as error:
                if error.reason not in RETRIED or time.monotonic() >= until:
                    if patience is None and error.reason in RETRIED:
                        outage.give_up(self._store)
                    raise WarehouseError(f"{self.uri}: {error}; {_ADVICE.get(error.reason, _TRY_AGAIN)}") from None
                outage.pause()
            else:
                outage.note_answer(self._store)
                return found

    def _ask_once(self, name: str, request: Callable[[fs.FileSystem, str], T], size: int) -> T:
        location, key, failed_here = parse(self.uri), self._key(name), list[OSError]()

        def ask() -> T:
            store = object_store.open_store(location, object_store.FILE_TIMEOUTS, self.stores, object_store.FILE_TRIES)
            try:
                return request(store, key)
            except OSError as error:
                if error.errno not in (None, errno.ENOENT):  # the stores' libraries give none
                    failed_here.append(error)
                raise

        try:
            with object_store.as_image_errors(key):
                return bounded.call(ask, FILE_SECONDS + size / SLOWEST, f"files of {self.uri}")
        except ImageError:
            if failed_here:
                raise failed_here[0] from None
            raise

    @property
    def _store(self) -> str:
        return outage.store_of(parse(self.uri))


_TRY_AGAIN = "the store failed in several tries; check stores.s3_endpoint and the network, and run again"
_ADVICE = {
    "not_found": "check the bucket's name, and stores.s3_endpoint where it is not Amazon's",
    "forbidden": "give the credentials of this machine, in the environment, the right to read and write there",
    "bad_uri": "correct the URI",
}


def copy_all(prefix: Prefix, copies: Mapping[str, tuple[str, int]]) -> None:
    """Make each object of these names a copy, inside the store, of an object of so many bytes."""
    with ThreadPoolExecutor(STREAMS) as pool:
        for _ in pool.map(lambda name: prefix.copy(copies[name][0], name, copies[name][1]), copies):
            pass


def download_all(uri: str, stores: config.StoreSettings, folder: Path) -> Path | None:
    """Download the object `uri`, or all objects below it, into `folder`; return the copy, or None if there is none."""
    prefix = Prefix(uri.rstrip("/"), stores)
    target = folder / (parse(prefix.uri).path.rpartition("/")[2] or "bucket")
    single = prefix.find("")
    found = {"": single} if single else prefix.objects()
    with ThreadPoolExecutor(STREAMS) as pool:
        for _ in pool.map(lambda name: prefix.download(name, target / name, found[name].size), found):
            pass
    return target if found else None
