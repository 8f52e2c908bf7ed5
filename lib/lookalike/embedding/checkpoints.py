"""Checkpoints: what a run has embedded, kept by model and image hash until a release holds it.

    <warehouse>/checkpoints/<release_id>/<model_id>-<version>-<limits>/<checkpoint>/   Parquet, columns OUTCOMES

A task's file appears in its checkpoint when the task ends, so that a run that is killed loses only its running tasks.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lookalike import config
from lookalike.spark import parquet, schemas
from lookalike.version import VERSION

# Hadoop's second algorithm moves a task's files to their folder when the task ends; the first, when the job ends.
_MOVE_BY_TASK = {"mapreduce.fileoutputcommitter.algorithm.version": "2"}


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one model under one set of limits; `left` are those of runs that were stopped."""

    folder: Path
    left: tuple[Path, ...]

    @classmethod
    def open(cls, root: Path, model_id: str, images: config.ImageSettings) -> Checkpoints:
        """Open the checkpoints below `root` for everything that decides the outcome of a picture's bytes.

        Lists what runs before this one have left; the caller holds the warehouse's lock. Gives each a new name, so
        that an executor that survives its stopped run for a moment writes elsewhere.
        """
        limits = hashlib.sha256(json.dumps(images.refusal_limits(), sort_keys=True).encode()).hexdigest()[:16]
        folder = root / f"{model_id}-{VERSION}-{limits}"
        left = []
        for checkpoint in sorted(folder.glob("checkpoint-*")):
            left.append(folder / _new_name())
            os.replace(checkpoint, left[-1])
            shutil.rmtree(left[-1] / "_temporary", ignore_errors=True)
        return cls(folder, tuple(left))

    def write(self, outcomes: DataFrame) -> Path:
        """Compute `outcomes` and write them as a new checkpoint; return it."""
        checkpoint = self.folder / _new_name()
        parquet.write(schemas.select("checkpoint", outcomes, schemas.OUTCOMES), checkpoint, options=_MOVE_BY_TASK)
        return checkpoint


def _new_name() -> str:
    return f"checkpoint-{secrets.token_hex(8)}"


def read_lasting(spark: SparkSession, checkpoints: Sequence[Path]) -> DataFrame:
    """Return the OUTCOMES that the same bytes would give again, vectors and reasons, one row for each hash."""
    return _read(spark, checkpoints).where("reason IS NULL OR permanent")


def read_passing(spark: SparkSession, checkpoints: Sequence[Path]) -> DataFrame:
    """Return the OUTCOMES of pictures that could not be read for a reason that may pass."""
    return _read(spark, checkpoints).where("reason IS NOT NULL AND NOT permanent")


def count_vectors(spark: SparkSession, checkpoints: Sequence[Path]) -> int:
    """Return how many vectors the checkpoints hold."""
    return _read(spark, checkpoints).where(F.col("reason").isNull()).count()


def _read(spark: SparkSession, checkpoints: Sequence[Path]) -> DataFrame:
    if not checkpoints:
        return spark.createDataFrame([], schemas.OUTCOMES)
    return parquet.read(spark, *checkpoints, schema=schemas.OUTCOMES, damaged="skip")
