"""A night on which 1 % of the items have another picture: all lists searched, and lists updated in place.

Both with the exact plan, so that their tables must be the same to the last bit.
"""

from __future__ import annotations

from pathlib import Path

import contender
import mix_table
import numpy as np
import similar_spark
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import neighbours
from lookalike.neighbours.incremental import NeighbourChanges
from lookalike.spark import parquet, schemas
from lookalike.warehouse import local as local_warehouse

CHANGED = 0.01


def measure(task: neighbours.Task) -> dict:
    settings = similar_spark.settings_for(task.work, task.k, plan="exact")
    warehouse = local_warehouse.Warehouse(settings.warehouse.path)
    changed = round(CHANGED * task.items)
    with contender.spark_session(task) as spark, warehouse.stage() as first, warehouse.stage() as second:
        path = Path(task.work) / "nights"
        mix_table.write(spark, Path(task.mix), [task.items + changed], path)
        before, after = nights(spark, path, task.items, changed)
        similar_spark.steps(before, settings, first)
        searched = similar_spark.steps(after, settings, second)
        ids = np.array(mix_table.item_ids(0, changed), dtype=np.bytes_)
        lists = parquet.read(spark, first.neighbours, schema=schemas.NEIGHBOURS)
        with warehouse.stage() as third:
            updated = similar_spark.steps(after, settings, third, NeighbourChanges(ids, lists, None, 1))
            tables = (parquet.read(spark, staged.similar_items).drop("release_id") for staged in (second, third))
            assert same(*tables), "the updated lists differ from the searched ones"
    return {
        "exact, all lists searched": line(searched),
        "exact, 1 % changed": line(updated),
    }


def nights(spark: SparkSession, path: Path, items: int, changed: int) -> tuple[DataFrame, DataFrame]:
    """The first `items` vectors; and the same with other vectors for the first `changed` items."""
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
    return before, kept.unionByName(others)


def same(one: DataFrame, other: DataFrame) -> bool:
    """Whether two tables have the same rows."""
    return one.exceptAll(other).isEmpty() and other.exceptAll(one).isEmpty()


def line(seconds: dict[str, float]) -> dict[str, float]:
    """A line of the table."""
    both = {"build_seconds": seconds["index"], "query_seconds": seconds["neighbours"]}
    return {**both, "seconds": round(sum(both.values()), 2)}


if __name__ == "__main__":
    neighbours.main(measure)
