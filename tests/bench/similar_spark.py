"""Our search as the nightly job runs it: the steps index and similar, over an embeddings table.

Not counted are the start of the session and the table's writing, which has warmed its Python workers up.
"""

from __future__ import annotations

import time
from pathlib import Path

import contender
import mix_table
from pyspark.sql import DataFrame

import neighbours
from lookalike import config
from lookalike.index import layout
from lookalike.index import step as index
from lookalike.neighbours import incremental
from lookalike.neighbours import step as similar
from lookalike.quality import recall
from lookalike.spark import parquet
from lookalike.warehouse import local as local_warehouse
from lookalike.warehouse import release


def measure(task: neighbours.Task) -> dict:
    settings = settings_for(task.work, task.k)
    with contender.spark_session(task) as spark:
        table = Path(task.work) / "embeddings"
        mix_table.write(spark, Path(task.mix), [task.items], table)
        with local_warehouse.Warehouse(settings.warehouse.path).stage() as staged:
            seconds = steps(parquet.read(spark, table), settings, staged)
            found = mix_table.neighbours(staged.similar_items, task.items, task.k)
            guess = recall.estimate(parquet.read(spark, table), parquet.read(spark, staged.similar_items), settings)
    figures = neighbours.figures(task, seconds["index"], seconds["similar"], found)
    interval = {"estimate": guess.estimate, "low": guess.low, "high": guess.high}
    return {"lookalike through Spark": {**figures, **{name: round(value, 5) for name, value in interval.items()}}}


def settings_for(work: str, k: int, group_by: str | None = None, plan: str = "auto") -> config.Settings:
    """The job's own defaults, but for these."""
    return config.Settings.model_validate(
        {
            "catalogue": {"path": f"{work}/none"},
            "warehouse": {"path": f"{work}/warehouse"},
            "similar": {"k": k, "group_by": group_by, "plan": plan},
        }
    )


def steps(
    embeddings: DataFrame,
    settings: config.Settings,
    staged: release.Staged,
    changed: incremental.NeighbourChanges | None = None,
) -> dict[str, float]:
    """Seconds of the job's two steps."""
    start = time.perf_counter()
    folders = layout.IndexLayout(staged.index, staged.work)
    rows = similar.with_lists(embeddings, settings, changed)
    shards = index.build(rows, index.plan(embeddings, settings), folders, settings)
    indexed = time.perf_counter()
    similar.write_table(index.BuiltIndex(rows, shards, folders), settings, staged, changed)
    return {"index": round(indexed - start, 2), "similar": round(time.perf_counter() - indexed, 2)}


if __name__ == "__main__":
    neighbours.main(measure)
