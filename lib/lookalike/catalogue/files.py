"""Find the files of a catalogue: each file below its folder is read, or refused by its name.

What exists under the path as it is written is read; only another path is a pattern. Readers that pass over files in
silence lose items, so nothing is passed over but pictures and the markers of the programs that write Parquet.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import CatalogueError
from lookalike.safe_text import escaped

MAGIC = b"PAR1"

# What a packed file's name ends with; a pattern of a part of a name.
PACKED = r"(\.(gz|bz2|xz|zst))?"

# Pictures by their names: those that are read, and kinds of picture that become a failure with its reason.
PICTURE = re.compile(
    r".*\.(?i:jpe?g|jpe|jfif|png|apng|gif|webp|avif|heic|heif|bmp|dib|tiff?|jp2|jxl|svg|psd|ico|tga|ppm|dng|nef|cr2)",
    re.DOTALL,
)

# Files that programs that write Parquet leave next to it: they hold no rows.
_MARKER = re.compile(r"_SUCCESS|_metadata|_common_metadata|_(committed|started)_\w+|.*_\$folder\$|.*\.crc", re.DOTALL)

# Hidden folders of what a writer has not finished, and of what was there earlier, as file servers keep it.
_NOT_NOW = re.compile(
    r"_temporary|\.(spark|hive)-staging.*|\.(snapshots?|zfs)|\.Trash.*|\.ipynb_checkpoints", re.DOTALL
)

# What is data by its name, and hidden from other programs by its first character; `._x` is a shadow of a Mac's file.
_HIDDEN_DATA = re.compile(rf".*\.parquet|(?!\._).*\.(?i:(csv|tsv|jsonl|ndjson){PACKED})", re.DOTALL)

# What makes a folder a table of another format, in which the live rows are those that its log names; and what to do.
_WHOLE = "set catalogue.path to this folder, which gives the live ones"
_NOT_READ = "write the live ones as plain Parquet, or set catalogue.path to its name in the session's catalog"
_FORMATS = {
    "_delta_log": ("a Delta table", _WHOLE),
    ".hoodie": ("a Hudi table", _NOT_READ),
    "_spark_metadata": ("the output of a stream", _NOT_READ),
}

_WILDCARD = re.compile(r"[*?\[{]")
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"

# Columns and values that the names of a file's folders give: `colour=red`; None is null.
Partitions = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class DataFile:
    """A file of the catalogue, and the columns that its folders give."""

    path: str
    partitions: Partitions = ()
    made_of: str = ""  # the file that its rows come from, which its user knows
    deleted: NDArray[np.int64] | None = field(default=None, compare=False)  # positions of rows, in order

    @property
    def name(self) -> str:
        """The name in messages."""
        return self.made_of or self.path


def shown(path: str) -> str:
    """Return a path as a message shows it: on one line, and bytes that are no UTF-8 as `\\xfc`."""
    return escaped(os.fsencode(path).decode("utf-8", "backslashreplace"))


def local_path(text: str) -> str | None:
    """Return the path that `text` names on this machine, if it is none of another file system."""
    if text[:5].lower() != "file:":
        return None if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text) and not os.path.lexists(text) else text
    path = re.sub(r"^//(localhost)?(?=/)", "", text[5:])
    if path.startswith("//") or not path.startswith("/"):
        return None
    return path if os.path.lexists(path) or not os.path.lexists(unquote(path)) else unquote(path)


def find_files(path: str) -> list[DataFile] | None:
    """Return the files of the catalogue at a path or a pattern, in order; None if nothing is there.

    Raises CatalogueError for what is there and cannot be read.
    """
    if os.path.lexists(path):
        return list(_found_at(path))
    base, matches = _matches(path)
    if not matches:
        return None
    files = {found.path: found for match in matches for found in _found_at(match, _partitions_of(base, match))}
    return list(files.values())


def _matches(pattern: str) -> tuple[str, list[str]]:
    """Return the folder above the first wildcard, and the paths that match a pattern of Hadoop's kind."""
    parts = pattern.split("/")
    first = next((number for number, part in enumerate(parts) if _WILDCARD.search(part)), None)
    if first is None or "\0" in pattern:
        return "", []
    alternatives = [one.replace("[^", "[!") for one in _without_braces(pattern)]
    return "/".join(parts[:first]), sorted({match for one in alternatives for match in glob.glob(one)})


def _without_braces(pattern: str) -> Iterator[str]:
    braces = re.search(r"\{([^{}]*)\}", pattern)
    if not braces:
        yield pattern
        return
    for choice in braces[1].split(","):
        yield from _without_braces(pattern[: braces.start()] + choice + pattern[braces.end() :])


def _partitions_of(base: str, match: str) -> Partitions:
    """Return what the folders between the base of a pattern and a match say."""
    folders = os.path.relpath(match if os.path.isdir(match) else os.path.dirname(match), base or ".").split("/")
    return tuple(found for name in folders for found in _partition(name, match))


