"""What the last releases took."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from lookalike.pages import timings
from lookalike.warehouse.local import Warehouse
from support import records
from support.warehouses import publish


def test_longest_step_has_the_longest_bar() -> None:
    found = timings.of(records.record(seconds={"read": 1.0, "embed": 4.0, "quality": 0.0}), [])
    assert [(bar.name, bar.share) for bar in found.steps] == [("read", 25), ("embed", 100), ("quality", 0)]


def test_bars_of_steps_that_took_no_time_are_empty() -> None:
    assert [bar.share for bar in timings.of(records.record(seconds={"read": 0.0}), []).steps] == [0]


def test_longest_steps_of_all_releases_are_named_and_the_rest_added_up() -> None:
    one = records.record(seconds={"a": 1.0, "b": 9.0, "c": 8.0, "d": 7.0, "e": 6.0, "f": 0.5})
    old = records.record(created_at=datetime(2025, 12, 31, 9, 5, tzinfo=UTC), seconds={"b": 2.0, "f": 50.0})
    found = timings.of(one, [records.record(seconds={}), old])  # the first was not timed
    assert found.seconds == {
        "b": [2.0, 9.0],
        "c": [0.0, 8.0],
        "d": [0.0, 7.0],
        "f": [50.0, 0.5],
        "other steps": [0.0, 7.0],
    }
    assert list(found.names) == ["31 Dec", "2 Jan"]
    assert list(found.dates) == ["31 Dec, 09:05", "2 Jan, 03:04"]


def test_releases_of_one_day_have_their_times() -> None:
    moments = [datetime(2026, 1, day, hour, 5, tzinfo=UTC) for day, hour in ((1, 9), (2, 9), (2, 17))]
    assert timings.names(moments[:2]) == ["1 Jan", "2 Jan"]
    assert timings.names(moments) == ["1 Jan\n09:05", "2 Jan\n09:05", "2 Jan\n17:05"]


def test_records_are_those_of_the_newest_releases_without_damaged_ones(tmp_path: Path) -> None:
    warehouse = Warehouse(str(tmp_path))
    ids = [publish(warehouse) for _ in range(4)]
    (tmp_path / "releases" / ids[2] / "release.json").write_text("{")
    found = timings.last_records(warehouse.releases(), 3)
    assert [record.release_id for record in found] == [ids[1], ids[3]]
