"""Files: a write is complete or changes nothing, and a local copy is at the path that is given."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tempfile
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest

from lookalike.storage.files import link_or_copy, local_copy, sha256, sync_folders, write_atomic


def listed(folder: Path) -> list[str]:
    """Return the names in a folder, hidden ones too."""
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("before", [None, b"", b"old and much longer than the new"])
@pytest.mark.parametrize("data", [b"", b"new", b"\0\xff" * 100_000])
def test_file_is_replaced_and_nothing_else_is_left(tmp_path: Path, before: bytes | None, data: bytes) -> None:
    path = tmp_path / "CURRENT"
    if before is not None:
        path.write_bytes(before)
    write_atomic(path, data)
    assert path.read_bytes() == data
    assert listed(tmp_path) == ["CURRENT"]


def test_everybody_may_read_what_was_written(tmp_path: Path) -> None:
    write_atomic(tmp_path / "CURRENT", b"x")
    assert (tmp_path / "CURRENT").stat().st_mode & 0o777 == 0o644


def test_reader_with_the_old_file_open_keeps_the_old_bytes(tmp_path: Path) -> None:
    path = tmp_path / "CURRENT"
    write_atomic(path, b"old")
    with path.open("rb") as reader:
        write_atomic(path, b"new!")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new!"


def test_readers_see_one_complete_version_or_the_other(tmp_path: Path) -> None:
    path = tmp_path / "CURRENT"
    versions = {bytes([n]) * 50_000 for n in range(20)}
    write_atomic(path, bytes(50_000))

    def write() -> None:
        for version in sorted(versions):
            write_atomic(path, version)

    writer = threading.Thread(target=write)
    writer.start()
    seen = {path.read_bytes()}
    while writer.is_alive():
        seen.add(path.read_bytes())
    writer.join()
    assert seen <= versions


def test_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "release").write_bytes(b"untouched")
    (tmp_path / "CURRENT").symlink_to("release")
    write_atomic(tmp_path / "CURRENT", b"new")
    assert (tmp_path / "release").read_bytes() == b"untouched"
    assert (tmp_path / "CURRENT").read_bytes() == b"new"


def test_failed_write_leaves_the_target_and_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "CURRENT").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomic(tmp_path / "CURRENT", b"new")
    assert listed(tmp_path) == ["CURRENT"]


def test_data_that_cannot_be_written_leaves_the_old_bytes(tmp_path: Path) -> None:
    path = tmp_path / "CURRENT"
    write_atomic(path, b"old")
    with pytest.raises(TypeError):
        write_atomic(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert listed(tmp_path) == ["CURRENT"]


def test_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "gone" / "CURRENT", b"x")
    assert listed(tmp_path) == []


@pytest.mark.parametrize("data", [b"", b"abc", b"\0\xff" * 100_000])
def test_same_bytes_are_under_both_names(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "old").write_bytes(data)
    link_or_copy(tmp_path / "old", tmp_path / "new")
    assert (tmp_path / "new").read_bytes() == data
    (tmp_path / "old").unlink()
    assert (tmp_path / "new").read_bytes() == data


def test_file_is_linked_where_the_file_system_has_links(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"x")
    link_or_copy(tmp_path / "old", tmp_path / "new")
    assert (tmp_path / "new").samefile(tmp_path / "old")


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")
def test_file_is_copied_to_another_file_system(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"x")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        if os.stat(elsewhere).st_dev == os.stat(tmp_path).st_dev:
            pytest.skip("the temporary files are on it")
        link_or_copy(tmp_path / "old", Path(elsewhere) / "new")
        assert (Path(elsewhere) / "new").read_bytes() == b"x"


def test_name_that_is_there_already_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    """As a task that runs twice does; here the name is also that of another file, which keeps its bytes."""
    for name in ("source", "other"):
        (tmp_path / name).write_text(name)
    os.link(tmp_path / "other", tmp_path / "new")
    for _ in range(2):
        link_or_copy(tmp_path / "source", tmp_path / "new")
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {"source": "source", "other": "other", "new": "source"}


def test_file_that_is_not_there_cannot_be_linked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        link_or_copy(tmp_path / "gone", tmp_path / "new")
    assert listed(tmp_path) == []


def test_every_folder_of_a_tree_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files were when they were saved. Watch the real fsync: its effect shows only after a power cut."""
    files = [tmp_path / name for name in ("a", "b/c", "b/.hidden", "b/d/e")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    synced, genuine = [], os.fsync

    def watched(handle: int) -> None:
        genuine(handle)
        synced.append(os.fstat(handle).st_ino)

    monkeypatch.setattr(os, "fsync", watched)
    sync_folders(tmp_path)
    folders = [tmp_path.parent, tmp_path, *(path for path in tmp_path.rglob("*") if path.is_dir())]
    assert len(folders) == 5
    assert sorted(synced) == sorted(path.stat().st_ino for path in folders)
    turn = {number: turn for turn, number in enumerate(synced)}  # a folder comes after all that it names
    assert all(turn[path.stat().st_ino] < turn[path.parent.stat().st_ino] for path in folders[1:])


@pytest.mark.parametrize(("code", "is_said"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)])
def test_file_system_that_syncs_no_folder_is_written_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, is_said: bool
) -> None:
    genuine = os.fsync

    def refuse(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(code, os.strerror(code))
        genuine(handle)

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="error") if is_said else nullcontext():
        write_atomic(tmp_path / "CURRENT", b"new")
    assert (tmp_path / "CURRENT").read_bytes() == b"new"


def test_tree_that_is_not_there_has_nothing_to_sync(tmp_path: Path) -> None:
    sync_folders(tmp_path / "gone")
    assert listed(tmp_path) == []


@pytest.mark.parametrize("data", [b"", b"abc", bytes(1_000_000)])
def test_digest_is_that_of_the_content(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    assert sha256(tmp_path / "file") == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("name", ["weights.h5", "with space.h5", "50%20off.h5", "item#1.h5", "é.h5"])
def test_local_copy_of_a_path_is_the_file_itself(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"weights")
    with local_copy(str(path)) as local:
        assert local == path
    with local_copy(path.as_uri()) as local:
        assert local == path
    assert path.read_bytes() == b"weights"


def test_local_copy_of_a_relative_path_is_the_file_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("weights.h5").write_bytes(b"weights")
    with local_copy("weights.h5") as local:
        assert local.read_bytes() == b"weights"


def test_error_inside_the_context_leaves_the_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    path.write_bytes(b"weights")
    with pytest.raises(LookupError), local_copy(path.as_uri()):
        raise LookupError
    assert path.exists()


@pytest.mark.parametrize("uri", ["unheard://host/weights.h5", "file://[/weights.h5"])
def test_uri_that_nothing_can_open_is_an_error(uri: str) -> None:
    with pytest.raises((OSError, ValueError)), local_copy(uri):
        pass
