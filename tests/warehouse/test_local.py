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

from lookalike.errors import LockError, WarehouseError
from lookalike.progress import Steps
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder
from support import records
from support.warehouses import (
    PARTS,
    TTL,
    contents,
    contents_of_release,
    fill,
    pointer_file,
    publish,
    publish_refused,
    record_of,
    refusal,
)


def fail(warehouse: Warehouse, error: type[BaseException]) -> None:
    """A run that stops halfway."""
    with warehouse.writer(TTL), warehouse.stage() as staged:
        fill(staged)
        raise error


def test_published_release_is_current_and_holds_its_parts_and_no_work(warehouse: Warehouse) -> None:
    release_id = publish(warehouse)
    assert warehouse.need_current().release_id == release_id
    assert warehouse.current() == ReleaseFolder(warehouse.path / "releases" / release_id)
    assert contents(warehouse) == sorted(["CURRENT", "current", *contents_of_release(release_id)])


def test_release_json_holds_the_record_of_the_run(warehouse: Warehouse) -> None:
    release_id = publish(warehouse, model={"model_id": "Malmö ÅÄÖ"})
    text = (warehouse.path / "current" / "release.json").read_text(encoding="utf-8")
    assert "Malmö ÅÄÖ" in text
    assert list(json.loads(text))[:3] == ["schema_version", "release_id", "parent"]
    assert warehouse.need_current().record() == records.record(release_id, model={"model_id": "Malmö ÅÄÖ"})


def test_pointer_and_symlink_name_the_same_release_and_anyone_may_read_them(
    warehouse: Warehouse,
) -> None:
    for _ in range(3):
        release_id = publish(warehouse)
        assert pointer_file(warehouse)["release_id"] == release_id
        assert os.readlink(warehouse.path / "current") == f"releases/{release_id}"
        assert (warehouse.path / "current" / "index" / "part-0").read_text() == release_id
    for name in ("CURRENT", "current/release.json"):
        assert (warehouse.path / name).stat().st_mode & 0o777 == 0o644


def test_symlink_survives_moving_the_warehouse(warehouse: Warehouse, tmp_path: Path) -> None:
    release_id = publish(warehouse)
    moved = Warehouse(str(warehouse.path.rename(tmp_path / "elsewhere")))
    assert moved.need_current().release_id == release_id
    assert (moved.path / "current" / "embeddings" / "part-0").read_text() == release_id


def test_second_publish_swaps_and_names_its_parent_and_keeps_the_first(
    warehouse: Warehouse,
) -> None:
    first = publish(warehouse)
    second = publish(warehouse)
    third = publish(warehouse)
    parents = {release.release_id: release.record().parent for release in warehouse.releases()}
    assert parents == {first: None, second: first, third: second}
    assert warehouse.need_current().release_id == third
    everything = [name for release_id in (first, second, third) for name in contents_of_release(release_id)]
    assert contents(warehouse) == sorted(["CURRENT", "current", *everything])


def test_nothing_is_live_before_publish(warehouse: Warehouse) -> None:
    former = publish(warehouse)
    with warehouse.stage() as staged:
        fill(staged)
        assert warehouse.need_current().release_id == former
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
    current = warehouse.current()
    assert ([current.release_id] if current else []) == former


def test_stage_without_publish_leaves_nothing_of_itself(warehouse: Warehouse) -> None:
    former = publish(warehouse)
    untouched = contents(warehouse)
    with warehouse.stage() as staged:
        fill(staged)
    assert contents(warehouse) == untouched
    assert warehouse.need_current().release_id == former


def test_publish_of_a_figure_that_is_not_json_leaves_the_former_release_current(warehouse: Warehouse) -> None:
    former = publish(warehouse)
    untouched = contents(warehouse)
    with pytest.raises(ValueError, match="not JSON compliant"):
        publish(warehouse, seconds={"read": float("nan")})
    assert contents(warehouse) == untouched
    assert warehouse.need_current().release_id == former


