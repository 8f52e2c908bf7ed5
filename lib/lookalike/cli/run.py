"""`lookalike run`: the nightly job."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from lookalike import config, config_file
from lookalike.cli import exits, options, output, streams
from lookalike.cli.reports import Reports
from lookalike.cli.result import Result
from lookalike.warehouse import opening

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PUBLISHED = "published"

# Parts of release.json that are figures of the run.
FIGURES = ("created_at", "parent", "model", "counts", "changes", "pictures", "shards", "gates", "seconds")


def run(
    config_path: options.ConfigPath,
    overrides: options.Overrides = None,
    as_json: options.AsJson = False,
    result: options.ResultPlace = None,
    log_format: options.LogFormat = "text",
) -> None:
    """Publish a release of the catalogue as it is now: embeddings, index and similar items.

    Exit codes: 0 published, or nothing to do; 2 a setting, the catalogue, the weights or the warehouse; 3 refused by a
    gate, and the current release stays; 1 anything else.
    """
    kept = Result(result, config_path, overrides or ())
    reports = Reports()

    def on_failure(end: exits.End) -> None:
        kept.write_failure(end)
        reports.fail(end)

    with streams.log_as(log_format), exits.exit_code(as_json=as_json, on_failure=on_failure):
        kept.write_start()
        settings = config_file.load(config_path, overrides or ())
        reports.start(settings)
        # Spark and pandas take a second to import, which --help and shell completion do without.
        from lookalike.cli import checks
        from lookalike.cli.session import session

        checks.before_run(settings)
        with session("run", settings) as spark:
            figures = refresh(spark, settings)
        kept.write_success(figures["outcome"], figures["release_id"])
        reports.succeed(published=figures["outcome"] == PUBLISHED)
        if as_json:
            output.print_json(figures)


def refresh(spark: SparkSession, settings: config.Settings) -> dict[str, Any]:
    """Run the job; return the figures of the release that is then current, and whether this run published it."""
    from lookalike import pipeline
    from lookalike.doctor import startup
    from lookalike.spark import watch

    with watch.watched(spark):
        published = pipeline.refresh(spark, settings, partial(startup.check, spark, settings))
    warehouse = opening.open_warehouse(settings)
    release = warehouse.need_current()
    stored = release.record().model_dump(mode="json", exclude_unset=True)
    return {
        "outcome": PUBLISHED if published else "nothing to do",
        "release_id": release.release_id,
        "place": warehouse.place_of(release),
        **{name: stored[name] for name in FIGURES if name in stored},
    }
