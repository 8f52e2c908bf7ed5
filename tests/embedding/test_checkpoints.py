"""Checkpoints: what a stopped run has embedded is found again, for the same model, version and limits only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from lookalike import config
from lookalike.embedding import reading
from lookalike.embedding.checkpoints import Checkpoints
from lookalike.embedding.outcomes import checkpoint_places
from lookalike.embedding.task import OUTCOMES
from lookalike.errors import CountError
from lookalike.spark import arrow_files

LIMITS = config.ImageSettings()


def outcome(image_hash: str, **columns: Any) -> dict[str, Any]:
    """Return a row of OUTCOMES with a vector; columns replace its own."""
    vector = {"embedding": [1.0, 0.0], "norm": 1.0, "width": 5, "height": 4, "fixes": []}
    return {"image_hash": image_hash, **vector, "embedded_at": datetime(2026, 11, 1, tzinfo=UTC), **columns}


def failure(image_hash: str, reason: str, *, permanent: bool) -> dict[str, Any]:
    """Return a row of OUTCOMES with a reason."""
    none = dict.fromkeys(("embedding", "norm", "width", "height", "fixes"))
    return outcome(image_hash, **none, reason=reason, detail="why", permanent=permanent)


def write(opened: Checkpoints, *rows: dict[str, Any]) -> Path:
    """Write rows as a task does, into a new checkpoint; return it."""
    checkpoint = opened.begin()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=OUTCOMES), checkpoint / f"{rows[0]['image_hash']}.parquet")
    return checkpoint


def ranks(spark: SparkSession, opened: Checkpoints) -> dict[str, int]:
    rows = checkpoint_places(spark, opened.files()).collect()
    assert all((row["file"] is not None) == (row["rank"] == 0) for row in rows)
    return {row["image_hash"]: row["rank"] for row in rows}


def test_outcomes_are_vectors_or_reasons_that_last_or_pass(spark: SparkSession, tmp_path: Path) -> None:
    opened = Checkpoints.open(tmp_path, "model", LIMITS)
    write(opened, outcome("a"), failure("b", "corrupt", permanent=True))
    write(opened, outcome("c"), failure("d", "timeout", permanent=False))
    assert ranks(spark, opened) == {"a": 0, "b": 1, "c": 0, "d": 2}


def test_no_checkpoints_have_no_outcomes(spark: SparkSession, tmp_path: Path) -> None:
    opened = Checkpoints.open(tmp_path, "model", LIMITS)
    assert (opened.left, ranks(spark, opened)) == ((), {})


def test_checkpoints_of_a_stopped_run_are_found_under_new_names(spark: SparkSession, tmp_path: Path) -> None:
    written = write(Checkpoints.open(tmp_path, "model", LIMITS), outcome("a"))
    (written / ".part-0.parquet.1f").write_text("half of it")
    opened = Checkpoints.open(tmp_path, "model", LIMITS)
    (left,) = opened.left
    assert left != written
    assert not written.exists()
    assert [path.name for path in left.iterdir()] == ["a.parquet"]
    assert ranks(spark, opened) == {"a": 0}


def test_file_of_a_task_that_was_killed_goes(tmp_path: Path) -> None:
    checkpoint = Checkpoints.open(tmp_path, "model", LIMITS).begin()

    def batches() -> Iterator[pa.RecordBatch]:
        yield from pa.Table.from_pylist([outcome("a")], schema=OUTCOMES).to_batches()
        (written,) = checkpoint.iterdir()
        os.link(written, f"{written}0")  # stays, as what a killed task has written

    arrow_files.write_file(checkpoint / "a.parquet", OUTCOMES, batches(), checkpoint)
    assert len(list(checkpoint.iterdir())) == 2
    (left,) = Checkpoints.open(tmp_path, "model", LIMITS).left
    assert [path.name for path in left.iterdir()] == ["a.parquet"]


def test_checkpoint_without_a_file_leaves_no_folder(tmp_path: Path) -> None:
    opened = Checkpoints.open(tmp_path / "checkpoints" / "first", "model", LIMITS)
    kept, empty = write(opened, outcome("a")), opened.begin()
    opened.remove_if_empty(empty)
    opened.remove_if_empty(kept)
    assert [path.parent for path in opened.files()] == [kept]
    (kept / "a.parquet").unlink()
    opened.remove_if_empty(kept)
    assert list((tmp_path / "checkpoints").iterdir()) == []


@pytest.mark.parametrize(
    ("model_id", "limits", "found"),
    [
        ("model", {"fetch_threads": 1, "read_timeout": 5}, 1),
        ("another", {}, 0),
        ("model", {"max_pixels": 9}, 0),
        ("model", {"accept_truncated": True}, 0),
    ],
)
def test_only_the_same_model_and_limits_find_a_checkpoint(
    tmp_path: Path, model_id: str, limits: dict[str, Any], found: int
) -> None:
    (Checkpoints.open(tmp_path, "model", LIMITS).folder / "checkpoint-0").mkdir(parents=True)
    assert len(Checkpoints.open(tmp_path, model_id, config.ImageSettings(**limits)).left) == found


def test_damaged_file_of_a_checkpoint_is_skipped(spark: SparkSession, tmp_path: Path) -> None:
    opened = Checkpoints.open(tmp_path, "model", LIMITS)
    _, damaged = (write(opened, outcome(name)) for name in "ab")
    for file in damaged.glob("*.parquet"):
        file.write_bytes(file.read_bytes()[:-20])
    assert ranks(spark, opened) == {"a": 0}


def test_files_that_the_driver_does_not_see_end_the_run(tmp_path: Path) -> None:
    opened = Checkpoints.open(tmp_path, "model", LIMITS)
    checkpoint = write(opened, outcome("a"), outcome("b"))
    reading._check_written(checkpoint, 2)
    reading._check_written(checkpoint, 1)  # a task ran twice
    with pytest.raises(CountError, match="holds 2 of the 3 outcomes"):
        reading._check_written(checkpoint, 3)
