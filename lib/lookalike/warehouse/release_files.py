"""files.json: what each file of a release must be. A table with a damaged or missing file is still a table to Parquet.

    <release>/files.json    {"files": [{"name": …, "bytes": …, "sha256": …, "rows": …, "footer": …}, …]}

Parquet's pages have checksums of their own. Its footer has none, and decides which pages are read at all: by `footer`,
a reader of a few rows can trust it without reading the whole file.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.storage import files
from lookalike.warehouse.record import FilesRecord
from lookalike.warehouse.stored import SCHEMA_VERSION, Stored

NAME = "files.json"

_GONE = "it is gone"

# Its last bytes: the length of the footer, 4 bytes, and "PAR1".
_TAIL = 8


class StoredFile(Stored):
    """One file: its name below the release's folder, and what tells that it is complete and unchanged."""

    name: str
    bytes: int
    sha256: str
    rows: int | None = None  # of a Parquet file
    footer: str | None = None  # its SHA-256, of a Parquet file

    @classmethod
    def of(cls, root: Path, name: str) -> StoredFile:
        """Return what a file is now; raises OSError."""
        path = root / name
        is_table = name.endswith(".parquet")
        return cls(
            name=name,
            bytes=path.stat().st_size,
            sha256=files.sha256(path),
            rows=pq.read_metadata(path).num_rows if is_table else None,
            footer=footer_sha256(path) if is_table else None,
        )

    @property
    def part(self) -> str:
        """The table that it belongs to, or its own name."""
        return self.name.partition("/")[0]

    def size_problem(self, size: int | None) -> str | None:
        """Return what is wrong with a file of this size, None where there is no file; None if nothing is."""
        if size is None:
            return _GONE
        return None if size == self.bytes else f"it has {size:,} bytes, not {self.bytes:,}"

    def outer_problem(self, root: Path) -> str | None:
        """Return what is wrong with the file as far as its size and its footer tell; None if nothing is."""
        try:
            if (problem := self.size_problem((root / self.name).stat().st_size)) is not None:
                return problem
            if self.footer is not None and footer_sha256(root / self.name) != self.footer:
                return "its Parquet footer is not the one that was written"
        except OSError as error:
            return _reason(error)
        return None

    def problem(self, root: Path) -> str | None:
        """Return what is wrong with the file as all of its bytes tell; None if nothing is."""
        if (outer := self.outer_problem(root)) is not None:
            return outer
        try:
            same = files.sha256(root / self.name) == self.sha256
        except OSError as error:
            return _reason(error)
        return None if same else "its content is not what was written"


class ReleaseFiles(Stored):
    """All files of a release but release.json and files.json itself."""

    schema_version: int = SCHEMA_VERSION
    files: tuple[StoredFile, ...] = ()

    def needed(self, *parts: str) -> list[StoredFile]:
        """Return the files that make the release, or some parts of it: all but the page, which may be moved."""
        return [file for file in self.files if file.name != "report.html" and (not parts or file.part in parts)]

    def of_part(self, part: str) -> list[StoredFile]:
        """Return the files of a table or of the index."""
        return [file for file in self.files if file.part == part]

    def rows(self, part: str) -> int:
        """Return how many rows a table has."""
        return sum(file.rows or 0 for file in self.of_part(part))


def write(listed: ReleaseFiles, root: Path) -> FilesRecord:
    """Write files.json of a release in the making; return what release.json says of it."""
    data = listed.as_json()
    files.write_atomic(root / NAME, data)
    return FilesRecord(
        count=len(listed.files), bytes=sum(file.bytes for file in listed.files), sha256=hashlib.sha256(data).hexdigest()
    )


def table_files(folder: Path) -> list[str]:
    """Return the names of the files in a table's folder that its readers take for a part of it; raises OSError."""
    return sorted(name for name in os.listdir(folder) if not name.startswith((".", "_")))


def unlisted_gone(folder: Path) -> list[str]:
    """Return the names of the files that are gone from a table's folder, but not their `.crc` files; raises OSError."""
    names = set(os.listdir(folder))
    checked = (name[1:-4] for name in names if name.startswith(".") and name.endswith(".crc"))
    return sorted(name for name in checked if not name.startswith("_") and name not in names)


def remove_hidden(root: Path) -> None:
    """Remove what tasks that were stopped have left: a file that is being made is hidden."""
    for path in root.rglob(".*"):
        if path.is_file():
            path.unlink(missing_ok=True)


def footer_sha256(path: Path) -> str:
    """Return the SHA-256 of a Parquet file's footer, its length and the last magic bytes; raises OSError."""
    with path.open("rb") as file:
        file.seek(_footer_start(file))
        return hashlib.sha256(file.read()).hexdigest()


def _footer_start(file: BinaryIO) -> int:
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - _TAIL))
    length = int.from_bytes(file.read()[:4], "little")
    return max(0, size - _TAIL - min(length, size))


def unlisted_problem(path: Path, *, whole: bool) -> str | None:
    """Compare a file, or its Parquet footer, to Hadoop's `.crc` file next to it, which releases before 0.3.0 have.

    Return what is wrong, None also where there is no such file. Raises OSError.
    """
    try:
        sums = path.with_name(f".{path.name}.crc").read_bytes()
    except FileNotFoundError:
        return None
    width = int.from_bytes(sums[4:8], "big")  # bytes of the file for each sum of 4 bytes
    if sums[:4] != b"crc\0" or not width:
        return "its .crc file is damaged"
    with path.open("rb") as file:
        first = 0 if whole else _footer_start(file) // width
        file.seek(first * width)
        for at in range(8 + 4 * first, len(sums), 4):
            if zlib.crc32(file.read(width)) != int.from_bytes(sums[at : at + 4], "big"):
                return "its content is not that of its .crc file"
        return None if not file.read(1) else "it is longer than its .crc file says"


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return _GONE
    return " ".join((getattr(error, "strerror", None) or str(error)).split())


def read_whole(path: Path) -> tuple[int, str | None]:
    """Read all pages of a Parquet file that no list describes; return its rows, and what is wrong, if anything is."""
    rows = 0
    try:
        if (problem := unlisted_problem(path, whole=True)) is not None:
            return rows, problem
        with pq.ParquetFile(path, page_checksum_verification=True) as table:
            for batch in table.iter_batches():
                rows += batch.num_rows
    except (OSError, pa.ArrowException) as error:
        return rows, _reason(error)
    return rows, None
