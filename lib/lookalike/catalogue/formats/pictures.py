"""Read a folder of pictures as a catalogue: each picture is an item, named by its path below the folder.

`item_id` is that path without its suffix, `image_path` the whole path, and `folder` the path of the folder that it is
in, a column to group by.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from os.path import splitext

import pyarrow as pa

from lookalike import config
from lookalike.catalogue.files import PICTURE, DataFile, shown
from lookalike.catalogue.footers import Column, Footer
from lookalike.catalogue.formats.rows import Report, Wanted, refusal
from lookalike.errors import CatalogueError, WarehouseError
from lookalike.storage.prefix import Prefix

COLUMNS = ("item_id", "image_path", "folder")
_SCHEMA = pa.schema([(name, pa.string()) for name in COLUMNS])

# What systems leave in folders of pictures; hidden files are none either.
_NO_PICTURE = re.compile(
    r"\..*|Thumbs\.db|ehthumbs\.db|desktop\.ini|Icon\r?|@eaDir|__MACOSX", re.IGNORECASE | re.DOTALL
)


class _Pictures(ABC):
    """What folders on a disk and prefixes of a store have in common; `root` is what the paths begin with."""

    name = "a folder of pictures"
    root: str

    def footer(self, file: DataFile) -> Footer:
        """Return the columns."""
        return Footer((), (), {name: Column("text", pa.string()) for name in COLUMNS}, 0)

    @abstractmethod
    def folders(self, file: DataFile) -> Iterator[tuple[str, list[str]]]:
        """Yield each folder of a part of the catalogue, by its path below the root, with the names of its files."""

    def batches(self, file: DataFile, wanted: Wanted, report: Report) -> Iterator[pa.RecordBatch]:
        """Yield the pictures of a part of the catalogue, a folder at a time."""
        yield pa.RecordBatch.from_pylist([], schema=_SCHEMA)
        others: list[str] = []
        for folder, names in self.folders(file):
            seen = [name for name in names if not _NO_PICTURE.fullmatch(name)]
            pictures = [name for name in seen if PICTURE.fullmatch(name)]
            below = f"{folder}/" if folder else ""
            if pictures:
                yield _rows(self.root, below, pictures)
            others += [f"{below}{name}" for name in seen if not PICTURE.fullmatch(name)]
        if others:
            report.notes.append(f"{len(others):,} files that are no pictures by their names, such as {others[0]}")


@dataclass(frozen=True)
class PictureFolder(_Pictures):
    """The pictures below a folder: the parts are the folder itself without those in it, and each of these."""

    root: str

    def files(self) -> list[DataFile]:
        """Return the parts."""
        inner = [entry.path for entry in _entries(self.root) if _is_folder(entry)]
        return [DataFile(path) for path in (self.root, *inner)]

    def folders(self, file: DataFile) -> Iterator[tuple[str, list[str]]]:
        """Walk down."""
        if file.path == self.root:
            yield "", [entry.name for entry in _entries(self.root) if not entry.is_dir()]
        else:
            yield from self._walk(file.path)

    def _walk(self, folder: str) -> Iterator[tuple[str, list[str]]]:
        """Yield a folder and all below it; no link leads in a circle, as `find_files` has seen."""
        entries = _entries(folder)
        yield os.path.relpath(folder, self.root), [entry.name for entry in entries if not entry.is_dir()]
        for entry in entries:
            if _is_folder(entry):
                yield from self._walk(entry.path)


@dataclass(frozen=True)
class PictureObjects(_Pictures):
    """The pictures below a prefix of a store."""

    root: str
    stores: config.StoreSettings

    def files(self) -> list[DataFile]:
        """Return the parts: all objects directly below the prefix, and each of its folders."""
        return [DataFile(""), *(DataFile(name) for name in self._prefix.folders("") if not _NO_PICTURE.fullmatch(name))]

    def folders(self, file: DataFile) -> Iterator[tuple[str, list[str]]]:
        """List the objects."""
        try:
            found = self._prefix.objects(file.path, recursive=bool(file.path))
        except WarehouseError as error:
            raise CatalogueError(f"catalogue.path: {error}") from None
        below: dict[str, list[str]] = {}
        for key in sorted(found):
            folder, _, name = key.rpartition("/")
            if not any(map(_NO_PICTURE.fullmatch, folder.split("/") if folder else ())):
                below.setdefault(folder, []).append(name)
        yield from below.items()

    @property
    def _prefix(self) -> Prefix:
        return Prefix(self.root, self.stores)


def holds_pictures(folder: str) -> bool:
    """Return whether a folder on a disk has a picture in it, at any depth."""
    return any(
        PICTURE.fullmatch(name) and not _NO_PICTURE.fullmatch(name) for _, _, names in os.walk(folder) for name in names
    )


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir() and not _NO_PICTURE.fullmatch(entry.name)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise refusal(DataFile(folder), f"cannot be read ({error.strerror}); give this user the right") from None


def _rows(root: str, folder: str, names: list[str]) -> pa.RecordBatch:
    """Return the rows of the pictures in one folder; raises CatalogueError for two with one id."""
    items: dict[str, str] = {}
    for name in names:
        stem = splitext(name)[0]
        if (other := items.setdefault(stem, name)) != name:
            raise CatalogueError(
                f"catalogue.path: {shown(f'{root}/{folder}{other}')} and {shown(name)} next to it are both the item "
                f"'{shown(folder + stem)}'; rename one, or remove it"
            )
    try:
        ids = pa.array([folder + stem for stem in items], pa.string())
    except UnicodeEncodeError:
        bad = next(name for name in names if any("\ud800" <= one <= "\udfff" for one in folder + name))
        raise refusal(DataFile(f"{root}/{folder}{bad}"), "has a name that is not UTF-8; rename it") from None
    paths = pa.array([f"{root.rstrip('/')}/{folder}{name}" for name in names], pa.string())
    folders = pa.repeat(pa.scalar(folder.rstrip("/") or None, pa.string()), len(names))
    return pa.RecordBatch.from_arrays([ids, paths, folders], schema=_SCHEMA)