def test_error_after_publish_keeps_the_published_release(warehouse: Warehouse) -> None:
    def run() -> None:
        with warehouse.writer(TTL), warehouse.stage() as staged:
            fill(staged)
            warehouse.publish(staged, record_of(staged))
            raise RuntimeError(staged.release_id)

    with pytest.raises(RuntimeError) as raised:
        run()
    assert warehouse.need_current().release_id == str(raised.value)
    assert contents(warehouse) == sorted(["CURRENT", "current", *contents_of_release(str(raised.value))])


def test_published_release_replaces_its_checkpoints(warehouse: Warehouse) -> None:
    publish(warehouse)
    checkpoints = warehouse.checkpoints(warehouse.current())
    (checkpoints / "model/part-0").mkdir(parents=True)
    publish_refused(warehouse, "similar.recall_floor")
    assert (checkpoints / "model/part-0").is_dir()  # the next run takes them
    publish(warehouse)
    assert not checkpoints.exists()


def test_folder_in_the_place_of_the_symlink_is_left_alone_and_named(warehouse: Warehouse) -> None:
    publish(warehouse)
    (warehouse.path / "current").unlink()
    (warehouse.path / "current").mkdir()
    (warehouse.path / "current" / "mine").write_text("")
    assert str(warehouse.path / "current") in refusal(lambda: publish(warehouse))
    assert (warehouse.path / "current" / "mine").exists()


def test_refused_release_is_set_aside_and_the_former_one_stays_current(warehouse: Warehouse) -> None:
    former = publish(warehouse)
    release_id, error = publish_refused(warehouse, "similar.recall_floor", "gates.max_failed_share")
    assert warehouse.need_current().release_id == former
    assert [release.release_id for release in warehouse.releases()] == [former]
    root = warehouse.path / "refused" / release_id
    (kept,) = warehouse.refused()
    assert (kept.root, kept.record().parent, len(kept.record().refusals)) == (root, former, 2)
    assert sorted(path.name for path in root.iterdir()) == sorted([*PARTS, "refused.json"])
    message = str(error)
    assert error.exit_code == 3
    assert "\n" not in message
    assert "previous release stays current" in message
    for part in (*kept.record().refusals, str(root)):
        assert part in message


def test_refused_first_release_leaves_the_warehouse_without_one(warehouse: Warehouse) -> None:
    release_id, _ = publish_refused(warehouse, "similar.recall_floor")
    assert warehouse.current() is None
    assert not (warehouse.path / "current").is_symlink()
    assert os.listdir(warehouse.path / "releases") == []
    assert os.listdir(warehouse.path / "refused") == [release_id]


def test_only_the_last_refused_release_is_kept(warehouse: Warehouse) -> None:
    refused = [publish_refused(warehouse, "similar.recall_floor")[0] for _ in range(3)]
    published = publish(warehouse)
    assert os.listdir(warehouse.path / "refused") == refused[-1:]
    assert warehouse.need_current().release_id == published


def test_roll_back_points_to_an_older_release_and_removes_nothing(warehouse: Warehouse) -> None:
    first, second, third = (publish(warehouse) for _ in range(3))
    warehouse.roll_back(warehouse.find(first))
    assert warehouse.need_current().release_id == first
    assert os.readlink(warehouse.path / "current") == f"releases/{first}"
    assert [release.release_id for release in warehouse.releases()] == [first, second, third]
    assert publish(warehouse) == warehouse.need_current().release_id
    assert warehouse.need_current().record().parent == first


def test_pointer_restored_from_a_copy_loses_no_release(warehouse: Warehouse) -> None:
    first = publish(warehouse)
    copy = (warehouse.path / "CURRENT").read_bytes()
    others = [publish(warehouse) for _ in range(2)]
    (warehouse.path / "CURRENT").write_bytes(copy)
    with warehouse.writer(TTL):
        assert warehouse.need_current().release_id == first
        assert [release.release_id for release in warehouse.releases()] == [first, *others]


def test_lost_pointer_is_named_before_anything_is_built(warehouse: Warehouse) -> None:
    ids = [publish(warehouse) for _ in range(2)]
    (warehouse.path / "CURRENT").unlink()
    with pytest.raises(WarehouseError, match="which names the current release, is gone; roll back to one"):
        publish(warehouse)
    assert [release.release_id for release in warehouse.releases()] == ids


