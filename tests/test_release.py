"""The warehouse: what is staged, what becomes current, and what a reader sees meanwhile."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lookalike.errors import WarehouseError
from lookalike.release import Staged, Warehouse

PARTS = ("embeddings", "failures", "index", "similar_items")


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(str(tmp_path / "warehouse"))


def fill(staged: Staged) -> None:
    """One file in each part of the release, and one among what the release does not need."""
    for name in PARTS:
        part: Path = getattr(staged, name)
        part.mkdir()
        (part / "part-0").write_text(staged.release_id)
    (staged.work / "outcomes").write_text("not for readers")


def publish(warehouse: Warehouse, **facts: Any) -> str:
    with warehouse.stage() as staged:
        fill(staged)
        warehouse.publish(staged, facts)
    return staged.release_id


def fail(warehouse: Warehouse, error: type[BaseException]) -> None:
    """A run that stops halfway."""
    with warehouse.stage() as staged:
        fill(staged)
        raise error


def contents(warehouse: Warehouse) -> list[str]:
    """Everything in the warehouse but its two standing folders, links not followed."""
    found = (path.relative_to(warehouse.path).as_posix() for path in warehouse.path.rglob("*"))
    return sorted(set(found) - {"releases", "work"})


def contents_of_release(release_id: str) -> list[str]:
    root = f"releases/{release_id}"
    parts = [name for part in PARTS for name in (f"{root}/{part}", f"{root}/{part}/part-0")]
    return sorted([root, *parts, f"{root}/release.json"])


def refusal(action: Callable[[], object]) -> str:
    """The message of the WarehouseError that `action` raises: one line, and exit code 2."""
    with pytest.raises(WarehouseError) as raised:
        action()
    message = str(raised.value)
    assert message
    assert "\n" not in message
    assert raised.value.exit_code == 2
    return message


def test_new_warehouse_has_no_current_release_and_looking_creates_nothing(
    warehouse: Warehouse,
) -> None:
    assert warehouse.current() is None
    assert "holds no release yet" in refusal(warehouse.current_root)
    assert not warehouse.path.exists()


def test_published_release_is_current_and_holds_its_parts_and_no_work(warehouse: Warehouse) -> None:
    release_id = publish(warehouse)
    assert warehouse.current() == release_id
    assert warehouse.current_root() == warehouse.path / "releases" / release_id
    assert contents(warehouse) == sorted(["CURRENT", "current", *contents_of_release(release_id)])


def test_release_json_carries_the_facts_after_the_id_and_the_parent(warehouse: Warehouse) -> None:
    facts = {"counts": {"items": 3}, "place": "Malmö ÅÄÖ", "recall": 0.5, "nothing": None}
    release_id = publish(warehouse, **facts)
    record = json.loads((warehouse.current_root() / "release.json").read_text(encoding="utf-8"))
    assert record == {"release_id": release_id, "parent": None, **facts}
    assert list(record)[:2] == ["release_id", "parent"]


def test_pointer_and_symlink_name_the_same_release_and_anyone_may_read_them(
    warehouse: Warehouse,
) -> None:
    for _ in range(3):
        release_id = publish(warehouse)
        assert json.loads((warehouse.path / "CURRENT").read_text()) == {"release_id": release_id}
        assert os.readlink(warehouse.path / "current") == f"releases/{release_id}"
        assert (warehouse.path / "current" / "index" / "part-0").read_text() == release_id
    for name in ("CURRENT", "current/release.json"):
        assert (warehouse.path / name).stat().st_mode & 0o777 == 0o644


def test_symlink_survives_moving_the_warehouse(warehouse: Warehouse, tmp_path: Path) -> None:
    release_id = publish(warehouse)
    moved = Warehouse(str(warehouse.path.rename(tmp_path / "elsewhere")))
    assert moved.current() == release_id
    assert (moved.path / "current" / "embeddings" / "part-0").read_text() == release_id


def test_second_publish_swaps_and_names_its_parent_and_keeps_the_first(
    warehouse: Warehouse,
) -> None:
    first = publish(warehouse)
    second = publish(warehouse)
    third = publish(warehouse)
    parents = {
        release_id: json.loads((warehouse.path / "releases" / release_id / "release.json").read_text())["parent"]
        for release_id in (first, second, third)
    }
    assert parents == {first: None, second: first, third: second}
    assert warehouse.current() == third
    everything = [name for release_id in (first, second, third) for name in contents_of_release(release_id)]
    assert contents(warehouse) == sorted(["CURRENT", "current", *everything])


def test_nothing_is_live_before_publish(warehouse: Warehouse) -> None:
    former = publish(warehouse)
    with warehouse.stage() as staged:
        fill(staged)
        assert warehouse.current() == former
        assert os.readlink(warehouse.path / "current") == f"releases/{former}"
        assert not (staged.root / "release.json").exists()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, WarehouseError])
@pytest.mark.parametrize("before", [0, 1])
def test_stage_that_raises_leaves_nothing_of_itself(
    warehouse: Warehouse, before: int, error: type[BaseException]
) -> None:
    former = [publish(warehouse) for _ in range(before)]
    untouched = contents(warehouse)
    with pytest.raises(error):
        fail(warehouse, error)
    assert contents(warehouse) == untouched
    assert [warehouse.current()] == (former or [None])


def test_stage_without_publish_leaves_nothing_of_itself(warehouse: Warehouse) -> None:
    former = publish(warehouse)
    untouched = contents(warehouse)
    with warehouse.stage() as staged:
        fill(staged)
    assert contents(warehouse) == untouched
    assert warehouse.current() == former


def test_publish_of_facts_that_are_not_json_leaves_the_former_release_current(
    warehouse: Warehouse,
) -> None:
    former = publish(warehouse)
    untouched = contents(warehouse)
    with pytest.raises(TypeError):
        publish(warehouse, facts=object())
    assert contents(warehouse) == untouched
    assert warehouse.current() == former


def test_error_after_publish_keeps_the_published_release(warehouse: Warehouse) -> None:
    def run() -> None:
        with warehouse.stage() as staged:
            fill(staged)
            warehouse.publish(staged, {})
            raise RuntimeError(staged.release_id)

    with pytest.raises(RuntimeError) as raised:
        run()
    assert warehouse.current() == str(raised.value)
    assert contents(warehouse) == sorted(["CURRENT", "current", *contents_of_release(str(raised.value))])


def test_leftovers_of_a_killed_run_do_not_disturb_the_next(warehouse: Warehouse) -> None:
    former = publish(warehouse)
    killed = warehouse.path / "releases" / "20200101T000000Z-abcdef"
    killed.mkdir()
    (killed / "embeddings").mkdir()
    (warehouse.path / "releases" / former / ".release.json.tmp").write_text("{")
    assert warehouse.current() == former
    assert publish(warehouse) == warehouse.current()


@pytest.mark.parametrize(
    "damaged",
    [b"", b"{", b"[]", b"{}", b'"id"', b"17", b"null", b"\xff\xfe", b'{"release": "x"}'],
    ids=repr,
)
def test_damaged_pointer_is_named(warehouse: Warehouse, damaged: bytes) -> None:
    publish(warehouse)
    (warehouse.path / "CURRENT").write_bytes(damaged)
    for action in (warehouse.current, warehouse.current_root, lambda: publish(warehouse)):
        assert str(warehouse.path / "CURRENT") in refusal(action)


def test_pointer_that_is_a_folder_is_named(warehouse: Warehouse) -> None:
    (warehouse.path / "CURRENT").mkdir(parents=True)
    assert str(warehouse.path / "CURRENT") in refusal(warehouse.current)


@pytest.mark.parametrize("below", ["", "warehouse", "deep/warehouse"])
def test_warehouse_that_cannot_be_written_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("a file, not a folder")
    path = tmp_path / "file" / below
    assert str(path) in refusal(lambda: publish(Warehouse(str(path))))
    assert (tmp_path / "file").read_text() == "a file, not a folder"


def test_releases_that_is_a_file_is_a_warehouse_that_cannot_be_written(
    warehouse: Warehouse,
) -> None:
    warehouse.path.mkdir()
    (warehouse.path / "releases").write_text("")
    assert "cannot be written" in refusal(lambda: publish(warehouse))


@pytest.mark.parametrize("uri", ["s3://bucket/w", "s3a://bucket/w", "hdfs://host:8020/w", "gs://b/w", "abfss://c@a/w"])
def test_warehouse_on_a_remote_store_is_refused_by_name(uri: str) -> None:
    assert uri in refusal(lambda: Warehouse(uri))


def test_file_uri_and_path_name_the_same_warehouse(warehouse: Warehouse) -> None:
    release_id = publish(warehouse)
    assert Warehouse(f"file://{warehouse.path}").current() == release_id


def test_relative_path_is_kept_when_the_working_folder_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    relative = Warehouse("warehouse")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    release_id = publish(relative)
    assert (tmp_path / "warehouse" / "current" / "release.json").exists()
    assert relative.current() == release_id


def test_release_ids_are_unique_and_a_later_second_sorts_later(warehouse: Warehouse) -> None:
    def staged_ids(count: int) -> list[str]:
        ids = []
        for _ in range(count):
            with warehouse.stage() as staged:
                ids.append(staged.release_id)
        return ids

    early = staged_ids(50)
    time.sleep(1.1)
    late = staged_ids(50)
    assert len({*early, *late}) == 100
    assert max(early) < min(late)


class Reader(threading.Thread):
    """Reads the current release over and over, by the pointer and by the symlink."""

    def __init__(self, warehouse: Warehouse) -> None:
        super().__init__(name="reader")
        self._warehouse = warehouse
        self._stopped = threading.Event()
        self.seen: list[str] = []
        self.torn: list[str] = []

    def run(self) -> None:
        while not self._stopped.is_set():
            for way in (self._by_pointer, self._by_symlink):
                try:
                    self.seen.append(self._whole(way()))
                except Exception as error:  # noqa: BLE001 - whatever a reader meets is a finding
                    self.torn.append(repr(error))

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def _by_pointer(self) -> Path:
        return self._warehouse.current_root()

    def _by_symlink(self) -> Path:
        return self._warehouse.path / os.readlink(self._warehouse.path / "current")

    @staticmethod
    def _whole(root: Path) -> str:
        release_id = str(json.loads((root / "release.json").read_text())["release_id"])
        assert release_id == root.name
        for part in PARTS:
            assert (root / part / "part-0").read_text() == release_id
        return release_id


def test_reader_sees_a_whole_release_at_every_moment_of_200_publishes(warehouse: Warehouse) -> None:
    published = [publish(warehouse)]
    reader = Reader(warehouse)
    reader.start()
    try:
        published += [publish(warehouse) for _ in range(200)]
    finally:
        reader.stop()
    assert reader.torn == []
    assert len(set(reader.seen)) > 10  # it did look in between
    assert set(reader.seen) <= set(published)