def _found_at(path: str, partitions: Partitions = ()) -> Iterator[DataFile]:
    refuse_part_of_table(path)
    kind = _kind(path)
    if stat.S_ISDIR(kind.st_mode):
        yield from _walk(path, partitions, {(kind.st_dev, kind.st_ino)})
    else:
        yield DataFile(path, partitions)


def _kind(path: str) -> os.stat_result:
    """Return what a path leads to: a regular file or a folder; raises CatalogueError."""
    try:
        path.encode()
        found = os.stat(path)
    except UnicodeEncodeError:
        raise _refusal(path, "has a name that is not UTF-8; rename it") from None
    except FileNotFoundError:
        raise _refusal(path, "is a link to nothing, or is being removed; remove it, or repair the link") from None
    except OSError as error:
        raise _refusal(path, f"cannot be read ({error.strerror}); give this user the right, or repair it") from None
    if not stat.S_ISDIR(found.st_mode) and not stat.S_ISREG(found.st_mode):
        raise _refusal(path, "is neither a file nor a folder; remove it")
    return found


def _refusal(path: str, problem: str) -> CatalogueError:
    return CatalogueError(f"catalogue.path: {shown(path)} {problem}")


def _walk(folder: str, partitions: Partitions, above: set[tuple[int, int]]) -> Iterator[DataFile]:
    """Yield the files below a folder, in the order of their names; `above` are the folders that led here."""
    _refuse_other_format(folder)
    for entry in _entries(folder):
        name, path = entry.name, entry.path
        if _is_passed_over(entry):
            continue
        if entry.is_symlink():
            refuse_part_of_table(path)
        kind = _kind(path)
        if not stat.S_ISDIR(kind.st_mode):
            yield DataFile(path, partitions)
            continue
        place = (kind.st_dev, kind.st_ino)
        if place in above:
            raise _refusal(path, "is a link to a folder above it; remove it")
        yield from _walk(path, _inner(partitions, _partition(name, path)), above | {place})


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise _refusal(folder, f"cannot be read ({error.strerror}); give this user the right") from None


def _is_passed_over(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry of a folder holds no rows; raises CatalogueError for a hidden one that does."""
    name, hidden = entry.name, entry.name.startswith((".", "_"))
    # Asked so, since a folder may hold a million pictures, and only of a link the system must be asked.
    if entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and os.path.isdir(entry.path)):
        if not hidden or (name.startswith("_") and "=" in name):
            return False
        if not _NOT_NOW.fullmatch(name):
            _check_hidden_folder(entry.path)
        return True
    if _MARKER.fullmatch(name) or PICTURE.fullmatch(name):
        return True
    if hidden:
        _check_hidden(entry.path)
    return hidden


def _inner(outer: Partitions, found: Partitions) -> Partitions:
    return tuple({**dict(outer), **dict(found)}.items())


def _partition(name: str, path: str) -> Partitions:
    """Return the column and the value of a folder named `colour=red`, percent-decoded as all writers encode them."""
    key, equals, value = name.partition("=")
    if not equals or not key:
        return ()
    try:
        value = unquote(value, errors="strict")
        return ((unquote(key, errors="strict"), None if value == _NO_VALUE else value),)
    except UnicodeDecodeError:
        raise _refusal(path, "is percent-encoded, but not from UTF-8; rename it") from None


def _check_hidden(path: str) -> None:
    """Refuse a file of data that other readers pass over: whether its rows count, only its owner knows."""
    if not os.path.isfile(path):
        return
    try:
        with open(path, "rb") as file:
            is_data = file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise _refusal(path, f"cannot be read ({error.strerror}); give this user the right, or remove it") from None
    if is_data or _HIDDEN_DATA.fullmatch(os.path.basename(path)):
        raise _refusal(path, "is hidden from other programs by its first character; rename it or remove it")


def _check_hidden_folder(path: str) -> None:
    found = next((name for _, _, names in os.walk(path) for name in names if _HIDDEN_DATA.fullmatch(name)), None)
    if found is not None:
        kind = "Parquet" if found.endswith(".parquet") else "data"
        raise _refusal(
            path, f"holds {kind}, and is hidden from other programs by its first character; rename or move it"
        )


def refuse_part_of_table(path: str) -> None:
    """Refuse what lies in a folder of another format, by its path or where a link leads."""
    for place in {os.path.abspath(path), os.path.realpath(path)}:
        above = os.path.dirname(place)
        while above != os.path.dirname(above):
            _refuse_other_format(above)
            above = os.path.dirname(above)


def _refuse_other_format(folder: str) -> None:
    """Refuse a folder of a format whose log says which rows are live: its files hold deleted ones too."""
    kind = next((kind for name, kind in _FORMATS.items() if os.path.isdir(os.path.join(folder, name))), None)
    metadata = os.path.join(folder, "metadata")
    if kind is None and os.path.isdir(metadata) and os.access(metadata, os.R_OK):
        kind = ("an Iceberg table", _WHOLE) if any(".metadata.json" in name for name in os.listdir(metadata)) else None
    if kind is not None:
        raise _refusal(folder, f"is {kind[0]}, and its files hold deleted rows too; {kind[1]}")
