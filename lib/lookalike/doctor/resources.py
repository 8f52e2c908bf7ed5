"""Compare what the executors need with what they have; refuse what cannot work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lookalike import config
from lookalike.doctor import memory
from lookalike.doctor.check import Check, State
from lookalike.doctor.memory import Needs, gib
from lookalike.doctor.spark_settings import MIB, SparkSettings


@dataclass(frozen=True)
class Executors:
    """The executors, or the one machine of a local run: what each has and needs, in bytes."""

    settings: config.Settings
    spark: SparkSettings
    number: int
    tasks: int  # at a time, of one
    has: int

    @classmethod
    def of(
        cls, settings: config.Settings, spark: SparkSettings, cores: Sequence[int], machine: int, on_one_host: int = 1
    ) -> Executors:
        """Return those with these cores, on machines of so many bytes of which as many share one as `on_one_host`."""
        tasks = max(1, max(cores, default=1) // spark.task_cpus)
        has = machine // on_one_host if spark.container is None else min(machine, spark.container)
        return cls(settings, spark, len(cores), tasks, has)

    @property
    def needs(self) -> Needs:
        """What each needs."""
        return memory.needs(self.settings, self.spark, self.tasks)

    @property
    def state(self) -> State:
        """How that compares."""
        if self.has < memory.least(self.spark, self.tasks, self.settings.model):
            return "fail"
        return "ok" if self.has >= self.needs.total else "warn"

    @property
    def has_text(self) -> str:
        """How many there are, and what each has."""
        cores = self.tasks * self.spark.task_cpus
        of_cores = f"{cores} core{'s' * (cores > 1)}"
        if self.spark.kind == "local":
            return f"this machine: {of_cores}, {gib(self.has)}"
        return f"executors: {self.number} of {of_cores}, {gib(self.has)} each"

    def line(self) -> str:
        """Return all of it as a line for a person."""
        advice = "" if self.state == "ok" else f"; {self.advice()}"
        return f"{self.has_text}, needs {gib(self.needs.total)}{advice}"

    def advice(self) -> str:
        """Return what to set."""
        if self.spark.kind in ("yarn", "kubernetes"):
            overhead = -(-(self.needs.total - self.spark.heap - self.spark.off_heap) // MIB)
            return f"set --conf spark.executor.memoryOverhead={overhead}m"
        fits = max(1, memory.fitting_tasks(self.settings, self.spark, self.has))
        option = f"--master 'local[{fits}]'" if self.spark.kind == "local" else f"--conf spark.executor.cores={fits}"
        return f"set {option}, or a smaller similar.task_memory"

    def check(self) -> Check:
        """Return the check for `lookalike doctor`, with the parts of what is needed."""
        parts = ", ".join(f"{name.replace('_', ' ')} {gib(size)}" for name, size in self.needs.parts().items())
        found = f"{self.has_text.partition(': ')[2]}, needs {gib(self.needs.total)} ({parts})"
        return Check("memory", self.state, found, "" if self.state == "ok" else self.advice())

    def figures(self) -> dict[str, int]:
        """Return the same for a program, in bytes."""
        parts = memory.as_figures(self.needs)
        return {"executors": self.number, "tasks": self.tasks, "has": self.has, **parts}


def check_driver(settings: config.Settings, spark: SparkSettings) -> Check:
    """Check that the container of the driver, where the cluster runs it, has room for the job's own process."""
    needs = spark.driver_heap + memory.JVM + memory.driver_bytes(settings.model)
    has = spark.driver_container
    if has is None:
        return Check("driver", "ok", f"needs {gib(needs)}; nothing holds it to a limit")
    found = f"{gib(has)}, needs {gib(needs)}"
    if has >= needs:
        return Check("driver", "ok", found)
    overhead = -(-(needs - spark.driver_heap) // MIB)
    return Check("driver", "warn", found, f"set --conf spark.driver.memoryOverhead={overhead}m")


def check_worker_limit(settings: config.Settings, spark: SparkSettings) -> Check:
    """Check that the limit on the address space of a worker, if there is one, lets the network and the maps load."""
    limit, least = spark.worker_limit, memory.address_space(settings)
    if limit is None:
        return Check("pyspark.memory", "ok", "spark.executor.pyspark.memory is not set, as it should be")
    cores = spark.executor_cores or 1
    found = (
        f"spark.executor.pyspark.memory gives each of {cores} workers {gib(limit)} of address space, and one needs "
        f"{gib(least)}: libraries, threads and mapped files count, which hardly take memory"
    )
    instead = ", and give the memory as spark.executor.memoryOverhead" if spark.container is not None else ""
    advice = f"leave it out{instead}"
    if limit < least:
        return Check("pyspark.memory", "fail", found, f"{advice}, or set it to {-(-least * cores // MIB)}m")
    return Check("pyspark.memory", "ok", f"{gib(limit)} of address space for each worker, {gib(least)} are enough")
