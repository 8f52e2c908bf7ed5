"""What a run says of executors that are lost and of tasks that fail."""

from __future__ import annotations

import re
import time

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from lookalike.errors import DiskError
from lookalike.spark import watch
from lookalike.spark.watch import ExecutorState


def executor(name: str, *, active: bool = True, failed: int = 0, reason: str | None = None) -> ExecutorState:
    return ExecutorState(name, f"host-{name}", active, failed, 1, reason)


def found(before: list[ExecutorState], now: list[ExecutorState]) -> watch.Changes:
    return watch.changes({one.name: one for one in before}, now)


def test_executor_that_is_not_active_any_more_is_lost_once() -> None:
    gone = executor("1", active=False, reason="worker lost")
    now = [executor("driver"), gone, executor("2")]
    changes = found([executor("driver"), executor("1"), executor("2")], now)
    assert (list(changes.lost), changes.left) == ([gone], 1)
    assert not found(now, now).lost


def test_executor_that_comes_and_goes_between_two_questions_is_lost() -> None:
    assert len(found([], [executor("3", active=False, reason="worker lost")]).lost) == 1


@pytest.mark.parametrize(
    "reason", ["Executor killed by driver.", "Container exited from explicit termination request."]
)
def test_executor_that_the_driver_gave_back_is_not_lost(reason: str) -> None:
    assert not found([executor("1")], [executor("1", active=False, reason=reason)]).lost


def test_failed_tasks_are_counted_by_host_and_those_of_a_lost_executor_are_its_own() -> None:
    before = [executor("1", failed=1), executor("2"), executor("3")]
    now = [executor("1", failed=3), executor("2"), executor("3", active=False, failed=2, reason="worker lost")]
    assert found(before, now).failed == {"host-1": 2}


def test_failed_task_is_said_with_its_reason_and_without_a_stack(
    spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: int) -> int:
        raise DiskError("the disk is full")

    seen = watch._Seen(spark)
    seen.look()
    assert capsys.readouterr().err == ""  # whatever other tests have let fail before
    with pytest.raises(PySparkException):
        spark.range(1).rdd.map(lambda row: fail(row["id"])).collect()
    (line,) = look_until_said(spark, seen, capsys).splitlines()
    assert re.match(r" *\d+ tasks? failed on ", line)
    assert line.endswith("; Spark tries again")


def look_until_said(spark: SparkSession, seen: watch._Seen, capsys: pytest.CaptureFixture[str]) -> str:
    """Spark's store may keep a failure back while tasks that other tests have cancelled still run: a job brings it."""
    end, said = time.monotonic() + 30, ""
    while not said and time.monotonic() < end:
        spark.sparkContext._jsc.sc().listenerBus().waitUntilEmpty()
        seen.look()
        said = capsys.readouterr().err
        spark.sparkContext.parallelize([0], 1).count()
    return said


def test_reason_of_a_named_error_is_its_line() -> None:
    trace = "org.apache.spark.SparkException: x\nlookalike.errors.DiskError: the disk is full\n\tat a.b"
    assert watch._brief(trace) == "DiskError: the disk is full"
    assert watch._brief("org.apache.spark.SparkException: Python worker exited\n\tat a.b(C.scala:1)") == (
        "org.apache.spark.SparkException: Python worker exited"
    )


def test_session_of_the_tests_has_the_cores_of_its_driver(spark: SparkSession) -> None:
    (one,) = watch.executors(spark)
    assert (one.is_driver, one.active, one.cores, one.reason) == (True, True, 2, None)


def test_watching_ends_with_its_context(spark: SparkSession, capsys: pytest.CaptureFixture[str]) -> None:
    with watch.watched(spark):
        pass
    assert capsys.readouterr().err == ""
