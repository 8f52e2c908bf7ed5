"""The embed step as the nightly job runs it: catalogue -> the model kept in the warehouse -> staged tables."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import contender
import memory
import prepare
from pyspark.sql import SparkSession

from lookalike import config
from lookalike.catalogue import fingerprints
from lookalike.catalogue.delta import compare_to_release
from lookalike.catalogue.read import read_catalogue
from lookalike.catalogue.rows import check_rows
from lookalike.embedding import step
from lookalike.embedding.checkpoints import Checkpoints
from lookalike.embedding.reading import Reading
from lookalike.embedding.tables import EmbeddedTables, EmbedRun
from lookalike.models.compile import find_or_compile
from lookalike.models.network import CompiledModel
from lookalike.warehouse import local as local_warehouse
from lookalike.warehouse import release


def measure(task: contender.Task) -> dict:
    settings = prepare.settings(task)
    warehouse = local_warehouse.Warehouse(settings.warehouse.path)
    with contender.spark_session(task) as spark, memory.watch() as peak:
        model = find_or_compile(settings.model, warehouse.models, _no_sample, settings.images)
        with warehouse.stage() as staged:
            written = write_tables(spark, settings, model, staged)
            end_to_end = time.time() - task.started
            failed = failures(written, task.pictures)

        with warehouse.stage() as staged, timed_commits() as seconds:
            again = time.perf_counter()
            write_tables(spark, settings, model, staged)
            steady = time.perf_counter() - again
    return {
        **contender.speeds(task, end_to_end, steady),
        # of the second pass: the UDF and its output, without what write_tables does around it
        "embed_action_seconds": round(sum(seconds), 2),
        "embed_action": round(task.pictures / sum(seconds), 2),
        "failed": failed,
        **peak.figures,
    }


def write_tables(
    spark: SparkSession, settings: config.Settings, model: CompiledModel, staged: release.Staged
) -> EmbeddedTables:
    """From the catalogue to the two tables; what is embedded is forgotten with `staged`, so every pass does it all."""
    items = read_catalogue(spark, settings)
    seen = fingerprints.with_fingerprint(items, check_rows(items, settings), settings)
    delta = compare_to_release(seen, None, model.model_id, settings, staged)
    checkpoints = Checkpoints.open(staged.work / "checkpoints", model.model_id, settings.images, staged.shared)
    return step.write_embeddings(delta, EmbedRun(model, settings, staged, checkpoints))


def failures(written: EmbeddedTables, pictures: int) -> int:
    """How many pictures could not be embedded; every picture is in one of the two tables."""
    embedded, failed = written.embeddings.count(), written.failures.count()
    assert embedded + failed == pictures, f"{embedded} embedded and {failed} failed of {pictures}"
    return failed


def _no_sample(_wanted: int) -> None:
    raise AssertionError("the model should have been found in the warehouse")


@contextmanager
def timed_commits() -> Iterator[list[float]]:
    """Give the seconds of each pass that reads and embeds pictures inside the context."""
    seconds: list[float] = []
    genuine = step.read_pictures

    def timed(*arguments: object) -> Reading:
        start = time.perf_counter()
        reading = genuine(*arguments)  # type: ignore[arg-type]
        seconds.append(time.perf_counter() - start)
        return reading

    with patch.object(step, "read_pictures", timed):
        yield seconds


if __name__ == "__main__":
    contender.main(measure)
