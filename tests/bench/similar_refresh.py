"""A night on which 1 % of the items have another picture: all lists searched, and lists updated in place.

Both with the exact plan, so that their tables must be the same to the last bit.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import contender
import mix_table
import similar_spark
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import neighbours
from lookalike import config
from lookalike.index.changes import IndexInputs
from lookalike.spark import parquet, schemas
from lookalike.spark.release_tables import ReleaseTables
from lookalike.version import VERSION
from lookalike.warehouse import local as local_warehouse
from lookalike.warehouse.record import ReleaseRecord

CHANGED = 0.01


def measure(task: neighbours.Task) -> dict:
    settings = similar_spark.settings_for(task.work, task.k, plan="exact")
    warehouse = local_warehouse.Warehouse(settings.warehouse.path)
    changed = round(CHANGED * task.items)
    with contender.spark_session(task) as spark, warehouse.stage() as first, warehouse.stage() as second:
        path, nightly = Path(task.work) / "nights", Path(task.work) / "night"
        mix_table.write(spark, Path(task.mix), [task.items + changed], path)
        before, after = nights(spark, path, nightly, task.items, changed)
        similar_spark.steps(before, settings, first)
        first.record_path.write_bytes(record(first.release_id, settings, task.items).as_json())
        searched = similar_spark.steps(after, settings, second)
        none = before.embeddings.limit(0)
        lists = parquet.read(spark, first.neighbours, schema=schemas.NEIGHBOURS)
        release = ReleaseTables(first, before.embeddings, none, none, neighbours=lists)
        with warehouse.stage() as third:
            updated = similar_spark.steps(replace(after, before=release), settings, third)
            tables = (parquet.read(spark, staged.similar_items).drop("release_id") for staged in (second, third))
            assert same(*tables), "the updated lists differ from the searched ones"
    return {
        "exact, all lists searched": line(searched),
        "exact, 1 % changed": line(updated),
    }


def record(release_id: str, settings: config.Settings, items: int) -> ReleaseRecord:
    """What the next night asks of the first."""
    counts = {"items": items, "embedded": items, "failed": 0, "failed_by_reason": {}, "similar_items": items}
    return ReleaseRecord.model_validate(
        {
            "release_id": release_id,
            "parent": None,
            "created_at": "2026-01-02T03:04:05+00:00",
            "lookalike": VERSION,
            "counts": {**counts, "recall": 1.0, "recall_sample": items},
            "model": {"model_id": "feed5eed"},
            "config": settings.model_dump(mode="json"),
        }
    )


def nights(spark: SparkSession, path: Path, nightly: Path, items: int, changed: int) -> tuple[IndexInputs, IndexInputs]:
    """The first `items` vectors; and the same with other vectors for the first `changed` items. Both are written."""
    every = parquet.read(spark, path)
    last = mix_table.item_ids(items - 1, items)[0]
    before = every.where(F.col("item_id") <= last)
    names = spark.createDataFrame(
        list(zip(mix_table.item_ids(items, items + changed), mix_table.item_ids(0, changed), strict=True)),
        "item_id string, of string",
    )
    others = (
        every.join(F.broadcast(names), on="item_id", how="inner").drop("item_id").withColumnRenamed("of", "item_id")
    )
    kept = before.where(F.col("item_id") > mix_table.item_ids(changed - 1, changed)[0])
    tables = ((nightly / "before", before), (nightly / "after", kept.unionByName(others)))
    first, second = (IndexInputs(parquet.write_and_read(rows, folder), folder) for folder, rows in tables)
    return first, second


def same(one: DataFrame, other: DataFrame) -> bool:
    """Whether two tables have the same rows."""
    return one.exceptAll(other).isEmpty() and other.exceptAll(one).isEmpty()


def line(seconds: dict[str, float]) -> dict[str, float]:
    """A line of the table."""
    both = {"build_seconds": seconds["index"], "query_seconds": seconds["neighbours"]}
    return {**both, "seconds": round(sum(both.values()), 2)}


if __name__ == "__main__":
    neighbours.main(measure)
