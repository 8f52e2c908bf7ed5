"""`make bench-memory`: what each process of an executor holds, step by step, over runs of the whole job.

A run is local, with one JVM whose heap is touched at its start: what it holds beyond that is not heap. Workers and
decoders are those of executors. The figures are PSS without pages of files, the most that was seen.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import memory

HEAP_MB = 1024
MIB = 1 << 20
SECONDS = 0.25
KINDS = {"jvm": b"SparkSubmit", "worker": b"pyspark.daemon", "decoder": b"lookalike.images.process"}


class ExecutorPeak(memory.Peak):
    """The most that a process of each kind held in each step; of a worker also its address space."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))

    def look(self) -> None:
        """See what each process holds now."""
        from lookalike import progress

        peaks = self.steps[progress._writer.step or "start"]
        here, children = os.getpid(), memory._children()
        peaks["driver"] = max(peaks["driver"], memory.proportional(here)[1])
        for process in memory._below(here, children):
            kind = next((name for name, part in KINDS.items() if memory._runs(process, part)), None)
            if kind is None or (kind == "worker" and process not in self._workers(here, children)):
                continue
            peaks[kind] = max(peaks[kind], memory.proportional(process)[1] - (HEAP_MB * MIB if kind == "jvm" else 0))
            if kind == "worker":
                amounts = memory._amounts(Path(f"/proc/{process}/status"))
                peaks["address space"] = max(peaks["address space"], amounts.get("VmPeak", 0))

    @staticmethod
    def _workers(here: int, children: dict[int, list[int]]) -> set[int]:
        return {worker for worker, *_ in memory._workers(here)}


def measure(work: Path, items: int, cores: int, model: dict[str, object]) -> dict[str, dict[str, int]]:
    """The peaks of a run over so many drawn pictures, and of a second one over some of them."""
    from pyspark.sql import SparkSession

    from lookalike import config
    from lookalike.cli import run
    from lookalike.cli.session import SESSION
    from lookalike.demo.catalogue import draw_catalogue

    draw_catalogue(work, items, seed=7)
    settings = config.Settings.model_validate(
        {
            "catalogue": {"path": str(work / "catalogue.parquet"), "image_root": str(work)},
            "warehouse": {"path": str(work / "warehouse")},
            "model": {"weights": "bundled", "calibration_pictures": 32, "fidelity_pictures": 32, **model},
            "gates": {"max_duplicate_vectors": 1.0},
        }
    )
    spark = (
        SparkSession.builder.master(f"local[{cores}]")
        .config(map={**SESSION, "spark.ui.enabled": "false", "spark.driver.memory": f"{HEAP_MB}m"})
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.extraJavaOptions", f"-Xms{HEAP_MB}m -XX:+AlwaysPreTouch")
        .getOrCreate()
    )
    with memory.watched(ExecutorPeak(), SECONDS) as peak:
        run.refresh(spark, settings)
    spark.stop()
    peak.steps["by trying"]["address space"] = least_address_space(work, model)
    return peak.steps


# What a task does that embeds, under a limit: libraries, threads, a network, a decoder.
UNDER_A_LIMIT = """
import resource, sys
limit, size, artefact, engine, *paths = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_AS, (int(limit), int(limit)))
from lookalike import config
from lookalike.embedding.stream import Network, embed_stream
from lookalike.embedding import task
from lookalike.knn import task
from lookalike.models import runtime
from lookalike.spark import worker
from lookalike.storage.image_reader import ImageReader
worker.without_pandas()
settings = config.Settings(
    catalogue=config.CatalogueSettings(path="none"), warehouse=config.WarehouseSettings(path="none")
)
with open(artefact, "rb") as file:
    network = Network(int(size), lambda: runtime.load(engine, file.read()))
    found = [one for chunk in embed_stream(paths, network, ImageReader.of(settings)) for one in chunk.outcomes]
sys.exit(any(one.error for one in found))
"""


def least_address_space(work: Path, model: dict[str, object]) -> int:
    """The least limit on address space under which such a task succeeds, within 32 MiB, by trying."""
    (artefact,) = (work / "warehouse" / "models").glob("*.tflite")
    pictures = sorted(map(str, (work / "images").iterdir()))[:20]
    low, high = 0, 16 << 10
    while high - low > 32:
        limit = (low + high) // 2
        words = [str(limit * MIB), str(model["input_size"]), str(artefact), str(model["engine"]), *pictures]
        command = [sys.executable, "-c", UNDER_A_LIMIT, *words]
        done = subprocess.run(command, env={**os.environ, "MALLOC_ARENA_MAX": "2"}, capture_output=True, check=False)
        low, high = (low, limit) if done.returncode == 0 else (limit, high)
    return high * MIB


def main() -> None:
    """Measure each combination in a process of its own, and print a table of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000)
    parser.add_argument("--cores", default="1,2")
    parser.add_argument("--models", default="litert/int8,openvino/int8,openvino/float32")
    parser.add_argument("--size", type=int, default=224)
    told = parser.parse_args()
    for cores in map(int, told.cores.split(",")):
        for engine, precision in (name.split("/") for name in told.models.split(",")):
            model = {"engine": engine, "precision": precision, "input_size": told.size}
            print(f"\n{cores} cores, {engine} {precision} at {told.size} px, MiB")
            print_table(in_process(told.items, cores, model))


def in_process(items: int, cores: int, model: dict[str, object]) -> dict[str, dict[str, int]]:
    """Measure in a process of its own, which has the code of this checkout."""
    folder = Path(tempfile.mkdtemp(prefix="executor-memory-"))
    here = Path(__file__).resolve()
    paths = (here.parent, here.parents[1], here.parents[2] / "lib")
    told = json.dumps([str(folder), items, cores, model])
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    try:
        subprocess.run([sys.executable, here, told], env=environment, check=True)
        return json.loads((folder / "answer.json").read_text())
    finally:
        shutil.rmtree(folder)


def print_table(steps: dict[str, dict[str, int]]) -> None:
    """One line a step."""
    columns = ("driver", "jvm", "worker", "decoder", "address space")
    print("".join(f"{name:>15}" for name in ("step", *columns)))
    for step, peaks in steps.items():
        print(f"{step:>15}" + "".join(f"{peaks.get(name, 0) / MIB:>15,.0f}" for name in columns))


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("["):
        work, items, cores, model = json.loads(sys.argv[1])
        found = measure(Path(work), items, cores, model)
        Path(work, "answer.json").write_text(json.dumps(found))
    else:
        main()
