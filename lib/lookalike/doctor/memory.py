"""The memory that an executor needs, term by term. `make bench-memory` measures the terms; docs/cluster.md lists them.

    heap + JVM + tasks x (WORKER + network + DECODER + work) + tasks x maps

A task works in a Python process, which has a decoder's process of its own. These live on from task to task, so a
worker that searches still has its network. `work` is the larger of what it holds of pictures, and of a search.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lookalike import config
from lookalike.doctor.spark_settings import MIB, SparkSettings
from lookalike.knn.mapped_items import MAPPED_BYTES
from lookalike.models import network
from lookalike.storage.prefetch import MAX_WAITING_BYTES

# Bytes, measured as PSS without the pages of files, which the system takes back when it needs them.
# The JVM beyond its heap: classes, compiled code, threads, buffers.
JVM = 400 * MIB
# A Python worker that has imported what tasks import, and run one of each step.
WORKER = 70 * MIB
# The compiled network in a worker, at 224 px: weights, and what a batch needs; that of the hungrier engine.
NETWORK = {"int8": 190 * MIB, "float32": 460 * MIB}
# The decoder's process without a picture.
DECODER = 30 * MIB
# The job's own Python process on the driver: it compiles the network, and holds a sample of pictures.
DRIVER = 1200 * MIB
# TensorFlow in it, where the weights are Keras's own or a file of its layouts.
TENSORFLOW = 450 * MIB
# An item of an Annoy file with 50 trees, mapped.
SHARD_ITEM = 9_000

# Address space of a worker before it maps a shard: libraries, stacks and arenas, most of which no memory stands behind.
ADDRESS_SPACE = 2048 * MIB


@dataclass(frozen=True)
class Needs:
    """What the executor, or the machine of a local run, needs, in bytes; `worker` and `decoder` are those of a task."""

    heap: int
    jvm: int
    tasks: int
    worker: int
    decoder: int
    maps: int
    driver: int = 0  # the job's own process, on the machine of a local run

    @property
    def total(self) -> int:
        """All of it."""
        return self.heap + self.jvm + self.driver + self.tasks * (self.worker + self.decoder + self.maps)

    def parts(self) -> dict[str, int]:
        """Return what it is made of, by name."""
        each = {"python_workers": self.worker, "decoders": self.decoder, "mapped_files": self.maps}
        own = {"driver": self.driver} if self.driver else {}
        return {"heap": self.heap, "jvm": self.jvm, **own, **{name: self.tasks * one for name, one in each.items()}}


def needs(settings: config.Settings, spark: SparkSettings, tasks: int) -> Needs:
    """Return what an executor that runs so many tasks at a time needs; of a local run, what the machine needs."""
    worker, decoder = of_a_task(settings)
    maps = settings.index.shard_items * SHARD_ITEM
    if spark.kind == "local":
        return Needs(spark.driver_heap, JVM, tasks, worker, decoder, maps, driver_bytes(settings.model))
    return Needs(spark.heap + spark.off_heap, JVM, tasks, worker, decoder, maps)


def of_a_task(settings: config.Settings) -> tuple[int, int]:
    """Return the most that a task's worker and its decoder hold, at the same time."""
    pictures, search = MAX_WAITING_BYTES + settings.images.max_decoded_bytes, settings.similar.task_memory
    worker = WORKER + network_bytes(settings.model)
    if pictures > search:
        return worker + MAX_WAITING_BYTES, DECODER + settings.images.max_decoded_bytes
    return worker + search, DECODER


def network_bytes(model: config.ModelSettings) -> int:
    """Return what the network takes in a worker: the weights, and a batch that grows with the picture's area."""
    at_224 = NETWORK[model.precision]
    return round(at_224 * max(1.0, (network.input_size(model) / 224) ** 2))


def driver_bytes(model: config.ModelSettings) -> int:
    """Return what the job's own process takes on the driver."""
    return DRIVER + (0 if model.weights == "bundled" else TENSORFLOW)


def least(spark: SparkSettings, tasks: int, model: config.ModelSettings) -> int:
    """Return what is in use before any picture is read or searched: with less nothing can work."""
    return JVM + (DRIVER if spark.kind == "local" else 0) + tasks * (WORKER + network_bytes(model) + DECODER)


def address_space(settings: config.Settings) -> int:
    """Return what a worker must be able to address: without it libraries and maps do not load, whatever is free."""
    return ADDRESS_SPACE + settings.similar.task_memory + MAPPED_BYTES


def fitting_tasks(settings: config.Settings, spark: SparkSettings, has: int) -> int:
    """Return how many tasks at a time the memory is enough for."""
    none, one = (needs(settings, spark, tasks).total for tasks in (0, 1))
    return max(0, (has - none) // (one - none))


def gib(size: float) -> str:
    """Return bytes as `5.1 GiB`."""
    return f"{size / 2**30:.1f} GiB"


def as_figures(found: Needs) -> Mapping[str, int]:
    """Return the parts and their sum."""
    return {**found.parts(), "needs": found.total}
