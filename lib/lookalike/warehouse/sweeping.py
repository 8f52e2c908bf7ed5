"""Remove what killed runs left in a warehouse's folder. Needs the lock: a running job owns such files too."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from lookalike.warehouse.release import ReleaseFolder

# Temporary files of writes that did not end. A version before 0.2.0 kept its checkpoints in `staging`.
_TEMPORARY_FILES = (".CURRENT.*", ".VIEWS.*", ".current.*", ".lookalike.duckdb.*", "models/.*")
_TEMPORARY_FOLDERS = ("work", "staging")


def sweep(warehouse: Path, checkpoints: Path, may_be_live: Callable[[str], bool]) -> None:
    """Remove work folders, unfinished releases, temporary files, and all checkpoints but `checkpoints`.

    A complete release is never removed: a pointer that was restored from a copy does not know the releases after it.
    """
    for name in _TEMPORARY_FOLDERS:
        shutil.rmtree(warehouse / name, ignore_errors=True)
    for folder in (warehouse / "checkpoints").glob("*"):
        if folder != checkpoints:
            shutil.rmtree(folder, ignore_errors=True)
    for root in (warehouse / "releases").glob("*"):
        if not ReleaseFolder(root).record_path.is_file() and not may_be_live(root.name):
            shutil.rmtree(root, ignore_errors=True)
    for file in (path for pattern in _TEMPORARY_FILES for path in warehouse.glob(pattern)):
        file.unlink(missing_ok=True)
