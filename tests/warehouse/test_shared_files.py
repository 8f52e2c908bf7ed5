"""Files that all tasks share: on a disk as they are, in a store with copies on each machine."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from pyarrow import fs

from lookalike import config
from lookalike.errors import CountError, WarehouseError
from lookalike.storage import cache
from lookalike.storage.prefix import Prefix
from lookalike.warehouse import release_files
from lookalike.warehouse.release import ReleaseFolder, Staged, check_there
from lookalike.warehouse.release_files import ReleaseFiles, StoredFile
from lookalike.warehouse.shared_files import ON_DISK, InStore


class Machine:
    """A machine with copies of its own, and what it does in the release r2 that follows r1."""

    def __init__(self, prefix: Prefix, folder: Path, limit: int = 1 << 30) -> None:
        self.shared = InStore(prefix, folder, folder, limit, making="r2")
        parent = ReleaseFolder(folder / "releases" / "r1", shared=self.shared)
        self.staged = Staged(folder / "releases" / "r2", folder / "work" / "r2", parent, shared=self.shared)

    def save(self, name: str, content: bytes) -> StoredFile:
        path = self.staged.root / name
        self.shared.here(path).write_bytes(content)
        return self.staged.save(path)

    def read(self, name: str, release: str = "r2") -> bytes:
        return self.shared.fetch(self.shared.root / "releases" / release / name).read_bytes()


@pytest.fixture
def prefix(endpoint: str, request: pytest.FixtureRequest) -> Prefix:
    name = f"s{abs(hash(request.node.name)) % 10**9}"
    store = fs.S3FileSystem(endpoint_override=endpoint, region="us-east-1", allow_bucket_creation=True)
    store.create_dir(name)
    return Prefix(f"s3://{name}/wh", config.StoreSettings(s3_endpoint=endpoint, s3_region="us-east-1"))


@pytest.fixture
def machines(prefix: Prefix, tmp_path: Path) -> tuple[Machine, Machine]:
    return Machine(prefix, tmp_path / "one"), Machine(prefix, tmp_path / "two")


def publish(prefix: Prefix, folder: Path, release: str, **content: bytes) -> None:
    """A release of some files in `index`, with its files.json."""
    listed = []
    for name, data in content.items():
        prefix.write(f"releases/{release}/index/{name}", data)
        (folder / "index").mkdir(parents=True, exist_ok=True)
        (folder / "index" / name).write_bytes(data)
        listed.append(StoredFile.of(folder, f"index/{name}"))
    prefix.write(f"releases/{release}/{release_files.NAME}", ReleaseFiles(files=tuple(listed)).as_json())


def test_what_one_machine_saves_another_fetches(machines: tuple[Machine, Machine]) -> None:
    one, two = machines
    saved = one.save("index/a.ann", b"trees")
    assert (saved.name, saved.bytes) == ("index/a.ann", 5)
    assert two.read("index/a.ann") == b"trees"
    assert pickle.loads(pickle.dumps(two.shared)) == two.shared
    with pytest.raises(FileNotFoundError, match="gone"):
        two.read("index/b.ann")


def test_what_the_first_try_of_a_task_has_saved_stays(machines: tuple[Machine, Machine]) -> None:
    """The order of rows may differ in the second."""
    one, two = machines
    first, second = one.save("embeddings/part", b"a b"), two.save("embeddings/part", b"b a")
    assert first == second
    assert (one.read("embeddings/part"), two.read("embeddings/part")) == (b"a b", b"a b")


def test_second_version_of_a_file_is_fetched_by_every_machine(machines: tuple[Machine, Machine]) -> None:
    one, two = machines
    one.save("index/items", b"first")
    assert two.read("index/items") == b"first"
    path = two.staged.root / "index" / "items"
    two.shared.here(path).write_bytes(b"again")
    two.staged.save(path, "second")
    read = [machine.shared.fetch(machine.staged.root / "index" / "items", "second") for machine in machines]
    assert [copy.read_bytes() for copy in read] == [b"again", b"again"]


def test_same_content_of_several_releases_is_one_copy(prefix: Prefix, tmp_path: Path) -> None:
    publish(prefix, tmp_path / "1", "r1", a=b"base", b=b"old")
    publish(prefix, tmp_path / "0", "r0", a=b"base", b=b"older")
    machine = Machine(prefix, tmp_path / "one")
    paths = [machine.shared.root / "releases" / release / "index" / "a" for release in ("r1", "r0")]
    assert machine.shared.fetch(paths[0]) == machine.shared.fetch(paths[1])
    assert [machine.read("index/b", release) for release in ("r1", "r0")] == [b"old", b"older"]


def test_what_a_machine_made_is_its_copy_of_the_next_night(prefix: Prefix, tmp_path: Path) -> None:
    one = Machine(prefix, tmp_path / "one")
    saved = one.save("index/a", b"made here")
    prefix.write(f"releases/r2/{release_files.NAME}", ReleaseFiles(files=(saved,)).as_json())
    prefix.remove("releases/r2/index/a")  # so that nothing can be downloaded
    next_night = replace(one.shared, making="r3")
    assert next_night.fetch(one.staged.root / "index" / "a").read_bytes() == b"made here"


@pytest.mark.parametrize("harm", [b"xase", b"base and more"])
def test_damaged_copy_is_downloaded_again_where_it_was_not_used_of_late(
    prefix: Prefix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: bytes
) -> None:
    publish(prefix, tmp_path / "1", "r1", a=b"base")
    machine = Machine(prefix, tmp_path / "one")
    machine.shared.fetch(machine.shared.root / "releases" / "r1" / "index" / "a").write_bytes(harm)
    monkeypatch.setattr(cache, "TRUSTED_SECONDS", 0.0)
    assert machine.read("index/a", "r1") == b"base"


def test_damaged_object_is_named_and_leaves_no_copy(prefix: Prefix, tmp_path: Path) -> None:
    publish(prefix, tmp_path / "1", "r1", a=b"base")
    prefix.write("releases/r1/index/a", b"bass")
    machine = Machine(prefix, tmp_path / "one")
    for _ in range(2):
        with pytest.raises(WarehouseError, match=r"wh/releases/r1/index/a is damaged"):
            machine.read("index/a", "r1")


def test_file_of_the_parent_is_copied_inside_the_store_and_read_from_its_copy(
    prefix: Prefix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(prefix, tmp_path / "1", "r1", a=b"base")
    machine = Machine(prefix, tmp_path / "one")
    machine.read("index/a", "r1")
    expected = StoredFile.of(tmp_path / "1", "index/a")
    monkeypatch.setattr(Prefix, "upload", None)
    monkeypatch.setattr(Prefix, "download", None)
    assert machine.staged.link("index/a", expected) == expected
    assert prefix.read("releases/r2/index/a") == b"base"


def test_copies_keep_within_their_limit(prefix: Prefix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(prefix, tmp_path / "1", "r1", **{f"n{number}": bytes(1000 + number) for number in range(20)})
    monkeypatch.setattr(cache, "SPARED_SECONDS", -1.0)
    machine = Machine(prefix, tmp_path / "one", limit=5000)
    for number in range(20):
        machine.read(f"index/n{number}", "r1")
        held = sum(path.stat().st_size for path in (tmp_path / "one" / cache.CONTENT).rglob("n*"))
        assert held <= 5000


def test_machine_without_the_drivers_home_finds_a_place(
    prefix: Prefix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(prefix, tmp_path / "1", "r1", a=b"base")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    closed = tmp_path / "file"
    closed.write_bytes(b"")
    shared = InStore(prefix, closed / "home", closed / "home", 1 << 30)
    path = shared.fetch(closed / "home" / "releases" / "r1" / "index" / "a")
    assert path.read_bytes() == b"base"
    assert path.is_relative_to(tmp_path / f"lookalike-{os.getuid()}")


def test_files_that_are_not_where_all_see_them_end_the_run(tmp_path: Path) -> None:
    (tmp_path / "table").mkdir()
    for name in ("a", "b"):
        (tmp_path / "table" / name).write_bytes(b"rows")
    (tmp_path / "table" / ".a.unfinished").write_bytes(b"half")
    written = [StoredFile.of(tmp_path, f"table/{name}") for name in ("a", "b")]
    check_there(ON_DISK, tmp_path, "table", written)
    with pytest.raises(CountError, match=r"1 of 1 files in .*table/b was not written by this run"):
        check_there(ON_DISK, tmp_path, "table", written[:1])
    (tmp_path / "table" / "a").write_bytes(b"row")
    (tmp_path / "table" / "b").unlink()
    with pytest.raises(
        CountError, match=r"2 of 2 files in .*table/a is not there as it was written; every worker must"
    ):
        check_there(ON_DISK, tmp_path, "table", written)