def test_release_that_was_live_stays_when_its_run_ends_after_another_one_published(warehouse: Warehouse) -> None:
    with warehouse.writer(TTL), warehouse.stage() as late:
        fill(late)
        warehouse.publish(late, record_of(late))
        with warehouse.stage() as other:
            fill(other)
            warehouse.publish(other, record_of(other))
    assert [release.release_id for release in warehouse.releases()] == sorted([late.release_id, other.release_id])


def lose_lock(warehouse: Warehouse) -> None:
    """Another run has taken the lock from this one, and has swept what it wrote."""
    (warehouse.path / "LOCK.9").write_text('{"host": "another-host", "pid": 7, "started_at": "today"}')


@pytest.mark.parametrize(
    "action",
    [
        lambda warehouse, staged: warehouse.publish(staged, record_of(staged)),
        lambda warehouse, staged: warehouse.publish(staged, record_of(staged, gates=records.refused("gates.max_hub"))),
        lambda warehouse, _: warehouse.roll_back(warehouse.releases()[0]),
        lambda warehouse, _: warehouse.clean(keep=1, grace=0),
        lambda warehouse, _: warehouse.write_shown("shop", []),
        lambda _warehouse, staged: (staged.work / "swept").read_text(),
        lambda *_: 1 / 0,
    ],
    ids=["publish", "refuse", "roll back", "clean", "views", "read what is gone", "defect"],
)
def test_run_that_lost_its_lock_changes_nothing_and_says_so(warehouse: Warehouse, action: Callable[..., Any]) -> None:
    ids = [publish(warehouse) for _ in range(3)]
    publish_refused(warehouse, "gates.max_hub")
    before = contents(warehouse)

    def run() -> None:
        with warehouse.writer(TTL), warehouse.stage() as staged:
            fill(staged)
            lose_lock(warehouse)
            action(warehouse, staged)

    with pytest.raises(LockError, match="process 7 on another-host, started at today took the lock"):
        run()
    (warehouse.path / "LOCK.9").unlink()
    assert contents(warehouse) == before
    assert warehouse.need_current().release_id == ids[-1]


def test_steps_of_a_run_check_the_lock(warehouse: Warehouse) -> None:
    with warehouse.writer(TTL) as held:
        steps = Steps(held.check)
        with steps.step("read", "x"):
            lose_lock(warehouse)
        with pytest.raises(LockError), steps.step("embed", "x"):
            pass


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


def test_release_ids_are_unique_and_those_of_a_later_moment_sort_later(warehouse: Warehouse) -> None:
    def staged_ids(count: int) -> list[str]:
        ids = []
        for _ in range(count):
            with warehouse.stage() as staged:
                ids.append(staged.release_id)
        return ids

    early = staged_ids(50)
    time.sleep(0.001)
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
            for find in (self._by_pointer, self._by_symlink):
                try:
                    self.seen.append(self._read(find()))
                except Exception as error:  # noqa: BLE001 - any error of a reader is a finding
                    self.torn.append(repr(error))

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def _by_pointer(self) -> Path:
        return self._warehouse.need_current().root

    def _by_symlink(self) -> Path:
        return self._warehouse.path / os.readlink(self._warehouse.path / "current")

    @staticmethod
    def _read(root: Path) -> str:
        release_id = str(json.loads((root / "release.json").read_text())["release_id"])
        assert release_id == root.name
        for part in PARTS:
            assert (root / part / "part-0").read_text() == release_id
        return release_id


def test_reader_finds_a_complete_release_at_every_moment_of_200_publishes(warehouse: Warehouse) -> None:
    published = [publish(warehouse)]
    reader = Reader(warehouse)
    reader.start()
    try:
        published += [publish(warehouse) for _ in range(200)]
    finally:
        reader.stop()
    assert reader.torn == []
    assert len(set(reader.seen)) > 10  # it did read in between
    assert set(reader.seen) <= set(published)


def test_lost_pointer_is_noticed_next_to_a_damaged_release(warehouse: Warehouse) -> None:
    first = publish(warehouse)
    publish(warehouse)
    warehouse.find(first).record_path.write_text("{")
    (warehouse.path / "CURRENT").unlink()
    with warehouse.writer(TTL):
        assert "CURRENT, which names the current release, is gone" in refusal(warehouse.stage().__enter__)
