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
from lookalike.warehouse.shared_files import ON_DISK

LIMITS = config.ImageSettings()


def outcome(image_hash: str, **columns: Any) -> dict[str, Any]:
    """Return a row of OUTCOMES with a vector; columns replace its own."""
    vector = {"embedding": [1.0, 0.0], "norm": 1.0, "width": 5, "height": 4, "fixes": []}
    return {"image_hash": image_hash, **vector, "embedded_at": datetime(2026, 11, 1, tzinfo=UTC), **columns}


def failure(image_hash: str, reason: str, *, permanent: bool) -> dict[str, Any]:
    """Return a row of OUTCOMES with a reason."""
    none = dict.fromkeys(("embedding", "norm", "width", "height", "fixes"))
    return outcome(image_hash, **none, reason=reason, detail="why", permanent=permanent)


def open_below(folder: Path) -> Checkpoints:
    """The checkpoints of one model under one set of limits."""
    return Checkpoints.open(folder, "model", LIMITS, ON_DISK)


def write(checkpoint: Path, *rows: dict[str, Any]) -> Path:
    """Write rows as a task does, into a file of a checkpoint; return it."""
    file = ON_DISK.here(checkpoint / f"{rows[0]['image_hash']}.parquet")
    pq.write_table(pa.Table.from_pylist(list(rows), schema=OUTCOMES), file)
    return file


def ranks(spark: SparkSession, opened: Checkpoints) -> dict[str, int]:
    rows = checkpoint_places(spark, ON_DISK, opened.files()).collect()
    assert all((row["file"] is not None) == (row["rank"] == 0) for row in rows)
    return {row["image_hash"]: row["rank"] for row in rows}


def test_outcomes_are_vectors_or_reasons_that_last_or_pass(spark: SparkSession, tmp_path: Path) -> None:
    opened = open_below(tmp_path)
    write(opened.begin(), outcome("a"), failure("b", "corrupt", permanent=True))
    write(opened.begin(), outcome("c"), failure("d", "timeout", permanent=False))
    assert ranks(spark, opened) == {"a": 0, "b": 1, "c": 0, "d": 2}


def test_no_checkpoints_have_no_outcomes_and_no_folder(spark: SparkSession, tmp_path: Path) -> None:
    opened = open_below(tmp_path)
    opened.begin()
    assert (opened.left, ranks(spark, opened)) == ((), {})
    assert list(tmp_path.iterdir()) == []


def test_what_an_executor_adds_that_survives_its_stopped_run_is_harmless(spark: SparkSession, tmp_path: Path) -> None:
    """The run counts the files of its own checkpoint; a vector more of the same model is a vector more."""
    checkpoint = open_below(tmp_path).begin()
    written = write(checkpoint, outcome("a"))
    opened = open_below(tmp_path)
    own = opened.begin()
    late, new = write(checkpoint, outcome("b")), write(own, outcome("c"))
    assert opened.left == (written,)
    assert opened.files_of(own) == [new]
    assert opened.files() == sorted([written, late, new])
    assert ranks(spark, opened) == {"a": 0, "b": 0, "c": 0}
    reading._check_written(spark, opened, own, 1)
    with pytest.raises(CountError, match="holds 1 of the 2 outcomes"):
        reading._check_written(spark, opened, own, 2)


def test_unfinished_file_of_a_task_that_was_killed_is_none_of_a_checkpoint(tmp_path: Path) -> None:
    checkpoint = open_below(tmp_path).begin()

    def batches() -> Iterator[pa.RecordBatch]:
        yield from pa.Table.from_pylist([outcome("a")], schema=OUTCOMES).to_batches()
        (written,) = checkpoint.iterdir()
        os.link(written, f"{written}0")  # stays, as what a killed task has written

    arrow_files.write_file(ON_DISK.here(checkpoint / "a.parquet"), OUTCOMES, batches())
    assert len(list(checkpoint.iterdir())) == 2
    assert open_below(tmp_path).left == (checkpoint / "a.parquet",)


def test_pass_that_embedded_nothing_leaves_no_folder(tmp_path: Path) -> None:
    opened = open_below(tmp_path / "checkpoints" / "first")
    written, empty = write(opened.begin(), outcome("a")), ON_DISK.here(opened.begin() / "b.parquet").parent
    for checkpoint in (empty, written.parent):
        opened.remove_if_empty(checkpoint)
    assert list(opened.folder.iterdir()) == [written.parent]
    written.unlink()
    opened.remove_if_empty(written.parent)
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
    write(open_below(tmp_path).begin(), outcome("a"))
    assert len(Checkpoints.open(tmp_path, model_id, config.ImageSettings(**limits), ON_DISK).left) == found


def test_damaged_file_of_a_checkpoint_is_skipped(spark: SparkSession, tmp_path: Path) -> None:
    opened = open_below(tmp_path)
    _, damaged = (write(opened.begin(), outcome(name)) for name in "ab")
    damaged.write_bytes(damaged.read_bytes()[:-20])
    assert ranks(spark, opened) == {"a": 0}


def test_files_that_the_driver_does_not_see_end_the_run(spark: SparkSession, tmp_path: Path) -> None:
    opened = open_below(tmp_path)
    checkpoint = write(opened.begin(), outcome("a"), outcome("b")).parent
    reading._check_written(spark, opened, checkpoint, 2)
    reading._check_written(spark, opened, checkpoint, 1)  # a task ran twice
    with pytest.raises(CountError, match="holds 2 of the 3 outcomes"):
        reading._check_written(spark, opened, checkpoint, 3)
