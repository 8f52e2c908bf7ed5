"""The lock of a warehouse, held and fought for by real processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

from lookalike.errors import LockError, WarehouseError
from lookalike.warehouse import lock

HOUR = 3600.0

# Takes the lock of a folder at a given time, says what came of it, and lets go when told to.
CONTENDER = """
import sys, time
from pathlib import Path
from lookalike.warehouse import lock
from lookalike.errors import LockError

for line in sys.stdin:
    folder, ttl, moment = line.split()
    while time.time() < float(moment):
        pass
    try:
        with lock.hold(Path(folder), float(ttl)) as held:
            print("held", flush=True)
            while (command := sys.stdin.readline().strip()) == "check":
                try:
                    held.check()
                    print("still held", flush=True)
                except LockError as error:
                    print(error, flush=True)
        print("released", flush=True)
    except LockError as error:
        print(error, flush=True)
"""


class Contender:
    """Another process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def take(self, folder: Path, ttl: float = HOUR, moment: float = 0) -> str:
        """What it says of its attempt."""
        self.tell(f"{folder} {ttl} {moment}")
        return self.hear()

    def ask(self, command: str) -> str:
        self.tell(command)
        return self.hear()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def contender() -> Iterator[Contender]:
    command = [sys.executable, "-c", CONTENDER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Contender(process)
        finally:
            process.kill()


@pytest.fixture
def other() -> Iterator[Contender]:
    with contender() as process:
        yield process


def refusal(folder: Path, ttl: float = HOUR) -> str:
    """What this process is told when it wants the lock too: one line, and exit code 1."""
    with pytest.raises(LockError) as raised, lock.hold(folder, ttl):
        pass
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == 1
    return str(raised.value)


def left_by(folder: Path, host: str, untouched: float, number: int = 0, kernel: str | None = None) -> Path:
    """The lock file of a run on `host` that touched it `untouched` seconds ago, in a file that no process has open."""
    path = folder / f"LOCK.{number}"
    holder = lock.LockHolder(host, 4711, "2026-11-22T02:15:00+00:00", kernel)
    path.write_text(json.dumps(asdict(holder)))
    os.utime(path, times=(time.time() - untouched,) * 2)
    return path


def this_kernel(folder: Path) -> str:
    handle = os.open(folder, os.O_RDONLY)
    try:
        return lock._kernel(handle)
    finally:
        os.close(handle)


def make_foreign(path: Path) -> None:
    """Let the lock of a live process seem to be that of another machine."""
    path.write_text(json.dumps({**json.loads(path.read_text()), "host": "another-host", "kernel": "another/1"}))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_lock_is_a_file_while_it_is_held_and_nothing_afterwards(tmp_path: Path) -> None:
    with lock.hold(tmp_path, HOUR) as held:
        assert names(tmp_path) == ["LOCK.0"]
        said = json.loads((tmp_path / "LOCK.0").read_text())
        assert (said["host"], said["pid"]) == (socket.gethostname(), os.getpid())
        held.check()
    assert names(tmp_path) == []


def test_error_while_the_lock_is_held_releases_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock.hold(tmp_path, HOUR):
        raise ZeroDivisionError
    assert names(tmp_path) == []
    with lock.hold(tmp_path, HOUR):
        pass


def test_second_run_is_told_who_holds_the_lock(tmp_path: Path, other: Contender) -> None:
    assert other.take(tmp_path) == "held"
    line = refusal(tmp_path)
    assert f"process {other.process.pid} on {socket.gethostname()}, started at 20" in line
    assert re.search(r"started at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00;", line)
    assert line.startswith(str(tmp_path))
    assert names(tmp_path) == ["LOCK.0"]
    assert other.ask("check") == "still held"
    assert other.ask("release") == "released"
    assert names(tmp_path) == []
    with lock.hold(tmp_path, HOUR):
        assert "is being written by process" in other.take(tmp_path)


def nothing(_folder: Path) -> None:
    """Nobody was here before."""


def killed(folder: Path) -> None:
    left_by(folder, socket.gethostname(), untouched=1, kernel=this_kernel(folder))


def killed_twice(folder: Path) -> None:
    killed(folder)
    left_by(folder, socket.gethostname(), untouched=1, number=1, kernel=this_kernel(folder))


def lost(folder: Path) -> None:
    left_by(folder, "another-host", untouched=2 * HOUR)


@pytest.mark.parametrize(
    ("before", "ttl", "turns"), [(nothing, HOUR, 100), (killed, HOUR, 100), (killed_twice, HOUR, 100), (lost, 0.1, 10)]
)
def test_of_several_runs_that_start_at_once_exactly_one_gets_the_lock(
    tmp_path: Path, before: Callable[[Path], None], ttl: float, turns: int
) -> None:
    """A later run finds that the winner lives, too."""
    with ExitStack() as stack:
        contenders = [stack.enter_context(contender()) for _ in range(3)]
        for turn in range(turns):
            folder = tmp_path / str(turn)
            folder.mkdir()
            before(folder)
            moment = time.time() + 0.003
            for one in contenders:
                one.tell(f"{folder} {ttl} {moment}")
            said = [one.hear() for one in contenders]
            assert sorted(line == "held" for line in said) == [False, False, True], (turn, said)
            winner = contenders[said.index("held")]
            assert f"process {winner.process.pid} on" in refusal(folder), turn
            assert winner.ask("check") == "still held"
            assert winner.ask("release") == "released"
            assert names(folder) == [], turn


def test_killed_holder_on_this_machine_is_replaced_at_once(tmp_path: Path, other: Contender) -> None:
    assert other.take(tmp_path) == "held"
    refusal(tmp_path)
    other.kill()
    assert names(tmp_path) == ["LOCK.0"]
    with lock.hold(tmp_path, HOUR) as held:
        assert json.loads((tmp_path / "LOCK.1").read_text())["pid"] == os.getpid()
        held.check()
    assert names(tmp_path) == []


def test_killed_holders_pile_up_no_files(tmp_path: Path) -> None:
    for number in range(3):
        with contender() as one:
            assert one.take(tmp_path) == "held"
            one.kill()
        assert f"LOCK.{number}" in names(tmp_path)
    with lock.hold(tmp_path, HOUR):
        pass
    assert names(tmp_path) == []


def test_lock_of_another_machine_holds_until_it_was_not_touched_for_the_time_to_live(tmp_path: Path) -> None:
    path = left_by(tmp_path, "another-host", untouched=50)
    assert "process 4711 on another-host, started at 2026-11-22T02:15:00+00:00" in refusal(tmp_path, ttl=60)
    assert path.exists()
    with lock.hold(tmp_path, 0.2) as held:
        held.check()
        assert (tmp_path / "LOCK.1").exists()
    assert names(tmp_path) == []


def test_touch_by_another_machine_starts_its_time_to_live_again(tmp_path: Path) -> None:
    path = left_by(tmp_path, "another-host", untouched=100)
    os.utime(path)
    assert "by process 4711 on another-host" in refusal(tmp_path, ttl=60)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": "here"}', '{"host": 1, "pid": [], "x": 0}', "[" * 10**5])
def test_lock_that_names_no_holder_holds_for_the_time_to_live(tmp_path: Path, content: str) -> None:
    path = tmp_path / "LOCK.0"
    path.write_text(content)
    assert "is being written by another run; wait" in refusal(tmp_path)
    os.utime(path, times=(time.time() - 61,) * 2)
    path.chmod(0)
    with lock.hold(tmp_path, 0.2):
        pass
    assert names(tmp_path) == []


def test_holder_touches_its_lock(tmp_path: Path, other: Contender) -> None:
    assert other.take(tmp_path, ttl=0.4) == "held"
    first = (tmp_path / "LOCK.0").stat().st_mtime_ns
    deadline = time.monotonic() + 30
    while (tmp_path / "LOCK.0").stat().st_mtime_ns == first and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (tmp_path / "LOCK.0").stat().st_mtime_ns > first
    assert other.ask("check") == "still held"


def test_holder_that_did_not_touch_its_lock_for_too_long_learns_that_it_lost_it(
    tmp_path: Path, other: Contender
) -> None:
    assert other.take(tmp_path) == "held"
    make_foreign(tmp_path / "LOCK.0")
    other.process.send_signal(signal.SIGSTOP)
    os.utime(tmp_path / "LOCK.0", times=(time.time() - 2 * HOUR,) * 2)
    with lock.hold(tmp_path, 0.2) as held:
        other.process.send_signal(signal.SIGCONT)
        line = other.ask("check")
        assert f"longer than warehouse.lock_ttl, and process {os.getpid()} on" in line
        assert other.ask("release") == "released"
        held.check()
        assert (tmp_path / "LOCK.1").exists()
        refusal(tmp_path)
    assert names(tmp_path) == []


def test_holder_learns_that_it_lost_the_lock_after_the_next_holder_has_ended(tmp_path: Path, other: Contender) -> None:
    assert other.take(tmp_path) == "held"
    make_foreign(tmp_path / "LOCK.0")
    os.utime(tmp_path / "LOCK.0", times=(time.time() - 2 * HOUR,) * 2)
    with lock.hold(tmp_path, 0.2):
        pass
    assert "another run took the lock" in other.ask("check")
    with lock.hold(tmp_path, HOUR) as third:  # under the name of the first one
        assert "another run took the lock" in other.ask("check")
        assert other.ask("release") == "released"
        assert names(tmp_path) == ["LOCK.0"]
        third.check()
    assert names(tmp_path) == []


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
@pytest.mark.parametrize("jump", [-10, -1, 1, 10])
def test_clock_that_jumps_takes_no_live_lock_of_this_machine(
    tmp_path: Path, other: Contender, monkeypatch: pytest.MonkeyPatch, jump: int, stopped: bool
) -> None:
    assert other.take(tmp_path) == "held"
    if stopped:
        other.process.send_signal(signal.SIGSTOP)
    now = time.time()
    monkeypatch.setattr("lookalike.warehouse.lock.time.time", lambda: now + jump * 24 * HOUR)
    assert f"by process {other.process.pid} on" in refusal(tmp_path, ttl=0.1)
    assert names(tmp_path) == ["LOCK.0"]
    other.process.send_signal(signal.SIGCONT)
    assert other.ask("check") == "still held"


@pytest.mark.parametrize("days", [-3650, -1, 1, 3650])
def test_lock_of_another_machine_is_judged_by_whether_it_is_touched_and_not_by_its_time(
    tmp_path: Path, days: int
) -> None:
    """A file server has a clock of its own."""
    path = left_by(tmp_path, "another-host", untouched=24 * HOUR * days)
    stop = threading.Event()

    def touch() -> None:
        moment = path.stat().st_mtime
        while not stop.wait(0.05):
            moment += 0.05
            os.utime(path, (moment, moment))

    holder = threading.Thread(target=touch)
    holder.start()
    try:
        assert "by process 4711 on another-host" in refusal(tmp_path, ttl=0.6)
    finally:
        stop.set()
        holder.join()
    with lock.hold(tmp_path, 0.2) as held:
        held.check()


def test_lock_that_goes_while_it_is_watched_is_free(tmp_path: Path) -> None:
    path = left_by(tmp_path, "another-host", untouched=2 * HOUR)
    holder = threading.Timer(0.1, path.unlink)
    holder.start()
    start = time.monotonic()
    with lock.hold(tmp_path, 10):
        assert time.monotonic() - start < 10
    holder.join()


def test_kernel_of_another_container_with_the_same_host_name_proves_nothing(tmp_path: Path) -> None:
    """Nor does a kernel that could not lock the file, whose name is then not written."""
    for number, kernel in enumerate(["another-boot/1", None]):
        left_by(tmp_path, socket.gethostname(), untouched=1, number=number, kernel=kernel)
        assert f"by process 4711 on {socket.gethostname()}" in refusal(tmp_path)
    (tmp_path / "LOCK.0").unlink()
    assert f"by process 4711 on {socket.gethostname()}" in refusal(tmp_path)


@pytest.mark.parametrize(
    "make",
    [
        Path.mkdir,
        os.mkfifo,
        lambda path: path.symlink_to("nowhere"),
        lambda path: path.symlink_to(path.name),
        lambda path: path.symlink_to("/dev/zero"),
    ],
    ids=["folder", "FIFO", "dangling link", "loop", "device"],
)
def test_what_no_run_wrote_as_its_lock_is_named_and_left_alone(
    tmp_path: Path, other: Contender, make: Callable[[Path], object]
) -> None:
    make(tmp_path / "LOCK.0")
    with pytest.raises(WarehouseError, match=r"LOCK\.0 is not a file.*remove it$"), lock.hold(tmp_path, HOUR):
        pass
    assert names(tmp_path) == ["LOCK.0"]
    Path.rename(tmp_path / "LOCK.0", tmp_path / "x")
    assert other.take(tmp_path) == "held"
    make(tmp_path / "LOCK.1")
    assert "another run took the lock" in other.ask("check")


def test_folder_that_is_gone_in_mid_run_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "warehouse"
    folder.mkdir()
    with lock.hold(folder, HOUR) as held:
        shutil.rmtree(folder)
        with pytest.raises(WarehouseError, match=r"warehouse cannot be read \(No such file"):
            held.check()


def test_folder_that_cannot_be_written_gives_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(WarehouseError, match=r"cannot be read \(No such file or directory\)"),
        lock.hold(tmp_path / "missing", HOUR),
    ):
        pass


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    for name in ("LOCK", "LOCK.x", "LOCK.0.txt", "CURRENT"):
        (tmp_path / name).write_text("")
    with lock.hold(tmp_path, HOUR):
        assert "LOCK.0" in names(tmp_path)
    assert names(tmp_path) == ["CURRENT", "LOCK", "LOCK.0.txt", "LOCK.x"]
