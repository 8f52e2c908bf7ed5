"""The copies that a machine keeps of objects: those not used for longest go when there are too many bytes."""

from __future__ import annotations

import fcntl
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# A task opens a file right after it has asked for it, and a map outlives the file's name.
SPARED_SECONDS = 600.0

# A copy that was used within this time is not marked again: thousands of reads of a shard are one write.
_MARK_SECONDS = 60.0

# More than is needed goes at once, so that not each download looks at all files.
_SPARE_SHARE = 0.1

_LOCK = ".room"

# Downloads of a machine at the same time; two of one file never are.
_DOWNLOADS = 64

# What a run makes and reads; models, locks and the metastore of the same folder are none of these.
CONTENT = "content"
_KINDS = (CONTENT, "releases", "work", "checkpoints")

# A file of this name in the folder of a release keeps it: a database's views show it.
KEEP = ".keep"


# A copy that was not used for so long is compared to what was written before it is used again: a disk may have
# changed it, and a run of the night before is longer ago than this.
TRUSTED_SECONDS = 3600.0


def use(copy: Path) -> bool:
    """Return whether a copy is there and was used of late, and mark it as used now."""
    try:
        unused = time.time() - copy.stat().st_mtime
        if _MARK_SECONDS < unused < TRUSTED_SECONDS:
            os.utime(copy)
    except OSError:
        return False
    return unused < TRUSTED_SECONDS


def note_version(copy: Path, version: str) -> None:
    """Write down which version of a file, of which a run makes several, a copy is."""
    _version_file(copy).write_text(version, encoding="utf-8")


def version_of(copy: Path) -> str | None:
    """Return what `note_version` wrote down, None where it did not."""
    try:
        return _version_file(copy).read_text(encoding="utf-8")
    except OSError:
        return None


def _version_file(copy: Path) -> Path:
    return copy.with_name(f".{copy.name}.version")


def trust(copy: Path) -> None:
    """Mark a copy as used now, after it was compared to what was written."""
    os.utime(copy)


@contextmanager
def one_at_a_time(folder: Path, copy: Path) -> Iterator[None]:
    """Let only one process of the machine make a copy: the tasks of a search open the same shards at once."""
    number = zlib.crc32(os.fsencode(copy)) % _DOWNLOADS
    with (folder / f".download-{number}").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_room(folder: Path, limit: int, size: int) -> None:
    """Remove the copies that were not used for longest, so that `size` more bytes keep within the limit.

    Those in use stay, whatever the limit. One process of a machine does it at a time; the others go on meanwhile.
    """
    with (folder / _LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        known = _read_size(lock.name)
        if known + size <= limit:
            _write_size(lock.name, known + size)
            return
        _write_size(lock.name, _trim(folder, limit - size) + size)


def _trim(folder: Path, most: int) -> int:
    """Remove the oldest copies where there are more than `most` bytes; return the bytes that stay."""
    found = sorted(_copies(folder))
    total, oldest = sum(size for _, size, _ in found), time.time() - SPARED_SECONDS
    if total <= most:
        return total
    for used, size, path in found:
        if used > oldest or total <= (1 - _SPARE_SHARE) * most:
            break
        with suppress(OSError):
            os.unlink(path)
            total -= size
    return total


def _copies(folder: Path) -> list[tuple[float, int, str]]:
    """Return time of last use, bytes and path of all copies, a share of the bytes to each name of one file."""
    found = []
    for kind in _KINDS:
        for parent, folders, names in os.walk(folder / kind):
            if KEEP in names:
                folders.clear()
                continue
            for path in (os.path.join(parent, name) for name in names if not name.startswith(".")):
                with suppress(OSError):
                    status = os.stat(path)
                    found.append((status.st_mtime, status.st_size // status.st_nlink, path))
    return found


def _read_size(path: str) -> int:
    """Return the bytes as the last process counted them; 0 if none has."""
    text = Path(path).read_text(encoding="ascii")
    return int(text) if text.isdigit() else 0


def _write_size(path: str, size: int) -> None:
    Path(path).write_text(str(max(0, size)), encoding="ascii")
