"""Small files of the index, damaged on the disk where they lie, are named in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lookalike.errors import ShardError
from lookalike.index.items import read_array, read_items, write_items


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_in_the_middle(path: Path) -> None:
    found = bytearray(path.read_bytes())
    found[len(found) // 3] ^= 0xFF
    path.write_bytes(found)


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def items(path: Path) -> Callable[[Path], Any]:
    rows = 500
    columns = {
        "item_id": pa.array([f"item-{number * number}" for number in range(rows)]),
        "list": pa.array(np.arange(rows, dtype=np.int32)),
        "eligible": pa.array(np.ones(rows, dtype=bool)),
        "variant_group": pa.array(np.arange(rows)),
        "group_codes": pa.array([[number] for number in range(rows)]),
    }
    write_items(path, pa.table(columns))
    return read_items


def array(path: Path) -> Callable[[Path], Any]:
    with path.open("wb") as file:
        np.save(file, np.ones((20, 8), dtype=np.float32))
    return read_array


@pytest.mark.parametrize("damage", [shorten, empty, flip_in_the_middle, zero])
def test_damaged_items_are_named(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    check(items, damage, tmp_path / "shard.items.parquet")


@pytest.mark.parametrize("damage", [shorten, empty, zero])
def test_damaged_array_is_named(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    check(array, damage, tmp_path / "shard.centroids.npy")


def check(write: Callable[[Path], Callable[[Path], Any]], damage: Callable[[Path], None], path: Path) -> None:
    read = write(path)
    read(path)
    damage(path)
    with pytest.raises(ShardError, match="; run again, which replaces it") as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_file_that_a_disk_refuses_is_no_damaged_one(tmp_path: Path) -> None:
    for read in (read_items, read_array):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "gone")
