"""Releases of a few small files, published without Spark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lookalike.errors import GateError, WarehouseError
from lookalike.storage import json_file
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.record import ReleaseRecord
from lookalike.warehouse.release import Staged
from support import records

TTL = 60.0
PARTS = ("embeddings", "failures", "index", "similar_items")


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
    with warehouse.writer(TTL), warehouse.stage() as staged:
        fill(staged)
        warehouse.publish(staged, record_of(staged, **sections))
    return staged.release_id


def publish_refused(warehouse: Warehouse, *keys: str) -> tuple[str, GateError]:
    """A run that these gates refuse."""
    with warehouse.writer(TTL), warehouse.stage() as staged:
        fill(staged)
        with pytest.raises(GateError) as raised:
            warehouse.publish(staged, record_of(staged, gates=records.refused(*keys)))
    return staged.release_id, raised.value


def pointer_file(warehouse: Warehouse) -> dict[str, Any]:
    """What CURRENT says, without its checksum."""
    return json_file.unsealed((warehouse.path / "CURRENT").read_bytes())


def flips(data: bytes) -> Iterator[bytes]:
    """The same bytes with one bit changed: of each byte two or three, one at a time."""
    for bit in range(0, 8 * len(data), 3):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        yield bytes(damaged)


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
