"""CURRENT: its history, and what is done when it is damaged or newer."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lookalike.errors import NewerVersionError
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.pointer import FormerRelease, Pointer, moved
from lookalike.warehouse.stored import SCHEMA_VERSION
from support.warehouses import pointer_file, publish, refusal


def test_pointer_names_each_release_that_was_current_once_the_latest_first(warehouse: Warehouse) -> None:
    assert publish(warehouse)
    first = warehouse.need_current()
    second, third = publish(warehouse), publish(warehouse)
    assert [old["release_id"] for old in pointer_file(warehouse)["earlier"]] == [second, first.release_id]
    warehouse.roll_back(first)
    warehouse.roll_back(first)
    content = pointer_file(warehouse)
    assert [old["release_id"] for old in content["earlier"]] == [third, second]
    assert content["earlier"][0]["until"] <= content["since"]


def test_roll_back_repairs_a_damaged_pointer(warehouse: Warehouse) -> None:
    release_id = publish(warehouse)
    (warehouse.path / "CURRENT").write_text("{")
    warehouse.roll_back(warehouse.find(release_id))
    assert warehouse.need_current().release_id == release_id


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'"id"',
        b"17",
        b"null",
        b"\xff\xfe",
        b'{"release": "x"}',
        b'{"release_id": "../.."}',
        b'{"release_id": "' + b"a" * 400 + b'"}',  # longer than the name of a file can be
        b'{"release_id": "a", "earlier": [{"release_id": "../b", "until": "2026-01-01T00:00:00Z"}]}',
        b'{"release_id": "a", "schema_version": "3"}',
        b'{"release_id": "a", "earlier": [{"release_id": "b", "until": "2026-01-01"}]}',
    ],
    ids=repr,
)
def test_damaged_pointer_is_named(warehouse: Warehouse, damaged: bytes) -> None:
    publish(warehouse)
    (warehouse.path / "CURRENT").write_bytes(damaged)
    for action in (warehouse.current, warehouse.need_current, lambda: publish(warehouse)):
        line = refusal(action)
        assert str(warehouse.path / "CURRENT") in line
        assert "`lookalike releases rollback RELEASE` repairs it" in line


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path.name)])
def test_pointer_that_is_no_file_is_named(warehouse: Warehouse, make: Callable[[Path], object]) -> None:
    warehouse.path.mkdir()
    make(warehouse.path / "CURRENT")
    assert str(warehouse.path / "CURRENT") in refusal(warehouse.current)


def test_history_has_each_release_once_with_its_latest_time_and_none_that_is_gone() -> None:
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    earlier = tuple(FormerRelease(release_id=name, until=early) for name in ("b", "c", "gone", "a"))
    was = Pointer(release_id="a", since=early, earlier=earlier)
    pointer = moved(was, "b", late, exists=lambda release_id: release_id != "gone")
    assert (pointer.release_id, pointer.since) == ("b", late)
    assert pointer.earlier == (FormerRelease(release_id="a", until=late), FormerRelease(release_id="c", until=early))
    assert pointer.until == {"a": late, "c": early}


def test_pointer_of_version_0_1_0_is_read(warehouse: Warehouse) -> None:
    first, second = publish(warehouse), publish(warehouse)
    content = pointer_file(warehouse)
    del content["schema_version"]
    (warehouse.path / "CURRENT").write_text(json.dumps(content))
    pointer = warehouse.pointer()
    assert pointer is not None
    assert (pointer.release_id, list(pointer.until)) == (second, [first])


def test_pointer_of_a_newer_version_is_named_and_not_replaced(warehouse: Warehouse) -> None:
    first, second = publish(warehouse), publish(warehouse)
    newer = json.dumps({"schema_version": SCHEMA_VERSION + 1, "release": second})
    (warehouse.path / "CURRENT").write_text(newer)
    for action in (warehouse.current, lambda: publish(warehouse), lambda: warehouse.roll_back(warehouse.find(first))):
        with pytest.raises(NewerVersionError, match="upgrade lookalike"):
            action()
    assert (warehouse.path / "CURRENT").read_text() == newer
    assert [release.release_id for release in warehouse.releases()] == [first, second]
