"""The embed step as the nightly job runs it: catalogue -> the model kept in the warehouse -> staged tables."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import contender
import memory
import prepare
from pyspark.sql import DataFrame

from lookalike import catalogue, embed, models, release, tables


def measure(task: contender.Task) -> dict:
    settings = prepare.settings(task)
    warehouse = release.Warehouse(settings.warehouse.path)
    with contender.spark_session(task) as spark, memory.watch() as peak:
        items = catalogue.read(spark, settings)
        model = models.prepare(settings.model, warehouse.models, _no_sample)
        with warehouse.stage() as staged:
            written = embed.write_tables(items, model, settings, staged)
            end_to_end = time.time() - task.started
            failed = failures(written, task.pictures)

        with warehouse.stage() as staged, timed_writes() as seconds:
            again = time.perf_counter()
            embed.write_tables(items, model, settings, staged)
            steady = time.perf_counter() - again
    return {
        **contender.speeds(task, end_to_end, steady),
        # of the second pass: the UDF and its output, without what write_tables does around it
        "embed_action_seconds": round(seconds["outcomes"], 2),
        "embed_action": round(task.pictures / seconds["outcomes"], 2),
        "failed": failed,
        "worker_mb": peak.megabytes,
    }


def failures(written: tuple[DataFrame, DataFrame], pictures: int) -> int:
    """How many pictures could not be embedded; every picture is in one of the two tables."""
    embedded, failed = (table.count() for table in written)
    assert embedded + failed == pictures, f"{embedded} embedded and {failed} failed of {pictures}"
    return failed


def _no_sample(_wanted: int) -> None:
    raise AssertionError("the model should have been found in the warehouse")


@contextmanager
def timed_writes() -> Iterator[dict[str, float]]:
    """Seconds of each table that is written inside the context, by the folder's name."""
    seconds: dict[str, float] = {}
    genuine = tables.write

    def timed(frame: DataFrame, path: Path) -> None:
        start = time.perf_counter()
        genuine(frame, path)
        seconds[path.name] = time.perf_counter() - start

    with patch.object(tables, "write", timed):
        yield seconds


if __name__ == "__main__":
    contender.main(measure)
