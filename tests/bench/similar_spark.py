"""Our search as the nightly job runs it: the steps index and neighbours, on an embeddings table.

The start of the session and the writing of the table are not counted; they warm the Python workers up.
"""

from __future__ import annotations

import time
from pathlib import Path

import contender
import mix_table
from pyspark.sql import DataFrame

import neighbours
from lookalike import config
from lookalike.index.layout import IndexLayout
from lookalike.index.step import build_index, plan_index
from lookalike.neighbours.incremental import NeighbourChanges
from lookalike.neighbours.step import with_search_columns, write_neighbours
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
    figures = neighbours.figures(task, seconds["index"], seconds["neighbours"], found)
    interval = {"estimate": guess.estimate, "low": guess.low, "high": guess.high}
    return {"lookalike through Spark": {**figures, **{name: round(value, 5) for name, value in interval.items()}}}


def settings_for(work: str, k: int, group_by: str | None = None, plan: str = "auto") -> config.Settings:
    """The defaults of the job, except these."""
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
    changes: NeighbourChanges | None = None,
) -> dict[str, float]:
    """Seconds of the job's two steps."""
    start = time.perf_counter()
    items = with_search_columns(embeddings, settings.similar, changes)
    layout = IndexLayout(staged.index, staged.work)
    index = build_index(items, plan_index(embeddings, settings), layout, settings)
    indexed = time.perf_counter()
    write_neighbours(index, settings, staged, changes)
    return {"index": round(indexed - start, 2), "neighbours": round(time.perf_counter() - indexed, 2)}


if __name__ == "__main__":
    neighbours.main(measure)
