"""Each operation on a file fails, or is the last before a SIGKILL: what is published stays whole, the next run works.

The operations of Python are counted: all calls of `os` and `open` that a run of a warehouse makes.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import typer

from lookalike.cli import exits
from lookalike.errors import GateError
from lookalike.warehouse.local import Warehouse
from support import records
from support.warehouses import PARTS, TTL, fill, publish, record_of

CALLS = (
    *(
        "open",
        "mkdir",
        "rmdir",
        "unlink",
        "remove",
        "replace",
        "rename",
        "link",
        "symlink",
        "readlink",
        "chmod",
        "fsync",
    ),
    *("stat", "lstat", "fstat", "listdir", "scandir", "write", "utime"),
)
CODES = (errno.EIO, errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ENOENT)


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


class Fault:
    """The call with a number fails; with `kills`, all later ones too."""

    def __init__(self, number: int, *, kills: bool) -> None:
        self.number, self.kills, self.calls = number, kills, 0

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            self.calls += 1
            if self.kills and self.calls >= self.number:
                raise Killed
            if self.calls == self.number:
                code = CODES[self.number % len(CODES)]
                raise OSError(code, os.strerror(code), args[0] if isinstance(args[0], str | Path) else None)
            return call(*args, **options)

        return counted

    @contextmanager
    def active(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, self.around(getattr(os, name)))
            for module in (io, builtins):
                patch.setattr(module, "open", self.around(open))
            yield


def run(warehouse: Warehouse, **sections: Any) -> None:
    with warehouse.writer(TTL), warehouse.stage() as staged:
        fill(staged)
        warehouse.publish(staged, record_of(staged, **sections))


def refused(warehouse: Warehouse) -> None:
    with suppress(GateError):
        run(warehouse, gates=records.refused("gates.max_hub"))


def roll_back(warehouse: Warehouse) -> None:
    with warehouse.writer(TTL):
        warehouse.roll_back(warehouse.previous())


def clean(warehouse: Warehouse) -> None:
    with warehouse.writer(TTL):
        warehouse.clean(keep=1, grace=0)


def left_by_the_dead(warehouse: Warehouse) -> None:
    """What the sweep removes."""
    for name in ("work/x", "checkpoints/gone", "releases/20200101T000000.000000Z-abcdef"):
        (warehouse.path / name).mkdir(parents=True)
        (warehouse.path / name / "part-0").write_text("")
    (warehouse.path / ".CURRENT.x").write_text("")
    (warehouse.path / "current").unlink()


def check_whole(warehouse: Warehouse, release_id: str) -> None:
    root = warehouse.path / "releases" / release_id
    assert warehouse.find(release_id).record().release_id == release_id
    assert [(root / part / "part-0").read_text() for part in PARTS] == [release_id] * len(PARTS)


def check_next_run(warehouse: Warehouse) -> None:
    """It publishes, and leaves nothing behind of the one that failed."""
    for lock in warehouse.path.glob("LOCK.*"):
        if not lock.stat().st_size:  # killed before it wrote its name: so it holds for the time to live
            lock.unlink()
    release_id = publish(warehouse)
    check_whole(warehouse, release_id)
    assert os.readlink(warehouse.path / "current") == f"releases/{release_id}"
    found = {path.name for path in warehouse.path.iterdir()}
    assert found - {"refused", "checkpoints"} == {"CURRENT", "current", "releases", "work"}
    assert os.listdir(warehouse.path / "work") == []
    for root in (warehouse.path / "releases").iterdir():
        assert (root / "release.json").is_file()


@pytest.fixture
def warehouse() -> Iterator[Warehouse]:
    """In memory where the system has such a folder: on a disk the hundreds of copies take three times as long."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Warehouse(f"{folder}/warehouse")


@pytest.mark.parametrize("kills", [False, True], ids=["fails", "is the last one"])
@pytest.mark.parametrize("story", [run, refused, roll_back, clean], ids=lambda story: story.__name__)
def test_whichever_operation(
    warehouse: Warehouse, story: Callable[[Warehouse], None], kills: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # 5 ms each, and no crash of the machine to survive here
    first, current = publish(warehouse), publish(warehouse)
    left_by_the_dead(warehouse)
    pristine = warehouse.path.rename(warehouse.path.with_name("pristine"))
    number, calls = 0, 1
    while number < calls:
        number += 1
        shutil.copytree(pristine, warehouse.path, symlinks=True)
        fault = Fault(number, kills=kills)
        with suppress(Killed, typer.Exit), fault.active(), exits.exit_code():  # what has no name is raised
            story(warehouse)
        calls = fault.calls if number > fault.calls else max(calls, number + 1)
        now = warehouse.need_current().release_id
        check_whole(warehouse, now)
        assert now in {current, first} if story is roll_back else now >= current
        if story is not clean:
            check_whole(warehouse, first)
            check_whole(warehouse, current)
        check_next_run(warehouse)
        shutil.rmtree(warehouse.path)
    assert number > 50
