"""The warehouse: what is staged, what becomes current, and what a reader sees meanwhile."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lookalike.errors import GateError, WarehouseError
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.record import ReleaseRecord
from lookalike.warehouse.release import ReleaseFolder, Staged
from support import records

TTL = 60.0
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


def record_of(staged: Staged, **sections: Any) -> ReleaseRecord:
    return records.record(staged.release_id, staged.parent_id, **sections)


def publish(warehouse: Warehouse, **sections: Any) -> str:
    with warehouse.writer(TTL) as held, warehouse.stage() as staged:
        fill(staged)
        warehouse.publish(staged, record_of(staged, **sections), held)
    return staged.release_id


def publish_refused(warehouse: Warehouse, *keys: str) -> tuple[str, GateError]:
    """A run that these gates refuse."""
    with warehouse.writer(TTL) as held, warehouse.stage() as staged:
        fill(staged)
        with pytest.raises(GateError) as raised:
            warehouse.publish(staged, record_of(staged, gates=records.refused(*keys)), held)
    return staged.release_id, raised.value


def pointer(warehouse: Warehouse) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((warehouse.path / "CURRENT").read_text())
    return content


def fail(warehouse: Warehouse, error: type[BaseException]) -> None:
    """A run that stops halfway."""
    with warehouse.writer(TTL), warehouse.stage() as staged:
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
    assert warehouse.releases() == []
    assert "holds no release yet" in refusal(warehouse.need_current)
    assert not warehouse.path.exists()


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
        assert pointer(warehouse)["release_id"] == release_id
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
        with warehouse.writer(TTL) as held, warehouse.stage() as staged:
            fill(staged)
            warehouse.publish(staged, record_of(staged), held)
            raise RuntimeError(staged.release_id)

    with pytest.raises(RuntimeError) as raised:
        run()
    assert warehouse.need_current().release_id == str(raised.value)
    assert contents(warehouse) == sorted(["CURRENT", "current", *contents_of_release(str(raised.value))])


LEFTOVERS = (
    "releases/20200101T000000Z-abcdef/embeddings/part-0",
    "work/20200101T000000Z-abcdef/outcomes",
    "checkpoints/first/model/part-0",
    "staging/first/model/part-0",  # of a version before 0.2.0
    "models/.model.a1b2",
    ".CURRENT.a1b2",
    ".current.a1b2",
)


def test_leftovers_of_a_killed_run_do_not_disturb_the_next_and_are_swept(warehouse: Warehouse) -> None:
    former = publish(warehouse)
    for name in LEFTOVERS:
        (warehouse.path / name).parent.mkdir(parents=True, exist_ok=True)
        (warehouse.path / name).write_text("half of it")
    (warehouse.path / "models" / "model").write_text("whole")
    (warehouse.path / "releases" / former / ".release.json.tmp").write_text("{")
    assert warehouse.need_current().release_id == former
    assert [release.release_id for release in warehouse.releases()] == [former]
    latest = publish(warehouse)
    assert warehouse.need_current().release_id == latest
    assert contents(warehouse) == sorted(
        [
            *("CURRENT", "checkpoints", "current", "models", "models/model"),
            *(name for release_id in (former, latest) for name in contents_of_release(release_id)),
            f"releases/{former}/.release.json.tmp",
        ]
    )


def test_writer_keeps_what_runs_upon_the_current_release_have_finished(warehouse: Warehouse) -> None:
    publish(warehouse)
    checkpoints = warehouse.checkpoints(warehouse.current())
    for folder in (checkpoints, checkpoints.with_name("another"), warehouse.checkpoints(None)):
        (folder / "model/part-0").mkdir(parents=True)
    with warehouse.writer(TTL):
        assert [path.name for path in checkpoints.rglob("part-*")] == ["part-0"]
        assert list(checkpoints.parent.iterdir()) == [checkpoints]


def test_published_release_replaces_its_checkpoints(warehouse: Warehouse) -> None:
    publish(warehouse)
    checkpoints = warehouse.checkpoints(warehouse.current())
    (checkpoints / "model/part-0").mkdir(parents=True)
    publish_refused(warehouse, "similar.recall_floor")
    assert (checkpoints / "model/part-0").is_dir()  # the next run takes them
    publish(warehouse)
    assert not checkpoints.exists()


def test_symlink_that_a_killed_run_did_not_swap_is_swapped_by_the_next(warehouse: Warehouse) -> None:
    first, second = publish(warehouse), publish(warehouse)
    for stale in (f"releases/{first}", "releases/gone"):
        (warehouse.path / "current").unlink()
        (warehouse.path / "current").symlink_to(stale)
        with warehouse.writer(TTL):
            assert os.readlink(warehouse.path / "current") == f"releases/{second}"


def test_folder_in_the_place_of_the_symlink_is_left_alone_and_named(warehouse: Warehouse) -> None:
    publish(warehouse)
    (warehouse.path / "current").unlink()
    (warehouse.path / "current").mkdir()
    (warehouse.path / "current" / "mine").write_text("")
    assert str(warehouse.path / "current") in refusal(lambda: publish(warehouse))
    assert (warehouse.path / "current" / "mine").exists()


# --- refused releases


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


# --- going back, and cleaning up


def test_roll_back_points_to_an_older_release_and_removes_nothing(warehouse: Warehouse) -> None:
    first, second, third = (publish(warehouse) for _ in range(3))
    warehouse.roll_back(warehouse.find(first))
    assert warehouse.need_current().release_id == first
    assert os.readlink(warehouse.path / "current") == f"releases/{first}"
    assert [release.release_id for release in warehouse.releases()] == [first, second, third]
    assert publish(warehouse) == warehouse.need_current().release_id
    assert warehouse.need_current().record().parent == first


def test_pointer_names_each_release_that_was_current_once_the_latest_first(warehouse: Warehouse) -> None:
    assert publish(warehouse)
    first = warehouse.need_current()
    second, third = publish(warehouse), publish(warehouse)
    assert [old["release_id"] for old in pointer(warehouse)["earlier"]] == [second, first.release_id]
    warehouse.roll_back(first)
    warehouse.roll_back(first)
    content = pointer(warehouse)
    assert [old["release_id"] for old in content["earlier"]] == [third, second]
    assert content["earlier"][0]["until"] <= content["since"]


def test_roll_back_mends_a_damaged_pointer(warehouse: Warehouse) -> None:
    release_id = publish(warehouse)
    (warehouse.path / "CURRENT").write_text("{")
    warehouse.roll_back(warehouse.find(release_id))
    assert warehouse.need_current().release_id == release_id


def test_pointer_restored_from_a_copy_costs_no_release(warehouse: Warehouse) -> None:
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
    with warehouse.writer(TTL) as held, warehouse.stage() as late:
        fill(late)
        warehouse.publish(late, record_of(late), held)
        with warehouse.stage() as other:
            fill(other)
            warehouse.publish(other, record_of(other), held)
    assert [release.release_id for release in warehouse.releases()] == sorted([late.release_id, other.release_id])


def test_release_is_found_by_its_id_or_by_the_only_one_that_begins_so(warehouse: Warehouse) -> None:
    first, second = publish(warehouse), publish(warehouse)
    assert warehouse.find(first).release_id == first
    assert warehouse.find(second[:-1]).release_id == second
    assert "several releases begin with '2'" in refusal(lambda: warehouse.find("2"))
    assert "there is no release '1999'" in refusal(lambda: warehouse.find("1999"))


def test_release_whose_id_is_the_beginning_of_another_s_is_found(warehouse: Warehouse) -> None:
    release_id = publish(warehouse)
    longer = warehouse.path / "releases" / f"{release_id}-2"
    longer.mkdir()
    (longer / "release.json").write_text("{}")
    assert warehouse.find(release_id).release_id == release_id


def test_clean_keeps_the_newest_and_the_current_one(warehouse: Warehouse) -> None:
    ids = [publish(warehouse) for _ in range(5)]
    warehouse.roll_back(warehouse.find(ids[1]))
    cleaned = warehouse.clean(keep=2, grace=0)
    assert [release.release_id for release in cleaned.gone] == [ids[0], ids[2]]
    assert cleaned.kept == {ids[1]: "current", ids[3]: "of the 2 newest", ids[4]: "of the 2 newest"}
    assert [release.release_id for release in warehouse.releases()] == [ids[1], ids[3], ids[4]]
    assert [release.release_id for release in warehouse.clean(keep=0, grace=0).gone] == ids[3:]
    assert contents(warehouse) == sorted(["CURRENT", "current", *contents_of_release(ids[1])])
    assert warehouse.clean(keep=0, grace=0).gone == []


@pytest.mark.parametrize("keep", [3, 4, 100])
def test_clean_that_keeps_all_there_are_removes_none(warehouse: Warehouse, keep: int) -> None:
    ids = [publish(warehouse) for _ in range(3)]
    assert warehouse.clean(keep, grace=0).gone == []
    assert [release.release_id for release in warehouse.releases()] == ids


def test_clean_spares_what_a_reader_may_still_read(warehouse: Warehouse) -> None:
    """Of two former releases one was current until two hours ago, the other until half an hour ago."""
    first, second, _third = (publish(warehouse) for _ in range(3))
    content = pointer(warehouse)
    for old, minutes in zip(content["earlier"], (30, 120), strict=True):
        old["until"] = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()
    (warehouse.path / "CURRENT").write_text(json.dumps(content))
    assert [release.release_id for release in warehouse.clean(keep=0, grace=3600).gone] == [first]
    assert [release.release_id for release in warehouse.clean(keep=0, grace=0).gone] == [second]


def test_clean_spares_what_sql_views_show(warehouse: Warehouse) -> None:
    first, second, third, last = (publish(warehouse) for _ in range(4))
    warehouse.note_shown("shop", [second, second, "gone"])
    warehouse.note_shown("test", [third])
    assert warehouse.shown == {"shop": [second], "test": [third]}
    cleaned = warehouse.clean(keep=0, grace=0)
    assert [release.release_id for release in cleaned.gone] == [first]
    assert cleaned.kept == {
        second: "shown by the views of the database shop",
        third: "shown by the views of the database test",
        last: "current",
    }


@pytest.mark.parametrize("damaged", [b"", b"[1]", b"\xff", b'{"shop": 3}'])
def test_clean_removes_nothing_while_nobody_can_tell_what_views_show(warehouse: Warehouse, damaged: bytes) -> None:
    ids = [publish(warehouse) for _ in range(2)]
    (warehouse.path / "VIEWS").write_bytes(damaged)
    assert "remove it and run `lookalike releases publish-views`" in refusal(lambda: warehouse.clean(keep=0, grace=0))
    assert [release.release_id for release in warehouse.releases()] == ids


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("{")], ids=["gone", "damaged"])
def test_clean_removes_nothing_while_nobody_can_tell_what_is_current(
    warehouse: Warehouse, damage: Callable[[Path], object]
) -> None:
    ids = [publish(warehouse) for _ in range(2)]
    damage(warehouse.path / "CURRENT")
    assert str(warehouse.path / "CURRENT") in refusal(lambda: warehouse.clean(keep=0, grace=0))
    assert [release.release_id for release in warehouse.releases()] == ids


def test_release_that_was_removed_by_hand_is_named(warehouse: Warehouse) -> None:
    release_id = publish(warehouse)
    (warehouse.path / "current" / "release.json").unlink()
    assert f"names the release {release_id}, which is gone" in refusal(warehouse.current)


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_damaged_record_is_named(warehouse: Warehouse, damaged: bytes) -> None:
    publish(warehouse)
    current = warehouse.need_current()
    current.record_path.write_bytes(damaged)
    assert str(current.record_path) in refusal(current.record)


def test_staged_release_links_the_files_of_another(warehouse: Warehouse) -> None:
    publish(warehouse)
    former = warehouse.need_current()
    (former.index / "deep").mkdir()
    (former.index / "deep" / "part-1").write_text("deep")
    with warehouse.stage() as staged:
        assert staged.parent == former
        staged.link_folder(former.index)
        assert (staged.index / "part-0").read_text() == former.release_id
        assert (staged.index / "deep" / "part-1").read_text() == "deep"
    assert (former.index / "part-0").read_text() == former.release_id


# --- a warehouse that is not as it should be


@pytest.mark.parametrize(
    "damaged",
    [b"", b"{", b"[]", b"{}", b'"id"', b"17", b"null", b"\xff\xfe", b'{"release": "x"}', b'{"release_id": "../.."}'],
    ids=repr,
)
def test_damaged_pointer_is_named(warehouse: Warehouse, damaged: bytes) -> None:
    publish(warehouse)
    (warehouse.path / "CURRENT").write_bytes(damaged)
    for action in (warehouse.current, warehouse.need_current, lambda: publish(warehouse)):
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
    assert Warehouse(f"file://{warehouse.path}").need_current().release_id == release_id


def test_relative_path_is_kept_when_the_working_folder_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    relative = Warehouse("warehouse")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    release_id = publish(relative)
    assert (tmp_path / "warehouse" / "current" / "release.json").exists()
    assert relative.need_current().release_id == release_id


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
        return self._warehouse.need_current().root

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
