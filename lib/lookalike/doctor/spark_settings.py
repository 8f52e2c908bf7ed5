"""What Spark was told of the memory and the cores of its executors."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

MIB = 1 << 20

Kind = Literal["local", "standalone", "yarn", "kubernetes"]

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": MIB, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_SIZE = re.compile(r"\s*(\d+)\s*([kmgtp]?)(?:i?b)?\s*", re.IGNORECASE)

# Spark's own: the share of the heap that a container gets beyond it, and the least of that.
_OVERHEAD_FACTOR, _LEAST_OVERHEAD = 0.1, 384 * MIB


@dataclass(frozen=True)
class SparkSettings:
    """Settings of Spark that decide on memory, in bytes; `python_memory` is spark.executor.pyspark.memory, if any."""

    master: str
    heap: int
    overhead: int
    off_heap: int
    python_memory: int | None
    driver_heap: int
    driver_container: int | None  # what holds the driver, where the cluster runs it
    executor_cores: int | None
    task_cpus: int
    reuses_workers: bool

    @classmethod
    def of(cls, get: Callable[[str], str | None]) -> SparkSettings:
        """Return those that `get` gives by name; None there is Spark's default."""
        heap = size(get("spark.executor.memory") or "1g")
        python = get("spark.executor.pyspark.memory")
        has_off_heap = get("spark.memory.offHeap.enabled") == "true"
        cores = get("spark.executor.cores")
        driver_heap = size(get("spark.driver.memory") or "1g")
        has_container = re.match("yarn$|k8s:", get("spark.master") or "")
        on_cluster = has_container and get("spark.submit.deployMode") == "cluster"
        return cls(
            get("spark.master") or "local[*]",
            heap,
            _overhead(get, "executor", heap),
            size(get("spark.memory.offHeap.size") or "0", 1) if has_off_heap else 0,
            size(python) if python else None,
            driver_heap,
            driver_heap + _overhead(get, "driver", driver_heap) if on_cluster else None,
            int(cores) if cores else None,
            int(get("spark.task.cpus") or 1),
            get("spark.python.worker.reuse") != "false",
        )

    @property
    def kind(self) -> Kind:
        """Who gives the executors their memory."""
        if self.master.startswith("local") and not self.master.startswith("local-cluster"):
            return "local"
        return "yarn" if self.master == "yarn" else "kubernetes" if self.master.startswith("k8s:") else "standalone"

    @property
    def local_cores(self) -> int | None:
        """How many tasks run at the same time on the machine of a local run; None there is all of its processors."""
        named = re.match(r"local(?:\[(\d+|\*))?", self.master)
        number = named[1] if named else None
        return None if number == "*" else int(number or 1)

    @property
    def container(self) -> int | None:
        """What YARN or Kubernetes lets an executor have in all; None where nothing holds it to a limit."""
        if self.kind not in ("yarn", "kubernetes"):
            return None
        return self.heap + self.overhead + self.off_heap + (self.python_memory or 0)

    @property
    def worker_limit(self) -> int | None:
        """What a Python worker may have of address space: Spark divides its setting by the cores of an executor."""
        return self.python_memory and self.python_memory // (self.executor_cores or 1)


def _overhead(get: Callable[[str], str | None], process: str, heap: int) -> int:
    """Return what the container of an executor, or of the driver, has beyond its heap."""
    given = get(f"spark.{process}.memoryOverhead")
    if given:
        return size(given)
    named = get(f"spark.{process}.memoryOverheadFactor") or get("spark.kubernetes.memoryOverheadFactor")
    factor = float(named) if named else _OVERHEAD_FACTOR
    least = get(f"spark.{process}.minMemoryOverhead")
    return max(int(factor * heap), size(least) if least else _LEAST_OVERHEAD)


def size(text: str, unit: int = MIB) -> int:
    """Return a size as Spark reads it, in bytes; a number alone is of `unit`."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no size of Spark's")
    return int(found[1]) * (_UNITS[found[2].lower()] if found[2] or text.strip()[-1] in "bB" else unit)
