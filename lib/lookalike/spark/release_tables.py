"""A release opened as DataFrames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from lookalike import config
from lookalike.errors import WarehouseError
from lookalike.spark import parquet, schemas
from lookalike.version import VERSION
from lookalike.warehouse.release import ReleaseFolder


@dataclass(frozen=True)
class Before:
    """The current release, as far as a refresh builds on it."""

    release: ReleaseFolder
    embeddings: DataFrame
    failures: DataFrame
    record: dict[str, Any]

    @property
    def model_id(self) -> str:
        """Of all its vectors."""
        return str(self.record["model"]["model_id"])

    @property
    def plans(self) -> list[dict[str, Any]]:
        """How its groups were searched; none for a release of an earlier version."""
        plans: list[dict[str, Any]] = self.record.get("neighbours", {}).get("plans", [])
        return plans

    def setting(self, section: str, key: str) -> Any:
        """What the release was made with; None for a key that is newer than it."""
        return self.record["config"].get(section, {}).get(key)

    def same_limits(self, settings: config.Settings) -> bool:
        """Whether a picture that was refused then would be refused now."""
        same = all(self.setting("images", key) == value for key, value in settings.images.refusal_limits().items())
        return same and self.record["lookalike"] == VERSION  # another version may read what this one could not

    def made_like(self, settings: config.Settings) -> bool:
        """Whether the same pictures would give the same release again."""
        now = settings.model_dump(mode="json")
        same = all(self.record["config"].get(name) == now[name] for name in ("index", "similar", "gates", "report"))
        kept = self.setting("catalogue", "keep_columns") == now["catalogue"]["keep_columns"]
        return same and kept and self.same_limits(settings) and self.record["lookalike"] == VERSION


def open_release(spark: SparkSession, release: ReleaseFolder | None) -> Before | None:
    """The tables of the current release, None in a new warehouse; raises WarehouseError when it is damaged."""
    if release is None:
        return None
    record = release.record()
    try:
        record["model"]["model_id"], record["config"], record["lookalike"], record["counts"]["items"]
    except (KeyError, TypeError) as error:
        raise WarehouseError(f"{release.facts} lacks {error}; roll back to another release") from None
    try:
        return Before(
            release,
            _widened(parquet.read(spark, release.embeddings), schemas.EMBEDDINGS),
            _widened(parquet.read(spark, release.failures), schemas.FAILURES),
            record,
        )
    except (PySparkException, Py4JJavaError) as error:  # a folder that is gone, a footer that is none
        reason = parquet.condition(error)
        raise WarehouseError(f"{release.root} is damaged ({reason}); roll back to another release") from None


def _widened(frame: DataFrame, schema: StructType) -> DataFrame:
    """With nulls for the columns that the release was made without."""
    missing = [field for field in schema if field.name not in frame.columns]
    return frame.select("*", *(F.lit(None).cast(field.dataType).alias(field.name) for field in missing))
