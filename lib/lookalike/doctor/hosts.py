"""Ask every executor what it is: plain tasks, several to an executor, whose answers are put together by host."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark import cloudpickle
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from lookalike.doctor import probe
from lookalike.doctor.check import Check, State
from lookalike.errors import ClusterError
from lookalike.spark import watch
from lookalike.spark.failures import last_cause

Answer = dict[str, Any]

# A place is given to each executor in turn, so one task an executor would do while all are idle.
TASKS_AN_EXECUTOR = 2

_OTHER_PYTHON = re.compile(r"in worker has different version: (\S+) than that in driver: ([\d.]+)")
_NO_PYTHON = re.compile(r'Cannot run program "([^"]+)"')

# The probe travels as code: an executor that lacks this package can then say so.
cloudpickle.register_pickle_by_value(probe)  # type: ignore[no-untyped-call]


def ask(spark: SparkSession, question: Callable[[object], Answer]) -> list[Answer]:
    """Return one answer of each host, in the order of their names; raises ClusterError where Python does not start."""
    count = TASKS_AN_EXECUTOR * max(1, len(active(spark)))
    try:
        found = spark.sparkContext.parallelize(range(count), count).map(question).collect()
    except (PySparkException, Py4JJavaError) as error:
        raise _named(str(error)) from None
    return [one for _, one in sorted({one["host"]: one for one in found}.items())]


def active(spark: SparkSession) -> list[watch.ExecutorState]:
    """Return the executors that are there now."""
    return [one for one in watch.executors(spark) if one.active and not one.is_driver]


def _named(text: str) -> ClusterError:
    if other := _OTHER_PYTHON.search(text):
        return ClusterError(
            f"the executors run Python {other[1]}, the driver Python {other[2]}; give both the same environment: "
            "spark.pyspark.python names that of the executors"
        )
    if none := _NO_PYTHON.search(text):
        return ClusterError(
            f"the executors cannot start Python, {none[1]}; spark.pyspark.python must name one that each of them has, "
            "such as that of the packed environment"
        )
    return ClusterError(f"a task that only looks around failed on the executors: {last_cause(text)}; see their logs")


def check_python(mine: Answer, hosts: Sequence[Answer]) -> list[Check]:
    """Compare the Python and the packages of the hosts with those of the driver."""
    checks = [_compared(name, mine["packages"], hosts) for name in probe.PACKAGES]
    wrong = [check for check in checks if check.state != "ok"]
    if wrong:
        return wrong
    versions = ", ".join(f"{name} {version}" for name, version in mine["packages"].items())
    return [Check("python", "ok", f"{mine['python']} with {versions}, on {_places(hosts)} as on the driver")]


def _compared(name: str, mine: dict[str, str | None], hosts: Sequence[Answer]) -> Check:
    others = [one for one in hosts if one["packages"][name] != mine[name]]
    if not others:
        return Check("python", "ok", name)
    has = others[0]["packages"][name] or "none"
    state: State = "fail" if name in ("lookalike", "pyspark", "annoy") or has == "none" else "warn"
    return Check(
        "python",
        state,
        f"{name} {has} on {_names(others)}, {mine[name]} on the driver",
        "pack the environment of the executors again, from the locks of this version",
    )


def check_engines(wanted: str, hosts: Sequence[Answer]) -> Check:
    """Check that the engine of the settings is installed on every host."""
    needed = {"litert": ["ai-edge-litert"], "openvino": ["openvino"]}.get(wanted, list(probe.ENGINES))
    missing = [(one, name) for one in hosts for name in needed if name not in one["engines"]]
    if not missing:
        return Check("engine", "ok", f"{' and '.join(needed)}, on {_places(hosts)}")
    host, name = missing[0]
    return Check("engine", "fail", f"{name} is not installed on {host['host']}", "install it, or set model.engine")


def check_annoy(mine: Answer, hosts: Sequence[Answer]) -> Check:
    """Compare the bytes of a small index that each host has built with those of the driver's."""
    others = [one for one in hosts if one["golden"] != mine["golden"]]
    if not others:
        return Check("annoy", "ok", f"an index of 400 vectors has the same bytes on {_places(hosts)} and the driver")
    what = others[0]["golden"]
    said = "it has other bytes" if re.fullmatch("[0-9a-f]{64}", what) else what
    return Check(
        "annoy",
        "fail",
        f"an index built on {_names(others)} is not that of the driver: {said}",
        "build annoy with the same flags for all, and not for one CPU: `make pack` does",
    )


def _names(hosts: Sequence[Answer]) -> str:
    names = [one["host"] for one in hosts]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _places(hosts: Sequence[Answer]) -> str:
    return f"{len(hosts)} host{'s' * (len(hosts) != 1)} ({_names(hosts)})"
