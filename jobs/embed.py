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
    changes,
    config,
    diff,
    duplicates,
    embed,
    facts,
    fingerprints,
    index,
    metastore,
    models,
    pools,
    quality,
    release,
    remote,
    report,
    similar,
    transfers,
)
from lookalike.images import preprocessing
from lookalike.progress import Steps, say
from lookalike.staging import Staging


def refresh(spark: SparkSession, settings: config.Settings, _options: argparse.Namespace) -> None:
    """One run, every step by its name."""
    steps = Steps()
    mover = transfers.mover(spark)
    warehouse = remote.open_warehouse(settings, mover)
    with warehouse.writer(settings.warehouse.lock_ttl) as held, warehouse.stage() as staged:
        with steps.step("read", f"catalogue {settings.catalogue.path}"):
            warehouse.fetch(staged.parent)
            items = catalogue.read(spark, settings, catalogue.fetched(settings, staged.work, mover))

        with steps.step("model", f"ResNet50, {settings.model.weights} weights, {settings.model.precision}"):
            sample = partial(embed.sample_pictures, items, settings)
            model = models.prepare(
                settings.model, warehouse.models, sample, preprocessing(settings.images), settings.stores
            )
            models.check_fidelity(model, settings.model.min_fidelity)

        with steps.step("diff", f"by {settings.catalogue.change_detection}, against the current release"):
            before = diff.open_release(spark, staged.parent)
            seen = fingerprints.with_fingerprint(items, settings)
            delta = diff.compare(seen, before, model.model_id, settings, staged.work)
        say(facts.changes(delta, model.model_id))
        same_recipe = before is not None and before.made_like(settings)
        if before and delta.is_nothing and same_recipe:
            say(f"nothing to do: the release {before.release.release_id} is up to date and stays current")
            publish_views(spark, warehouse, settings, steps)
            return

        with steps.step("embed", f"pictures through model {model.model_id}"):
            staging = Staging.take_up(warehouse.staging(staged.parent), model.model_id, settings.images)
            earlier = diff.earlier(warehouse.releases(), model.model_id, staged.parent)
            written = embed.write_tables(delta, embed.Job(model, settings, staged, staging, earlier))

        changed: changes.Changes | None = None
        if before and same_recipe and not written.moved:
            with steps.step("similar", "index and neighbours of the current release: no picture moved"):
                shards = index.take_over(before.release, staged)
                found = similar.take_over(spark, before.release, staged)
        else:
            with steps.step("index", f"Annoy shards of {settings.index.trees} trees"):
                folders = pools.Folders(staged.index, staged.work)
                changed = changes.find(before, written.embeddings, settings, staged)
                rows = similar.with_lists(written.embeddings, settings, changed)
                plan = index.plan(written.embeddings, settings)
                built = index.Built(rows, index.build(rows, plan, folders, settings, staged.parent), folders)
                shards = index.ShardCounts.of(built.shards)

            if settings.similar.duplicate_cosine is not None:
                with steps.step("twins", f"pictures of cosine {settings.similar.duplicate_cosine} and more"):
                    changed = duplicates.write_table(built, settings, staged, changed)

            with steps.step("similar", f"{settings.similar.wanted} neighbours an item"):
                found = similar.write_table(built, settings, staged, changed)

        with steps.step("gates", "failures, vectors, neighbours and recall"):
            tables = quality.Tables(
                written.embeddings,
                written.failures,
                found.similar_items,
                found.duplicates,
                found.restless(before, changed, settings),
            )
            figures = quality.measure(tables, settings, before)
            gates = quality.gates(figures, settings)
        for gate in gates:
            say(f"          {gate.line()}")

        work = facts.Work(delta.counts, written.read, written.embedded, shards, steps.seconds)
        record = {**facts.of_run(settings, model, figures, gates, work), "neighbours": found.facts()}
        if settings.report.enabled:
            with steps.step("report", "the page"):
                report.write(tables, record, staged.report)

        with steps.step("publish", f"release {staged.release_id}"):
            warehouse.publish(staged, {**record, "seconds": dict(steps.seconds)}, quality.refused(gates), held)
        say(facts.summary(record, warehouse.place_of(staged)))
        publish_views(spark, warehouse, settings, steps)


def publish_views(spark: SparkSession, warehouse: release.Warehouse, settings: config.Settings, steps: Steps) -> None:
    """Also after a run with nothing to do: it mends what a former one could not."""
    if settings.publish.catalog:
        with steps.step("views", f"of the database {settings.publish.catalog}"):
            metastore.point_to_current(spark, warehouse, settings)


if __name__ == "__main__":
    sys.exit(common.run(refresh, common.arguments(str(__doc__).splitlines()[0])))
