"""Our search as the nightly job runs it: the steps index and neighbours, on an embeddings table.

The start of the session and the writing of the table are not counted; they warm the Python workers up.
"""

from __future__ import annotations

import time
from pathlib import Path

import contender
import mix_table

import neighbours
from lookalike import config
from lookalike.index.changes import IndexInputs
from lookalike.index.layout import IndexLayout
from lookalike.index.step import build_index
from lookalike.neighbours.incremental import find_changes
from lookalike.neighbours.step import write_neighbours
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
            seconds = steps(IndexInputs(parquet.read(spark, table), table), settings, staged)
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


def steps(sources: IndexInputs, settings: config.Settings, staged: release.Staged) -> dict[str, float]:
    """Seconds of the job's two steps, from nothing or after the release of the sources."""
    spark, start = sources.embeddings.sparkSession, time.perf_counter()
    index = build_index(sources, IndexLayout(staged.index, staged.work), settings)
    indexed = time.perf_counter()
    changes = find_changes(spark, sources.before, index, settings)
    write_neighbours(spark, index, settings, staged, changes)
    return {"index": round(indexed - start, 2), "neighbours": round(time.perf_counter() - indexed, 2)}


if __name__ == "__main__":
    neighbours.main(measure)
