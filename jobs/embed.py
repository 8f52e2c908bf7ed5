"""The nightly job: catalogue -> published release of embeddings, index and similar items.

spark-submit jobs/embed.py --config conf/nightly.yaml [--set key=value …]
"""

from __future__ import annotations

import argparse
import sys
from functools import partial

from pyspark.sql import SparkSession

import common
from lookalike import (
    catalogue,
    config,
    embed,
    facts,
    index,
    models,
    quality,
    release,
    report,
    similar,
)
from lookalike.progress import Steps, say


def refresh(spark: SparkSession, settings: config.Settings, _options: argparse.Namespace) -> None:
    """One run, every step by its name."""
    steps = Steps()
    warehouse = release.Warehouse(settings.warehouse.path)
    with steps.step("read", f"catalogue {settings.catalogue.path}"):
        items = catalogue.read(spark, settings)

    with warehouse.stage() as staged:
        with steps.step("model", f"ResNet50, {settings.model.weights} weights, {settings.model.precision}"):
            sample = partial(embed.sample_pictures, items, settings)
            model = models.prepare(settings.model, warehouse.models, sample)
            models.check_fidelity(model, settings.model.min_fidelity)

        with steps.step("embed", f"pictures through model {model.model_id}"):
            embeddings, failures = embed.write_tables(items, model, settings, staged)

        with steps.step("index", f"Annoy shards of {settings.index.trees} trees"):
            folders = index.Folders(staged.index, staged.work)
            built = index.build(embeddings, index.plan(embeddings, settings), folders, settings)

        with steps.step("similar", f"{settings.similar.k} neighbours an item, exact search"):
            similar_items = similar.write_table(spark, built, folders, settings, staged)

        with steps.step("gates", "failures and recall"):
            tables = quality.Tables(embeddings, failures, similar_items)
            figures = quality.measure(tables, settings)
            gates = quality.gates(figures, settings)
            quality.enforce(gates)

        record = facts.of_run(settings, model, figures, gates, steps.seconds)
        if settings.report.enabled:
            with steps.step("report", "the page"):
                report.write(tables, record, staged.root / "report.html")

        with steps.step("publish", f"release {staged.release_id}"):
            warehouse.publish(staged, {**record, "seconds": dict(steps.seconds)})
    say(facts.summary(record, warehouse.path))


if __name__ == "__main__":
    sys.exit(common.run(refresh, common.arguments(str(__doc__).splitlines()[0])))
