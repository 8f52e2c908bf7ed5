"""What a reader asks of a warehouse: the current release, and others by their ids."""

from __future__ import annotations

from lookalike.warehouse.local import Warehouse
from support.warehouses import publish, refusal


def test_new_warehouse_has_no_current_release_and_reading_it_creates_nothing(
    warehouse: Warehouse,
) -> None:
    assert warehouse.current() is None
    assert warehouse.releases() == []
    assert "holds no release yet" in refusal(warehouse.need_current)
    assert not warehouse.path.exists()


def test_release_is_found_by_its_id_or_by_the_only_one_that_begins_so(warehouse: Warehouse) -> None:
    first, second = publish(warehouse), publish(warehouse)
    assert warehouse.find(first).release_id == first
    assert warehouse.find(second[:-1]).release_id == second
    assert "several releases begin with '2'" in refusal(lambda: warehouse.find("2"))
    assert "there is no release ''" in refusal(lambda: warehouse.find(""))  # as of a shell's unset variable
    assert "there is no release '1999'" in refusal(lambda: warehouse.find("1999"))


def test_release_is_found_by_its_whole_id_when_that_is_the_beginning_of_another_id(warehouse: Warehouse) -> None:
    release_id = publish(warehouse)
    longer = warehouse.path / "releases" / f"{release_id}-2"
    longer.mkdir()
    (longer / "release.json").write_text("{}")
    assert warehouse.find(release_id).release_id == release_id


def test_current_release_that_was_removed_by_hand_is_named(warehouse: Warehouse) -> None:
    release_id = publish(warehouse)
    (warehouse.path / "current" / "release.json").unlink()
    assert f"names the release {release_id}, which is gone" in refusal(warehouse.current)
