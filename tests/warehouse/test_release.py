"""A release's folder: its record, and files linked from another."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder
from support.warehouses import publish, refusal


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


def test_warehouse_of_a_release_is_two_folders_up_or_the_root() -> None:
    assert ReleaseFolder(Path("/data/lookalike/releases/r1")).warehouse == Path("/data/lookalike")
    assert ReleaseFolder(Path("/release")).warehouse == Path("/")
