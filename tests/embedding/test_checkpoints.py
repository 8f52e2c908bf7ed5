"""Checkpoints: what a stopped run has embedded is found again, for the same model, version and limits only."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from lookalike import config
from lookalike.embedding import checkpoints
from lookalike.embedding.checkpoints import Checkpoints
from lookalike.spark import schemas

LIMITS = config.ImageSettings()


def outcome(image_hash: str, **columns: Any) -> dict[str, Any]:
    """Return a row of OUTCOMES with a vector; columns replace its own."""
    vector = {"embedding": [1.0, 0.0], "norm": 1.0, "width": 5, "height": 4, "fixes": []}
    return {"image_hash": image_hash, **vector, "embedded_at": datetime(2026, 11, 1, tzinfo=UTC), **columns}


def failure(image_hash: str, reason: str, *, permanent: bool) -> dict[str, Any]:
    """Return a row of OUTCOMES with a reason."""
    none = dict.fromkeys(("embedding", "norm", "width", "height", "fixes"))
    return outcome(image_hash, **none, reason=reason, detail="why", permanent=permanent)


def as_frame(spark: SparkSession, *rows: dict[str, Any]) -> DataFrame:
    values = [tuple(row.get(name) for name in schemas.OUTCOMES.names) for row in rows]
    return spark.createDataFrame(values, schemas.OUTCOMES)


def hashes(frame: DataFrame) -> list[str]:
    return sorted(row["image_hash"] for row in frame.collect())


def test_outcomes_are_lasting_or_passing(spark: SparkSession, tmp_path: Path) -> None:
    opened = Checkpoints.open(tmp_path, "model", LIMITS)
    first = opened.write(as_frame(spark, outcome("a"), failure("b", "corrupt", permanent=True)))
    second = opened.write(as_frame(spark, outcome("c"), failure("d", "timeout", permanent=False)))
    assert hashes(checkpoints.read_lasting(spark, [first, second])) == ["a", "b", "c"]
    assert hashes(checkpoints.read_passing(spark, [first, second])) == ["d"]
    assert checkpoints.count_vectors(spark, [first, second]) == 2
    assert checkpoints.count_vectors(spark, [second]) == 1


def test_no_checkpoints_have_no_outcomes(spark: SparkSession, tmp_path: Path) -> None:
    assert Checkpoints.open(tmp_path, "model", LIMITS).left == ()
    assert hashes(checkpoints.read_lasting(spark, [])) == []
    assert checkpoints.count_vectors(spark, []) == 0


def test_checkpoints_of_a_stopped_run_are_found_under_new_names(spark: SparkSession, tmp_path: Path) -> None:
    written = Checkpoints.open(tmp_path, "model", LIMITS).write(as_frame(spark, outcome("a")))
    (written / "_temporary").mkdir()
    (written / "_temporary" / "part-0").write_text("half of it")
    (left,) = Checkpoints.open(tmp_path, "model", LIMITS).left
    assert left != written
    assert not written.exists()
    assert not (left / "_temporary").exists()
    assert hashes(checkpoints.read_lasting(spark, [left])) == ["a"]


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
    good, damaged = (opened.write(as_frame(spark, outcome(name))) for name in "ab")
    for file in damaged.glob("*.parquet"):
        file.write_bytes(file.read_bytes()[:-20])
    assert hashes(checkpoints.read_lasting(spark, [good, damaged])) == ["a"]
