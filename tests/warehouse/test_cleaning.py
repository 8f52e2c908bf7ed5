"""Which releases a clean-up removes, and which it keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lookalike.errors import WarehouseError
from lookalike.storage import json_file
from lookalike.warehouse.local import Warehouse
from support.warehouses import contents, contents_of_release, flips, pointer_file, publish, refusal


def test_clean_keeps_the_newest_and_the_current_one(warehouse: Warehouse) -> None:
    ids = [publish(warehouse) for _ in range(5)]
    warehouse.roll_back(warehouse.find(ids[1]))
    cleaned = warehouse.clean(keep=2, grace=0)
    assert [release.release_id for release in cleaned.removed] == [ids[0], ids[2]]
    assert cleaned.kept == {ids[1]: "current", ids[3]: "of the 2 newest", ids[4]: "of the 2 newest"}
    assert [release.release_id for release in warehouse.releases()] == [ids[1], ids[3], ids[4]]
    assert [release.release_id for release in warehouse.clean(keep=0, grace=0).removed] == ids[3:]
    assert contents(warehouse) == sorted(["CURRENT", "current", *contents_of_release(ids[1])])
    assert warehouse.clean(keep=0, grace=0).removed == []


@pytest.mark.parametrize("keep", [3, 4, 100])
def test_clean_that_keeps_as_many_as_there_are_removes_none(warehouse: Warehouse, keep: int) -> None:
    ids = [publish(warehouse) for _ in range(3)]
    assert warehouse.clean(keep, grace=0).removed == []
    assert [release.release_id for release in warehouse.releases()] == ids


def test_clean_keeps_what_a_reader_may_still_read(warehouse: Warehouse) -> None:
    """Of two former releases one was current until two hours ago, the other until half an hour ago."""
    first, second, _third = (publish(warehouse) for _ in range(3))
    content = pointer_file(warehouse)
    for old, minutes in zip(content["earlier"], (30, 120), strict=True):
        old["until"] = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()
    (warehouse.path / "CURRENT").write_text(json.dumps(content))
    assert [release.release_id for release in warehouse.clean(keep=0, grace=3600).removed] == [first]
    assert [release.release_id for release in warehouse.clean(keep=0, grace=0).removed] == [second]


def test_clean_keeps_what_sql_views_show(warehouse: Warehouse) -> None:
    first, second, third, last = (publish(warehouse) for _ in range(4))
    warehouse.write_shown("shop", [second, second, "gone"])
    warehouse.write_shown("test", [third])
    assert warehouse.shown == {"shop": [second], "test": [third]}
    cleaned = warehouse.clean(keep=0, grace=0)
    assert [release.release_id for release in cleaned.removed] == [first]
    assert cleaned.kept == {
        second: "shown by the views of the database shop",
        third: "shown by the views of the database test",
        last: "current",
    }


@pytest.mark.parametrize("damaged", [b"", b"[1]", b"\xff", b'{"shop": 3}'])
def test_clean_removes_nothing_when_the_file_of_views_is_damaged(warehouse: Warehouse, damaged: bytes) -> None:
    ids = [publish(warehouse) for _ in range(2)]
    (warehouse.path / "VIEWS").write_bytes(damaged)
    assert "remove it and run `lookalike releases publish`" in refusal(lambda: warehouse.clean(keep=0, grace=0))
    assert [release.release_id for release in warehouse.releases()] == ids


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("{")], ids=["gone", "damaged"])
def test_clean_removes_nothing_when_the_pointer_is_gone_or_damaged(
    warehouse: Warehouse, damage: Callable[[Path], object]
) -> None:
    ids = [publish(warehouse) for _ in range(2)]
    damage(warehouse.path / "CURRENT")
    assert str(warehouse.path / "CURRENT") in refusal(lambda: warehouse.clean(keep=0, grace=0))
    assert [release.release_id for release in warehouse.releases()] == ids


@pytest.mark.parametrize("name", ["CURRENT", "VIEWS"])
def test_clean_believes_no_flipped_bit(warehouse: Warehouse, name: str) -> None:
    """Each release is spared for one reason: it is current, its readers may still read it, views show it."""
    shown, _, current = ids = [publish(warehouse) for _ in range(3)]
    warehouse.write_shown("shop", [shown])
    content = pointer_file(warehouse)
    content["earlier"] = [one for one in content["earlier"] if one["release_id"] != shown]
    (warehouse.path / "CURRENT").write_bytes(json_file.sealed(content))
    refused = []
    for damaged in flips((warehouse.path / name).read_bytes()):
        (warehouse.path / name).write_bytes(damaged)
        try:
            assert warehouse.clean(keep=0, grace=3600).removed == []
            assert warehouse.need_current().release_id == current
        except WarehouseError as error:
            refused.append(str(error))
    assert len(refused) > 300  # all but those in the name of the checksum, of which the content is whole
    assert all(f"{warehouse.path / name} " in line for line in refused)
    assert [release.release_id for release in warehouse.releases()] == ids


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("{")], ids=["gone", "damaged"])
def test_roll_back_that_finds_no_history_spares_all_releases_within_the_grace(
    warehouse: Warehouse, damage: Callable[[Path], object]
) -> None:
    ids = [publish(warehouse) for _ in range(4)]
    damage(warehouse.path / "CURRENT")
    warehouse.roll_back(warehouse.find(ids[1]))
    assert warehouse.clean(keep=0, grace=3600).removed == []
    assert [release.release_id for release in warehouse.clean(keep=0, grace=0).removed] == [ids[0], *ids[2:]]
