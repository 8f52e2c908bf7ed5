"""A task of the embed step: one pass over the pictures, whose outcomes are in its checkpoint when it ends."""

from __future__ import annotations

import shutil
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lookalike.embedding import task as embed_task
from lookalike.embedding.known import HEX_DIGITS, KnownHashes
from lookalike.embedding.task import OUTCOMES, PictureTask, TaskCounters, machines_without_pictures
from lookalike.images.picture import content_hash
from lookalike.storage.image_reader import ImageReader
from lookalike.warehouse.shared_files import ON_DISK
from support import tiny_model

Run = Callable[..., list[dict[str, Any]]]

HOST = socket.gethostname()


@dataclass
class Counted:
    """An accumulator of this process."""

    value: Any

    def add(self, more: Any) -> None:
        self.value += more


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a function that runs a task over paths, and returns the readings."""

    def run_task(paths: list[str | None], known: KnownHashes | None = None) -> list[dict[str, Any]]:
        counters = TaskCounters(Counted(0), Counted(0), Counted(Counter()))
        artefact, hashes = (SimpleNamespace(value=one) for one in (tiny_model.artefact(), known or KnownHashes.none()))
        model, checkpoint = ("litert", "tiny", tiny_model.SIZE, artefact), tmp_path / "checkpoint"
        task = PictureTask(*model, hashes, ImageReader(), checkpoint, ON_DISK, counters)
        batches = [pa.record_batch({"image_path": pa.array([path], pa.string())}) for path in paths]
        readings = [row for batch in task.run(batches) for row in batch.to_pylist()]
        failed = sum(row["reason"] is not None for row in readings)
        assert [row["image_path"] for row in readings] == paths
        assert counters.done.value == len(paths)
        assert counters.failed.value >= failed
        missing = sum(row["reason"] == "not_found" for row in readings)
        assert counters.found.value == +Counter({(HOST, True): len(paths) - missing, (HOST, False): missing})
        return readings

    return run_task


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """Write three different pictures, a copy of the first, and one that is cut off; return their paths."""
    paths = [tmp_path / f"{n}.png" for n in range(3)]
    for path, pixels in zip(paths, tiny_model.random_pixels(3), strict=True):
        Image.fromarray(pixels).save(path)
    copy = Path(shutil.copy(paths[0], tmp_path / "copy.png"))
    cut = tmp_path / "cut.png"
    cut.write_bytes(paths[0].read_bytes()[:90])
    return [str(path) for path in (*paths, copy, cut)]


def outcomes(tmp_path: Path) -> dict[str, dict[str, Any]]:
    table = pa.concat_tables(pq.read_table(path) for path in (tmp_path / "checkpoint").iterdir())
    assert table.schema.equals(OUTCOMES)
    rows = {row["image_hash"]: row for row in table.to_pylist()}
    assert len(rows) == len(table)
    return rows


def test_each_of_the_bytes_is_embedded_once_and_is_in_the_checkpoint(
    run: Run, pictures: list[str], tmp_path: Path
) -> None:
    readings = run([*pictures, None, str(tmp_path / "gone.png")])
    hashes = [content_hash(Path(path).read_bytes()) for path in pictures]
    assert [row["image_hash"] for row in readings] == [*hashes, None, None]
    assert [row["reason"] for row in readings] == [None] * 5 + ["no_path", "not_found"]
    assert [row["embedded"] for row in readings] == [True, True, True, False, False, False, False]
    assert not any(row["known"] for row in readings)
    rows = outcomes(tmp_path)
    assert set(rows) == set(hashes)
    *vectors, none = (rows[one]["embedding"] for one in hashes)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert none is None
    assert (rows[hashes[4]]["reason"], rows[hashes[4]]["permanent"], rows[hashes[4]]["norm"]) == (
        "truncated",
        True,
        None,
    )


def test_known_bytes_are_hashed_only(run: Run, pictures: list[str], tmp_path: Path) -> None:
    hashes = [content_hash(Path(path).read_bytes()) for path in pictures]
    known = KnownHashes(np.sort([int(hashes[at][:HEX_DIGITS], 16) for at in (0, 2, 4)]))
    readings = run(pictures, known)
    assert [row["image_hash"] for row in readings] == hashes
    assert [row["known"] for row in readings] == [True, False, True, True, True]
    assert set(outcomes(tmp_path)) == {hashes[1]}
    run([pictures[0]], known)
    assert len(list((tmp_path / "checkpoint").iterdir())) == 1  # no file without a row


def test_network_is_not_loaded_where_all_bytes_are_known(
    run: Run, pictures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed_task, "_engine", lambda *_: pytest.fail("the network was loaded"))
    known = KnownHashes(np.sort([int(content_hash(Path(path).read_bytes())[:HEX_DIGITS], 16) for path in pictures]))
    assert all(row["known"] for row in run([*pictures, None], known)[:-1])


def test_hash_is_known_by_its_first_digits() -> None:
    hashes = [content_hash(bytes([number])) for number in range(50)]
    known = KnownHashes(np.sort([int(one[:HEX_DIGITS], 16) for one in hashes[:40]]))
    assert [one in known for one in hashes] == [True] * 40 + [False] * 10
    assert hashes[0][:HEX_DIGITS] + "0" * 49 in known
    assert "f" * 64 not in known
    assert hashes[0] not in KnownHashes.none()


@pytest.mark.parametrize(
    ("found", "named"),
    [
        ({("a", True): 90, ("b", False): 90}, ["b"]),
        ({("a", True): 90, ("b", False): 90, ("b", True): 1}, []),  # some are there
        ({("a", True): 90, ("b", False): 19}, []),  # by chance
        ({("a", False): 90, ("b", False): 90}, []),  # they are nowhere
        ({("a", True): 1, ("c", False): 20, ("b", False): 20}, ["b", "c"]),
        ({}, []),
    ],
)
def test_machine_that_finds_no_picture_where_others_find_theirs_is_named(
    found: dict[tuple[str, bool], int], named: list[str]
) -> None:
    assert [line.split()[0] for line in machines_without_pictures(Counter(found))] == named
