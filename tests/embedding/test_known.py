"""The hashes that are known, as tasks read them from the files of releases and checkpoints."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike.embedding.known import HEX_DIGITS, HashFiles
from lookalike.images.picture import TRUNCATED
from lookalike.warehouse.shared_files import ON_DISK

EMBEDDED: dict[str, dict[str, Any]] = {
    "sound": {},
    "turned": {"fixes": ["exif_rotated"]},
    "of another model": {"model_id": "other"},
    "too large": {"width": 1 << 16, "height": 1 << 16},
    "cut": {"fixes": ["exif_rotated", TRUNCATED]},
    "of unknown fixes": {"fixes": None},
    "of unknown size": {"width": None},
}

OUTCOMES: dict[str, dict[str, Any]] = {
    "a vector": {"reason": None, "permanent": None},
    "lasts": {"reason": "corrupt", "permanent": True},
    "may pass": {"reason": "timeout", "permanent": False},
}


def hash_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def write(path: Path, rows: dict[str, dict[str, Any]], common: dict[str, Any]) -> Path:
    found = [{"image_hash": hash_of(name), **common, **columns} for name, columns in rows.items()]
    table = pa.Table.from_pylist([*found, {**found[0], "image_hash": None}])
    pq.write_table(table, path, row_group_size=3)
    return path


@pytest.mark.parametrize("accepted", [False, True])
def test_known_are_hashes_that_hold_for_the_same_bytes(tmp_path: Path, *, accepted: bool) -> None:
    sound = {"model_id": "model", "width": 10, "height": 10, "fixes": []}
    embeddings = write(tmp_path / "embeddings.parquet", EMBEDDED, sound)
    outcomes = write(tmp_path / "outcomes.parquet", OUTCOMES, {})
    damaged, older = tmp_path / "damaged.parquet", tmp_path / "older.parquet"
    damaged.write_bytes(embeddings.read_bytes()[:-20])
    pq.write_table(pa.table({"item_id": ["a"], "model_id": ["model"]}), older)

    tables = [damaged, embeddings, older, tmp_path / "gone"]
    files = HashFiles(ON_DISK, tables, [outcomes], "model", 1000, accept_truncated=accepted)

    expected = {"sound", "turned", "a vector", "lasts"} | ({"cut", "of unknown fixes"} if accepted else set())
    numbers = sorted(int(hash_of(name)[:HEX_DIGITS], 16) for name in expected)
    assert files.prefixes().tolist() == numbers
    parts = [files.part(number, 3).prefixes() for number in range(3)]
    assert sorted(np.concatenate(parts).tolist()) == numbers
    assert len(HashFiles(ON_DISK, [], [], "model", 1000, accept_truncated=accepted).prefixes()) == 0
