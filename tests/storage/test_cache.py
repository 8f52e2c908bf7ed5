"""The copies of a machine: marked when they are used, and removed when there are too many bytes."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from lookalike.storage import cache

DAY = 86_400.0


def copy_of(folder: Path, name: str, *, age: float, size: int = 10) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    then = time.time() - age
    os.utime(path, (then, then))
    return path


def test_copy_of_late_is_used_and_an_older_one_is_to_be_compared(tmp_path: Path) -> None:
    recent, older = copy_of(tmp_path, "a", age=300), copy_of(tmp_path, "b", age=2 * cache.TRUSTED_SECONDS)
    assert cache.use(recent)
    assert time.time() - recent.stat().st_mtime < 60
    assert not cache.use(older)
    assert not cache.use(tmp_path / "gone")
    cache.trust(older)
    assert cache.use(older)


def test_oldest_copies_go_where_there_is_no_room(tmp_path: Path) -> None:
    names = [f"content/{number}/shard" for number in range(5)]
    copies = [copy_of(tmp_path, name, age=DAY + number) for number, name in enumerate(names)]
    cache.make_room(tmp_path, 50, 10)
    assert [path.exists() for path in copies] == [True] * 5  # as far as was counted before, they are none
    cache.make_room(tmp_path, 50, 45)
    assert [path.exists() for path in copies] == [False] * 5
    assert (tmp_path / ".room").read_text() == "45"


def test_copies_in_use_stay_whatever_the_limit(tmp_path: Path) -> None:
    used, unused = copy_of(tmp_path, "work/r/a", age=1), copy_of(tmp_path, "checkpoints/r/b", age=DAY)
    other = copy_of(tmp_path, "models/m.tflite", age=DAY)
    cache.make_room(tmp_path, 1, 10)
    assert (used.exists(), unused.exists(), other.exists()) == (True, False, True)


def test_release_that_views_show_stays(tmp_path: Path) -> None:
    shown, other = copy_of(tmp_path, "releases/a/t/part", age=DAY), copy_of(tmp_path, "releases/b/t/part", age=DAY)
    (tmp_path / "releases" / "a" / cache.KEEP).touch()
    cache.make_room(tmp_path, 1, 10)
    assert (shown.exists(), other.exists()) == (True, False)


def test_two_names_of_one_file_are_its_bytes_once(tmp_path: Path) -> None:
    first = copy_of(tmp_path, "releases/a/part", age=DAY, size=100)
    (tmp_path / "content").mkdir()
    (tmp_path / "content" / "part").hardlink_to(first)
    (tmp_path / ".room").write_text("999")  # counted by who did not know
    cache.make_room(tmp_path, 150, 40)
    assert first.exists()
    assert (tmp_path / ".room").read_text() == "140"


def test_who_makes_room_lets_others_go_on(tmp_path: Path) -> None:
    copy = copy_of(tmp_path, "work/a", age=DAY)
    with (tmp_path / ".room").open("a") as lock:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)
        cache.make_room(tmp_path, 1, 10)
    assert copy.exists()


def test_one_copy_is_made_by_one_process_at_a_time(tmp_path: Path) -> None:
    inside, most = [], []

    def download() -> None:
        with cache.one_at_a_time(tmp_path, tmp_path / "a"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    threads = [threading.Thread(target=download) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 5


@pytest.mark.parametrize("text", ["", "no number"])
def test_damaged_count_is_counted_again(tmp_path: Path, text: str) -> None:
    (tmp_path / ".room").write_text(text)
    cache.make_room(tmp_path, 100, 10)
    assert (tmp_path / ".room").read_text() == "10"
