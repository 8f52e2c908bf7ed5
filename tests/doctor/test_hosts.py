"""What the executors answer: compared with the driver, and put together by host."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from pyspark.sql import SparkSession

from lookalike.doctor import hosts, probe
from lookalike.errors import ClusterError


@pytest.fixture(scope="module")
def mine() -> dict[str, Any]:
    """What this process would answer as an executor."""
    return probe.look_deeper()


def other(mine: dict[str, Any], host: str, **changes: Any) -> dict[str, Any]:
    """The answer of another host, which differs in these."""
    answer = {**copy.deepcopy(mine), "host": host}
    answer["packages"] |= changes.pop("packages", {})
    return {**answer, **changes}


def states(checks: list[hosts.Check]) -> list[tuple[str, str]]:
    return [(check.state, check.found) for check in checks]


def test_hosts_like_the_driver_are_one_line(mine: dict[str, Any]) -> None:
    (check,) = hosts.check_python(mine, [other(mine, "w1"), other(mine, "w2")])
    assert check.state == "ok"
    assert "on 2 hosts (w1, w2) as on the driver" in check.found


@pytest.mark.parametrize(
    ("name", "version", "state"),
    [("lookalike", "0.1", "fail"), ("annoy", "0.1", "fail"), ("numpy", "0.1", "warn"), ("numpy", None, "fail")],
)
def test_package_of_another_version_is_named_with_its_host(
    mine: dict[str, Any], name: str, version: str | None, state: str
) -> None:
    found = states(hosts.check_python(mine, [other(mine, "w1"), other(mine, "w2", packages={name: version})]))
    assert found == [(state, f"{name} {version or 'none'} on w2, {mine['packages'][name]} on the driver")]


def test_engine_of_the_settings_must_be_everywhere(mine: dict[str, Any]) -> None:
    without = other(mine, "w1", engines=["ai-edge-litert"])
    assert [hosts.check_engines(one, [without]).state for one in ("litert", "openvino", "auto")] == [
        "ok",
        "fail",
        "fail",
    ]


@pytest.mark.parametrize(("golden", "said"), [("0" * 64, "it has other bytes"), ("ended by signal 4", "signal 4")])
def test_annoy_that_builds_other_bytes_or_ends_is_found(mine: dict[str, Any], golden: str, said: str) -> None:
    assert hosts.check_annoy(mine, [other(mine, "w1")]).state == "ok"
    check = hosts.check_annoy(mine, [other(mine, "w1"), other(mine, "w2", golden=golden)])
    assert check.state == "fail"
    assert "on w2 is not that of the driver" in check.found
    assert said in check.found


def test_index_that_ends_its_process_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_GOLDEN", "import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    assert probe.golden() == "ended by signal 4"
    monkeypatch.setattr(probe, "_GOLDEN", "import no_such_module")
    assert probe.golden() == "ModuleNotFoundError: No module named 'no_such_module'"


def test_all_hosts_answer_once(spark: SparkSession, mine: dict[str, Any]) -> None:
    (answer,) = hosts.ask(spark, probe.look)
    varies = ("time", "golden")
    assert {**answer, "time": 0} == {**{name: one for name, one in mine.items() if name not in varies}, "time": 0}


def test_task_that_fails_is_a_named_error_without_a_stack(spark: SparkSession) -> None:
    def fail(_: object) -> dict[str, Any]:
        raise OSError("no such thing here")

    with pytest.raises(ClusterError, match="failed on the executors: OSError: no such thing here; see their logs"):
        hosts.ask(spark, fail)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[PYTHON_VERSION_MISMATCH] Python in worker has different version: 3.12 than that in driver: 3.11, PySpark",
            "run Python 3.12, the driver Python 3.11",
        ),
        (
            'java.io.IOException: Cannot run program "./env/bin/python": error=2',
            "cannot start Python, ./env/bin/python",
        ),
    ],
)
def test_python_that_is_another_or_not_there_is_named(text: str, said: str) -> None:
    assert said in str(hosts._named(text))
