"""What files.json takes from the parent's: what is known of the files that are linked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from pyspark.sql import SparkSession

from lookalike.spark import release_check
from lookalike.warehouse.release import ReleaseFolder, Staged
from lookalike.warehouse.release_files import ReleaseFiles, StoredFile


@dataclass(frozen=True)
class Parent(ReleaseFolder):
    """A release, and what its files.json says."""

    known: ReleaseFiles

    def files(self) -> ReleaseFiles:
        return self.known


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read."""
    read: list[str] = []

    def here(
        _spark: object, root: Path, names: Sequence[str], work: Callable[[Path, str], dict[str, Any]]
    ) -> list[dict[str, Any]]:
        read.extend(names)
        return [work(root, name) for name in names]

    monkeypatch.setattr(release_check, "_on_executors", here)
    return read


def test_file_that_is_the_parents_own_is_not_read_again(tmp_path: Path, described: list[str]) -> None:
    root, names = tmp_path / "parent", ("copied", "grown", "linked")
    staged_root = tmp_path / "staged"
    for folder in (root, staged_root):
        (folder / "index").mkdir(parents=True)
    for name in names:
        (root / f"index/{name}.ann").write_bytes(name.encode())
    parent = Parent(root, ReleaseFiles(files=tuple(StoredFile.of(root, f"index/{name}.ann") for name in names)))
    for name in ("grown", "linked"):
        (staged_root / f"index/{name}.ann").hardlink_to(root / f"index/{name}.ann")
    for name in ("copied", "new"):
        (staged_root / f"index/{name}.ann").write_bytes(name.encode())
    (root / "index/grown.ann").write_bytes(b"grown since")

    staged = Staged(staged_root, work=tmp_path / "work", parent=parent)
    release_check.write_files_json(cast(SparkSession, None), staged)

    written = ReleaseFiles.model_validate_json((staged_root / "files.json").read_bytes())
    assert list(written.files) == [StoredFile.of(staged_root, f"index/{name}.ann") for name in (*names, "new")]
    assert described == ["index/copied.ann", "index/grown.ann", "index/new.ann"]
