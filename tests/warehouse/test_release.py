"""A release's folder: its record; and what one in the making says of the files that are saved or linked."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path

import pytest

from lookalike.errors import WarehouseError
from lookalike.storage import files
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder, Staged
from lookalike.warehouse.release_files import StoredFile
from support import records, staging
from support.warehouses import publish, refusal

SHARD = "index/a.ann"


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_damaged_record_is_named(warehouse: Warehouse, damaged: bytes) -> None:
    publish(warehouse)
    current = warehouse.need_current()
    current.record_path.write_bytes(damaged)
    assert str(current.record_path) in refusal(current.record)


@pytest.fixture
def staged(tmp_path: Path) -> Staged:
    """A release in the making, with a parent that has one shard."""
    parent = ReleaseFolder(tmp_path / "releases" / "before")
    parent.index.mkdir(parents=True)
    (parent.root / SHARD).write_bytes(b"trees")
    records.write_record(parent)
    return staging.stage(tmp_path, parent=parent)


def parent_of(staged: Staged) -> ReleaseFolder:
    assert staged.parent is not None
    return staged.parent


def test_saved_file_is_on_the_disk_and_described(staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    """Watch the real fsync: its effect on the disk shows only after a power cut."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    path = staged.shared.here(staged.index / "new.ann")
    path.write_bytes(b"new trees")
    found = staged.save(staged.index / "new.ann")
    assert synced == [path.stat().st_ino]
    assert (found.name, found.bytes, found.sha256) == ("index/new.ann", 9, files.sha256(path))


def test_only_the_driver_knows_what_was_written(staged: Staged) -> None:
    staged.add([staged.link(SHARD, staged.inherited[SHARD])])
    sent = pickle.loads(pickle.dumps(staged))
    assert sent == staged
    assert (list(staged.written), sent.written) == ([SHARD], {})
    assert sent.inherited == staged.inherited  # read again where it is asked for


def test_linked_file_is_what_the_parent_says_and_is_not_read(staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    known = staged.inherited[SHARD]
    monkeypatch.setattr(StoredFile, "of", lambda *_: pytest.fail("it was read"))
    assert staged.link(SHARD, known) is known
    assert (staged.root / SHARD).samefile(parent_of(staged).root / SHARD)


def test_file_of_a_parent_without_files_json_is_read(staged: Staged) -> None:
    records.write_unlisted_record(parent_of(staged))
    assert staged.inherited == {}
    assert staged.link(SHARD, None) == StoredFile.of(staged.root, SHARD)


def test_copied_file_is_read_and_compared(staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system without links."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    known = staged.inherited[SHARD]
    assert staged.link(SHARD, known) == known
    assert not (staged.root / SHARD).samefile(parent_of(staged).root / SHARD)
    (staged.root / SHARD).unlink()
    (parent_of(staged).root / SHARD).write_bytes(b"tress")
    with pytest.raises(WarehouseError, match=f"{SHARD} was damaged while it was linked; run again"):
        staged.link(SHARD, known)


def test_files_and_rows_are_those_of_a_part(staged: Staged) -> None:
    names = ("embeddings/b.parquet", "embeddings/a.parquet", "failures/a.parquet", "report.html")
    rows = (2, 3, 7, None)
    staged.add(StoredFile(name=name, bytes=1, sha256="", rows=count) for name, count in zip(names, rows, strict=True))
    assert staged.paths("embeddings") == [staged.embeddings / name for name in ("a.parquet", "b.parquet")]
    assert [staged.rows(part) for part in ("embeddings", "failures", "index")] == [5, 7, 0]


def test_warehouse_of_a_release_is_two_folders_up_or_the_root() -> None:
    assert ReleaseFolder(Path("/data/lookalike/releases/r1")).warehouse == Path("/data/lookalike")
    assert ReleaseFolder(Path("/release")).warehouse == Path("/")
