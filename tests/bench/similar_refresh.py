"""A night on which 1 % of the items have another picture: all lists computed anew, and lists that follow the change.

Both with the exact plan, so that their tables must be the same, to the last bit.
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
from lookalike.neighbours import incremental
from lookalike.spark import parquet, schemas
from lookalike.warehouse import local as local_warehouse

CHANGED = 0.01


def measure(task: neighbours.Task) -> dict:
    settings = similar_spark.settings_for(task.work, task.k, plan="exact")
    warehouse = local_warehouse.Warehouse(settings.warehouse.path)
    moved = round(CHANGED * task.items)
    with contender.spark_session(task) as spark, warehouse.stage() as first, warehouse.stage() as anew:
        path = Path(task.work) / "nights"
        mix_table.write(spark, Path(task.mix), [task.items + moved], path)
        before, after = nights(spark, path, task.items, moved)
        similar_spark.steps(before, settings, first)
        whole = similar_spark.steps(after, settings, anew)
        ids = np.array(mix_table.item_ids(0, moved), dtype=np.bytes_)
        lists = parquet.read(spark, first.neighbours, schema=schemas.NEIGHBOURS)
        with warehouse.stage() as mended:
            followed = similar_spark.steps(after, settings, mended, incremental.NeighbourChanges(ids, lists, 1))
            tables_of = (parquet.read(spark, staged.similar_items).drop("release_id") for staged in (anew, mended))
            assert same(*tables_of), "the lists that followed are others than those computed anew"
    return {
        "exact, all lists anew": line(whole),
        "exact, 1 % changed": line(followed),
    }


def nights(spark: SparkSession, path: Path, items: int, moved: int) -> tuple[DataFrame, DataFrame]:
    """The first `items` vectors; the same, but the first `moved` items have the vectors that are left over."""
    every = parquet.read(spark, path)
    last = mix_table.item_ids(items - 1, items)[0]
    before = every.where(F.col("item_id") <= last)
    names = spark.createDataFrame(
        list(zip(mix_table.item_ids(items, items + moved), mix_table.item_ids(0, moved), strict=True)),
        "item_id string, of string",
    )
    others = (
        every.join(F.broadcast(names), on="item_id", how="inner").drop("item_id").withColumnRenamed("of", "item_id")
    )
    kept = before.where(F.col("item_id") > mix_table.item_ids(moved - 1, moved)[0])
    return before, kept.unionByName(others)


def same(one: DataFrame, other: DataFrame) -> bool:
    """Whether two tables have the same rows."""
    return one.exceptAll(other).isEmpty() and other.exceptAll(one).isEmpty()


def line(seconds: dict[str, float]) -> dict[str, float]:
    """A line of the table."""
    both = {"build_seconds": seconds["index"], "query_seconds": seconds["similar"]}
    return {**both, "seconds": round(sum(both.values()), 2)}


if __name__ == "__main__":
    neighbours.main(measure)
