"""What killed runs leave, and what of it the next run removes."""

from __future__ import annotations

import os

from lookalike.warehouse.local import Warehouse
from support.warehouses import TTL, contents, contents_of_release, publish

LEFTOVERS = (
    "releases/20200101T000000Z-abcdef/embeddings/part-0",
    "work/20200101T000000Z-abcdef/outcomes",
    "checkpoints/first/model/part-0",
    "staging/first/model/part-0",  # of a version before 0.2.0
    "models/.model.a1b2",
    ".CURRENT.a1b2",
    ".current.a1b2",
)


def test_leftovers_of_a_killed_run_do_not_disturb_the_next_run_which_removes_them(warehouse: Warehouse) -> None:
    former = publish(warehouse)
    for name in LEFTOVERS:
        (warehouse.path / name).parent.mkdir(parents=True, exist_ok=True)
        (warehouse.path / name).write_text("half of it")
    (warehouse.path / "models" / "model").write_text("complete")
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


def test_writer_keeps_the_checkpoints_of_the_current_release_only(warehouse: Warehouse) -> None:
    publish(warehouse)
    checkpoints = warehouse.checkpoints(warehouse.current())
    for folder in (checkpoints, checkpoints.with_name("another"), warehouse.checkpoints(None)):
        (folder / "model/part-0").mkdir(parents=True)
    with warehouse.writer(TTL):
        assert [path.name for path in checkpoints.rglob("part-*")] == ["part-0"]
        assert list(checkpoints.parent.iterdir()) == [checkpoints]


def test_next_run_swaps_the_symlink_that_a_killed_run_did_not_swap(warehouse: Warehouse) -> None:
    first, second = publish(warehouse), publish(warehouse)
    for stale in (f"releases/{first}", "releases/gone"):
        (warehouse.path / "current").unlink()
        (warehouse.path / "current").symlink_to(stale)
        with warehouse.writer(TTL):
            assert os.readlink(warehouse.path / "current") == f"releases/{second}"
