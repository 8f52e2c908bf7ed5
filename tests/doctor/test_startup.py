"""What a run checks before it begins."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pyspark.sql import SparkSession

from lookalike import config, progress
from lookalike.doctor import hosts, memory, probe, startup
from lookalike.doctor.spark_settings import SparkSettings
from lookalike.errors import ClusterError
from lookalike.spark.watch import ExecutorState


def told(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    """Let the session of the tests have been told this."""
    named = {name.replace("_", "."): value for name, value in settings.items()}
    monkeypatch.setattr(startup, "spark_settings", lambda _: SparkSettings.of(named.get))


def test_run_on_one_machine_says_what_that_has_and_needs_and_starts_no_job(
    spark: SparkSession,
    settings: Callable[..., config.Settings],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(hosts, "ask", None)
    startup.check(spark, settings())
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("this machine: 2 cores, ")
    assert ", needs " in line


def test_run_on_executors_asks_them_first(
    spark: SparkSession,
    settings: Callable[..., config.Settings],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    told(monkeypatch, spark_master="yarn", spark_executor_memory="2g")
    there = [ExecutorState(name, "w1", True, 0, 2) for name in ("1", "2")]
    monkeypatch.setattr(hosts.watch, "executors", lambda _: [*there, ExecutorState("driver", "w0", True, 0, 0)])
    with progress.written_as("json"):
        startup.check(spark, settings())
    (line,) = capsys.readouterr().err.splitlines()
    assert '"level": "warning", "step": null, "event": "executors"' in line
    assert '"message": "executors: 2 of 2 cores, 2.4 GiB each, needs ' in line
    assert '"executors": 2, "tasks": 2, ' in line


@pytest.mark.parametrize(
    ("spark_settings", "said"),
    [
        ({"spark_executor_pyspark_memory": "1g"}, "1.0 GiB of address space"),
        ({"spark_master": "yarn", "spark_executor_memory": "384m"}, "needs .*memoryOverhead="),
    ],
)
def test_what_cannot_work_is_refused_with_the_line_to_set(
    spark: SparkSession,
    settings: Callable[..., config.Settings],
    monkeypatch: pytest.MonkeyPatch,
    spark_settings: dict[str, str],
    said: str,
) -> None:
    told(monkeypatch, **spark_settings)
    monkeypatch.setattr(memory, "JVM", 1 << 30)
    with pytest.raises(ClusterError, match=said) as refused:
        startup.check(spark, settings())
    assert refused.value.exit_code == 2


def test_executor_with_another_version_is_refused(
    spark: SparkSession, settings: Callable[..., config.Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    told(monkeypatch, spark_master="yarn", spark_executor_memory="8g")
    answer = probe.look()
    old = {**answer, "host": "w2", "packages": {**answer["packages"], "lookalike": "0.1.0"}}
    monkeypatch.setattr(hosts, "ask", lambda *_: [answer, old])
    with pytest.raises(ClusterError, match=r"lookalike 0\.1\.0 on w2"):
        startup.check(spark, settings())


def test_size_that_is_none_is_a_named_error(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> SparkSettings:
        raise ValueError("'x' is no size of Spark's")

    monkeypatch.setattr(SparkSettings, "of", refuse)
    with pytest.raises(ClusterError, match="Spark's settings: 'x' is no size of Spark's; give one such"):
        startup.spark_settings(spark)
