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
    diff,
    embed,
    facts,
    fingerprints,
    index,
    models,
    quality,
    release,
    report,
    similar,
)
from lookalike.images import preprocessing
from lookalike.progress import Steps, say
from lookalike.staging import Staging


def refresh(spark: SparkSession, settings: config.Settings, _options: argparse.Namespace) -> None:
    """One run, every step by its name."""
    steps = Steps()
    warehouse = release.Warehouse(settings.warehouse.path)
    with warehouse.writer(settings.warehouse.lock_ttl) as held, warehouse.stage() as staged:
        with steps.step("read", f"catalogue {settings.catalogue.path}"):
            items = catalogue.read(spark, settings)

        with steps.step("model", f"ResNet50, {settings.model.weights} weights, {settings.model.precision}"):
            sample = partial(embed.sample_pictures, items, settings)
            model = models.prepare(settings.model, warehouse.models, sample, preprocessing(settings.images))
            models.check_fidelity(model, settings.model.min_fidelity)

        with steps.step("diff", f"by {settings.catalogue.change_detection}, against the current release"):
            before = diff.open_release(spark, staged.parent)
            seen = fingerprints.with_fingerprint(items, settings)
            delta = diff.compare(seen, before, model.model_id, settings, staged.work)
        say(facts.changes(delta, model.model_id))
        same_recipe = before is not None and before.made_like(settings)
        if before and delta.is_nothing and same_recipe:
            say(f"nothing to do: the release {before.release.release_id} is up to date and stays current")
            return

        with steps.step("embed", f"pictures through model {model.model_id}"):
            staging = Staging.take_up(warehouse.staging(staged.parent), model.model_id, settings.images)
            earlier = diff.earlier(warehouse.releases(), model.model_id, staged.parent)
            written = embed.write_tables(delta, embed.Job(model, settings, staged, staging, earlier))

        if before and same_recipe and not written.moved:
            with steps.step("similar", "index and neighbours of the current release: no picture moved"):
                shards = index.take_over(before.release, staged)
                similar_items = similar.take_over(spark, before.release, staged)
        else:
            with steps.step("index", f"Annoy shards of {settings.index.trees} trees"):
                folders = index.Folders(staged.index, staged.work)
                plan = index.plan(written.embeddings, settings)
                built = index.build(written.embeddings, plan, folders, settings, staged.parent)
                shards = index.ShardCounts.of(built)

            with steps.step("similar", f"{settings.similar.k} neighbours an item, exact search"):
                similar_items = similar.write_table(spark, built, folders, settings, staged)

        with steps.step("gates", "failures, vectors, neighbours and recall"):
            tables = quality.Tables(written.embeddings, written.failures, similar_items)
            figures = quality.measure(tables, settings, before)
            gates = quality.gates(figures, settings)
        for gate in gates:
            say(f"          {gate.line()}")

        work = facts.Work(delta.counts, written.read, written.embedded, shards, steps.seconds)
        record = facts.of_run(settings, model, figures, gates, work)
        if settings.report.enabled:
            with steps.step("report", "the page"):
                report.write(tables, record, staged.report)

        with steps.step("publish", f"release {staged.release_id}"):
            warehouse.publish(staged, {**record, "seconds": dict(steps.seconds)}, quality.refused(gates), held)
    say(facts.summary(record, warehouse.path))


if __name__ == "__main__":
    sys.exit(common.run(refresh, common.arguments(str(__doc__).splitlines()[0])))
