"""What a run checks of its executors before it begins: in one small job on a cluster, in none on one machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pyspark.sql import SparkSession

from lookalike import config
from lookalike.doctor import hosts, probe, resources
from lookalike.doctor.check import Check
from lookalike.doctor.resources import Executors
from lookalike.doctor.spark_settings import SparkSettings
from lookalike.errors import ClusterError
from lookalike.progress import say, signs_of_life


def check(spark: SparkSession, settings: config.Settings) -> None:
    """Say in a line what the executors have and need; raises ClusterError for what cannot work."""
    told = spark_settings(spark)
    _need([resources.check_worker_limit(settings, told)])  # under one that is too small no task can say anything
    if told.kind == "local":
        found = executors(spark, settings, told, [probe.look()])
    else:
        with signs_of_life("the wait for executors"):
            answers = hosts.ask(spark, probe.look)
        _need(hosts.check_python(probe.look(), answers))
        found = executors(spark, settings, told, answers)
    if found.state == "fail":
        raise ClusterError(found.line())
    say(found.line(), "executors", "info" if found.state == "ok" else "warning", **found.figures())


def spark_settings(spark: SparkSession) -> SparkSettings:
    """Return what the session was told of memory; raises ClusterError for a size that is none."""
    conf = spark.sparkContext.getConf()
    try:
        return SparkSettings.of(lambda name: conf.get(name))
    except ValueError as error:
        raise ClusterError(f"Spark's settings: {error}; give one such as 1800m or 2g") from None


def executors(
    spark: SparkSession, settings: config.Settings, told: SparkSettings, answers: Sequence[hosts.Answer]
) -> Executors:
    """Return the executors that are there, on the machines that have answered."""
    machine = min(one["memory"] for one in answers)
    if told.kind == "local":  # without a question to Spark, the first of which takes its JVM a while
        return Executors.of(settings, told, [told.local_cores or answers[0]["cpus"]], machine)
    there = hosts.active(spark)
    most = max(Counter(one.host for one in there).values(), default=1)
    return Executors.of(settings, told, [one.cores for one in there], machine, most)


def _need(checks: Sequence[Check]) -> None:
    for one in checks:
        if one.state == "fail":
            raise ClusterError(f"{one.found}; {one.advice}")
