"""Write files in one step, link and measure them, and get a local copy of what a path or URI names."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pyarrow import fs

from lookalike.storage import object_store


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` in one step: a reader sees the old bytes or the new ones, also after a power cut."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)  # mkstemp's 0600 would hide a table's pointer from its readers
        os.replace(name, path)
        sync(path.parent)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def sync_folders(root: Path) -> None:
    """Wait until the names of all files below `root`, which are on the disk, are there too; raises OSError.

    The folders last that name others, and at the end the one that names `root`: so that a release.json and then a
    pointer that are written afterwards never reach the disk before what they make valid.
    """
    for folder, _, _ in os.walk(root, topdown=False):
        sync(folder)
    sync(root.parent)


def sync(path: str | Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk; raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # some network file systems sync no folder, and promise that a rename is on the disk
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not os.path.isdir(path):
            raise
    finally:
        os.close(handle)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name: a hard link where the file system has them, since the file never changes.

    A name that is there already is replaced and not written through: a task may run twice, and at the same time.
    """
    try:
        os.link(source, target)
    except OSError:
        attempt = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            shutil.copy2(source, attempt)
            os.replace(attempt, target)
        finally:
            attempt.unlink(missing_ok=True)


def remove_tree(root: Path) -> None:
    """Remove a folder with all that is in it, as far as that can be removed."""
    shutil.rmtree(root, ignore_errors=True)


def tree_size(root: Path) -> int:
    """Return the bytes of all files below a folder, or of one file; 0 if there is none."""
    return sum(status.st_size for status in _files([root]))


def freed_bytes(roots: Sequence[Path]) -> int:
    """Return the bytes that removing all `roots` frees: a file with another name elsewhere keeps its bytes."""
    names = Counter((status.st_dev, status.st_ino, status.st_size, status.st_nlink) for status in _files(roots))
    return sum(size for (*_, size, links), found in names.items() if found == links)


def _files(roots: Sequence[Path]) -> Iterator[os.stat_result]:
    for root in roots:
        for path in (root, *root.rglob("*")):
            with suppress(FileNotFoundError):  # removed meanwhile
                status = path.lstat()
                if stat.S_ISREG(status.st_mode):
                    yield status


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def local_copy(uri: str) -> Iterator[Path]:
    """Give a local path with the bytes of `uri`, until the context ends; raises OSError or ValueError."""
    if "://" not in uri and not uri.startswith("file:"):
        yield Path(uri)
        return
    if uri.startswith("file:/") and not uri.startswith("file://"):
        uri = f"file://{uri.removeprefix('file:')}"  # Spark's spelling
    try:
        store, path = fs.FileSystem.from_uri(uri)
    except OSError as error:
        raise object_store.as_set_up(error) from None
    if isinstance(store, fs.LocalFileSystem):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / Path(path).name
        with store.open_input_stream(path) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink)
        yield target
