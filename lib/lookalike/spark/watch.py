"""Say which executors were lost and which tasks failed while a command works: Spark tries them again without a word.

Spark's own status store is asked now and then, which also works where the driver runs on the cluster.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

from lookalike.errors import raised_in_worker
from lookalike.progress import say_detail
from lookalike.spark.failures import last_cause

# Seconds between two questions: one call, 2 ms with 2 executors.
_SECONDS = 2.0

# Why executors end that the driver gave back, such as those with nothing to do: nothing is lost.
_GIVEN_BACK = re.compile(r"killed by driver|explicit termination request")

# Failed tasks that are read for their reason.
_READ = 20


@dataclass(frozen=True)
class ExecutorState:
    """What Spark says of one executor; `reason` why it ended, if it did."""

    name: str
    host: str
    active: bool
    failed: int  # tasks
    cores: int = 1
    reason: str | None = None

    @classmethod
    def of(cls, summary: Mapping[str, Any]) -> ExecutorState:
        """Return that of an ExecutorSummary of Spark."""
        host = str(summary["hostPort"]).rpartition(":")[0]
        cores, failed = summary["totalCores"], summary["failedTasks"]
        return cls(summary["id"], host, summary["isActive"], failed, cores, summary.get("removeReason"))

    @property
    def is_driver(self) -> bool:
        """Whether it is the driver's own entry, which runs tasks in local mode only."""
        return self.name == "driver"


@dataclass(frozen=True)
class Changes:
    """What happened to the executors between two questions."""

    lost: Sequence[ExecutorState]
    failed: Mapping[str, int]  # tasks by the host that they failed on
    left: int  # executors


def changes(before: Mapping[str, ExecutorState], now: Sequence[ExecutorState]) -> Changes:
    """Return what happened since `before`."""
    lost, failed = [], dict[str, int]()
    for one in now:
        was = before.get(one.name)
        if one.active:
            more = one.failed - (was.failed if was else 0)
            failed[one.host] = failed.get(one.host, 0) + more
        elif (was is None or was.active) and not _GIVEN_BACK.search(one.reason or ""):
            lost.append(one)
    failed = {host: tasks for host, tasks in failed.items() if tasks}
    return Changes(lost, failed, sum(one.active and not one.is_driver for one in now))


def executors(spark: SparkSession) -> list[ExecutorState]:
    """Return what Spark knows of its executors, those that have ended too."""
    store = spark.sparkContext._jsc.sc().statusStore()
    return [ExecutorState.of(one) for one in _as_json(spark, store.executorList(False))]


@contextmanager
def watched(spark: SparkSession) -> Iterator[None]:
    """Say in the context what happens to the executors, and to their tasks."""
    stop, seen = threading.Event(), _Seen(spark)

    def watch() -> None:
        seen.look()
        while not stop.wait(_SECONDS):
            seen.look()

    thread = threading.Thread(target=watch, name="executors", daemon=True)
    thread.start()
    try:
        yield
        seen.look()  # an error tells by itself what has failed last
    finally:
        stop.set()
        thread.join()


class _Seen:
    """The executors as they were seen last."""

    def __init__(self, spark: SparkSession) -> None:
        self._spark, self._lock = spark, threading.Lock()
        self._known: dict[str, ExecutorState] | None = None

    def look(self) -> None:
        """Say what happened since the last time; the first time, nothing."""
        with self._lock, suppress(Py4JError, OSError):  # a JVM that is gone is the command's to tell
            now = executors(self._spark)
            if self._known is not None:
                _say(self._spark, changes(self._known, now))
            self._known = {one.name: one for one in now}


def _say(spark: SparkSession, found: Changes) -> None:
    for one in found.lost:
        what = f"executor {one.name} on {one.host} is lost ({_brief(one.reason)})"
        say_detail(
            f"{what}; {found.left} left, and its tasks run again",
            "executor_lost",
            "warning",
            executor=one.name,
            host=one.host,
            left=found.left,
        )
    for host, tasks in found.failed.items():
        reason = _reason(spark)
        what = f"{tasks} task{'s' * (tasks > 1)} failed on {host}{f' ({reason})' if reason else ''}"
        say_detail(f"{what}; Spark tries again", "tasks_failed", "warning", host=host, tasks=tasks)


def _reason(spark: SparkSession) -> str | None:
    """Return why the last task failed of the stages that run; None where that is not known any more."""
    store, jvm = spark.sparkContext._jsc.sc().statusStore(), spark.sparkContext._jvm
    assert jvm
    api = jvm.org.apache.spark.status.api.v1
    wanted = jvm.java.util.ArrayList()
    wanted.add(api.TaskStatus.FAILED)
    for stage in _as_json(spark, store.activeStages()):
        at = stage["stageId"], stage["attemptId"]
        failed = _as_json(spark, store.taskList(*at, 0, _READ, api.TaskSorting.ID, wanted))
        if failed:
            return _brief(failed[-1].get("errorMessage"))
    return None


def _brief(text: str | None) -> str:
    """Return a reason of Spark's in a few words: without the stack that comes with it."""
    named = raised_in_worker(text or "")
    return f"{type(named).__name__}: {named}" if named else last_cause(text or "no reason given")[:300]


def _as_json(spark: SparkSession, thing: Any) -> list[dict[str, Any]]:
    """Return a list of Spark's as its own web API would, in one call: each field of each executor would be one."""
    jvm = spark.sparkContext._jvm
    assert jvm
    writer = jvm.org.apache.spark.status.api.v1.JacksonMessageWriter()
    found: list[dict[str, Any]] = json.loads(writer.mapper().writeValueAsString(thing))
    return found
