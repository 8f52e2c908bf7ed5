"""A folder of small files that this machine keeps, bounded in bytes: what was read longest ago goes first."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

from lookalike.storage.files import write_atomic

# 15,000 thumbnails and large pictures.
MOST_BYTES = 256 << 20

_ROOM = 0.8  # of MOST_BYTES that a clean-up leaves


def folder() -> Path:
    """Return the folder of the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "lookalike", "browse")


class KeptFiles:
    """Files by names that the site makes of hashes. Several sites may share the folder."""

    def __init__(self, root: Path, most_bytes: int = MOST_BYTES) -> None:
        self._root = root
        self._most = most_bytes
        self._lock = threading.Lock()
        self._written = most_bytes  # since the last clean-up: the first file begins with one

    def read(self, name: str) -> bytes | None:
        """Return a file, None where it is not kept."""
        path = self._root / name
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        return data

    def keep(self, name: str, data: bytes) -> None:
        """Keep a file; on a disk that is full or cannot be written, do nothing."""
        with suppress(OSError):
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomic(self._root / name, data)
        with self._lock:
            self._written += len(data)
            if self._written > self._most * (1 - _ROOM):
                self._written = 0
                self._clean()

    def _clean(self) -> None:
        found = []
        with suppress(OSError):
            for entry in os.scandir(self._root):
                with suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime, status.st_size, entry.path))
        left = sum(size for _, size, _ in found)
        if left <= self._most:
            return
        for _, size, path in sorted(found):
            if left <= self._most * _ROOM:
                break
            with suppress(OSError):
                os.unlink(path)
            left -= size
