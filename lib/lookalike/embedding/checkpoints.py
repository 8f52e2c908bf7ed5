"""What the pictures of an unfinished run gave, kept by model and image hash until a release holds it.

    <warehouse>/staging/<release_id>/<model_id>-<limits>/<part>/   Parquet, columns OUTCOMES

A task's file appears in its part when the task ends, so that a run which is killed loses the tasks under way.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lookalike import config
from lookalike.spark import parquet, schemas
from lookalike.version import VERSION

# Hadoop's second algorithm moves a task's files to their place when the task commits, the first when the job does.
_BY_TASK = {"mapreduce.fileoutputcommitter.algorithm.version": "2"}


@dataclass(frozen=True)
class Checkpoints:
    """The parts of one model under one set of limits: `left` by runs that were stopped, and those of this run."""

    folder: Path
    left: tuple[Path, ...]

    @classmethod
    def take_up(cls, root: Path, model_id: str, images: config.ImageSettings) -> Checkpoints:
        """The staging area below `root` for what decides the outcome of given bytes; needs the warehouse's lock.

        What is left there gets new names: an executor that survived its run for a moment then writes beside it.
        """
        limits = hashlib.sha256(json.dumps(images.refusal_limits(), sort_keys=True).encode()).hexdigest()[:16]
        folder = root / f"{model_id}-{VERSION}-{limits}"
        left = []
        for part in sorted(folder.glob("part-*")):
            left.append(folder / _new_name())
            os.replace(part, left[-1])
            shutil.rmtree(left[-1] / "_temporary", ignore_errors=True)
        return cls(folder, tuple(left))

    def add(self, outcomes: DataFrame) -> Path:
        """Compute `outcomes` into a new part."""
        part = self.folder / _new_name()
        parquet.write(schemas.select("staging", outcomes, schemas.OUTCOMES), part, options=_BY_TASK)
        return part

    def settled(self, spark: SparkSession, parts: list[Path] | tuple[Path, ...]) -> DataFrame:
        """OUTCOMES of `parts`, one row a hash: vectors, and reasons that the same bytes would give again."""
        return self._read(spark, parts).where("reason IS NULL OR permanent")

    def unsettled(self, spark: SparkSession, parts: list[Path]) -> DataFrame:
        """Of these parts the pictures that a passing trouble kept from being read."""
        return self._read(spark, parts).where("reason IS NOT NULL AND NOT permanent")

    def embedded(self, spark: SparkSession, parts: list[Path]) -> int:
        """How many vectors these parts hold."""
        return self._read(spark, parts).where(F.col("reason").isNull()).count()

    @staticmethod
    def _read(spark: SparkSession, parts: list[Path] | tuple[Path, ...]) -> DataFrame:
        if not parts:
            return spark.createDataFrame([], schemas.OUTCOMES)
        return parquet.read(spark, *parts, schema=schemas.OUTCOMES, damaged="skip")


def _new_name() -> str:
    return f"part-{secrets.token_hex(8)}"
