"""Every check of `lookalike doctor`, in the order in which it prints them."""

from __future__ import annotations

import time
from collections.abc import Iterator

from pyspark.sql import SparkSession

from lookalike import config
from lookalike.doctor import clocks, driver, hosts, probe, resources, startup, stores
from lookalike.doctor.check import Check, worst
from lookalike.errors import ClusterError


class Examination:
    """The checks of one session; `figures` are those of the executors, once they have answered."""

    def __init__(self, spark: SparkSession, settings: config.Settings) -> None:
        self._spark, self._settings = spark, settings
        self._offsets: dict[str, float] = {}
        self.figures: dict[str, int] = {}

    def checks(self) -> Iterator[Check]:
        """Yield each check as it is done."""
        yield driver.check_java(self._spark)
        yield driver.check_spark(self._spark)
        yield from self._of_executors()
        yield from self._of_stores()
        yield clocks.check(self._offsets)

    def _of_executors(self) -> Iterator[Check]:
        try:
            told = startup.spark_settings(self._spark)
            limit = resources.check_worker_limit(self._settings, told)
            yield limit
            yield resources.check_driver(self._settings, told)
            if limit.state == "fail":
                rest = "python, engine, annoy and memory are not looked at: a worker might not even start"
                yield Check("executors", "warn", rest, "correct pyspark.memory, and ask again")
                return
            answers = hosts.ask(self._spark, probe.look_deeper)
        except ClusterError as error:
            yield Check("executors", "fail", str(error))
            return
        mine = probe.look_deeper()
        same = hosts.check_python(mine, answers)
        yield from same
        yield hosts.check_engines(self._settings.model.engine, answers)
        yield hosts.check_annoy(mine, answers)
        found = startup.executors(self._spark, self._settings, told, answers)
        self.figures = found.figures()
        yield found.check()
        self._compare_clocks()
        if stores.needs_executors(self._settings) and worst(same) != "fail":  # it asks with this package
            yield stores.check_executors(hosts.ask(self._spark, stores.on_executor(self._settings)))

    def _compare_clocks(self) -> None:
        """Ask for the time alone, now that the workers have started: so the answer is sure to a tenth of a second."""
        before = time.time()
        answers = hosts.ask(self._spark, probe.look)
        after = time.time()
        here = probe.look()["host"]
        others = [one for one in answers if one["host"] != here]
        self._offsets |= {one["host"]: clocks.provable(one["time"], before, after) for one in others}

    def _of_stores(self) -> Iterator[Check]:
        for key, uri in stores.places(self._settings).items():
            yield stores.check_readable(key, uri, self._settings.stores)
        trial = stores.try_or_fail(self._settings)
        yield trial.check
        if trial.offset is not None:
            self._offsets["the warehouse's store"] = trial.offset
