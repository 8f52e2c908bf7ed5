"""`make bench-scale`: the steps index and neighbours on very many items in groups of uneven sizes, on this machine.

    python tests/bench/scale.py --items 20000

Spark's own tasks write the embeddings table from mixed vectors. The figures of a step are its time, the peak of the
memory of all processes (see memory.TreePeak), and the peak of the disk that is used.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import contender
import memory
import mix
import mix_table
import pictures
import run
import similar_spark
from contender import CACHE

import report
from lookalike.index.changes import IndexInputs
from lookalike.index.layout import IndexLayout
from lookalike.index.step import build_index
from lookalike.neighbours.step import write_neighbours
from lookalike.spark import parquet
from lookalike.warehouse import local as local_warehouse

DISK_SECONDS = 2.0

COLUMNS = {"seconds": "seconds", "peak_mb": "peak MB", "own_mb": "but mapped files", "disk_mb": "peak disk MB"}


@dataclass(frozen=True)
class Task:
    """`sizes` of the groups of a table of the mix's first vectors."""

    mix: str
    sizes: list[int]
    k: int
    cores: int
    work: str
    started: float = 0.0


class DiskPeak(memory.Peak):
    """The peak of the disk space that the files below a folder take."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def look(self) -> None:
        """Add them up; a file with two names counts once."""
        found = {}
        for path in self._folder.rglob("*"):
            with suppress(OSError):  # gone meanwhile
                about = path.lstat()
                found[about.st_ino] = about.st_blocks * 512
        self.bytes = max(self.bytes, sum(found.values()))


def main() -> int:
    """Run the steps, print and write their figures; returns 1 if they failed."""
    options = arguments().parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    sizes = mix_table.zipf_sizes(options.items, options.groups, round(options.largest * options.items))
    run.say(f"{options.items:,} items in {len(sizes)} groups of {min(sizes):,} to {max(sizes):,}")
    source = mix.of_pictures(CACHE)
    work = Path(tempfile.mkdtemp(dir=CACHE, prefix="work-"))
    header = {"machine": run.machine(), "load": run.load(), "started": run.now(), "source": pictures.source()}
    try:
        task = Task(str(source), sizes, options.k, run.cores(), str(work))
        found = contender.start("scale", task, None, SPARK_LOCAL_DIRS=str(work / "spark"))
    except contender.ContenderError as error:
        run.say(f"scale: {error}")
        return 1
    finally:
        shutil.rmtree(work, ignore_errors=True)
    run.say(f"\n{table(found)}\n")
    run.write(options.out, {**header, "items": options.items, "k": options.k, "sizes": sizes, **found})
    return 0


def arguments() -> argparse.ArgumentParser:
    """The options of `make bench-scale`."""
    parser = argparse.ArgumentParser(description="The neighbour search on very many items.")
    parser.add_argument("--items", type=int, default=1_000_000, help="%(default)s; 20,000 take 0.75 GB of disk")
    parser.add_argument("--groups", type=int, default=150, help="%(default)s")
    parser.add_argument("--largest", type=float, default=0.06, help="share of the items in the largest (%(default)s)")
    parser.add_argument("--k", type=int, default=20, help="neighbours an item (%(default)s)")
    parser.add_argument("--out", type=Path, default=CACHE / "scale.json", help="JSON (build/bench/scale.json)")
    return parser


def measure(task: Task) -> dict[str, Any]:
    """Run the steps one after the other, in a process of their own."""
    settings = similar_spark.settings_for(task.work, task.k, mix_table.GROUP)
    steps: dict[str, dict[str, float]] = {}
    path = Path(task.work) / "embeddings"
    with contender.spark_session(task) as spark, local_warehouse.Warehouse(settings.warehouse.path).stage() as staged:
        with step(steps, "embeddings", task.work):
            mix_table.write(spark, Path(task.mix), task.sizes, path)
        sources = IndexInputs(parquet.read(spark, path), path)
        with step(steps, "index", task.work):
            index = build_index(sources, IndexLayout(staged.index, staged.work), settings)
        with step(steps, "neighbours", task.work):
            rows = write_neighbours(spark, index, settings, staged).similar_items.count()
        sizes = {name: megabytes(folder) for name, folder in (("index", staged.index), ("embeddings", path))}
    return {"steps": steps, "shards": len(index.shards), "similar_items": rows, "disk_mb": sizes}


@contextmanager
def step(steps: dict[str, dict[str, float]], name: str, work: str) -> Iterator[None]:
    """Measure what runs inside, and print it."""
    start = time.perf_counter()
    disk = DiskPeak(Path(work))
    with memory.watch_tree() as peak, memory.watched(disk, DISK_SECONDS):
        yield
    steps[name] = {
        "seconds": round(time.perf_counter() - start, 1),
        "peak_mb": peak.megabytes,
        "own_mb": round(peak.own / 1e6, 1),
        "disk_mb": disk.megabytes,
    }
    run.say(f"{name}: " + ", ".join(f"{key} {value}" for key, value in steps[name].items()))


def megabytes(folder: Path) -> float:
    """The disk space that a folder takes now."""
    disk = DiskPeak(folder)
    disk.look()
    return disk.megabytes


def table(found: dict[str, Any]) -> str:
    """One line a step."""
    rows = [[name, *(report.cell(figures[column]) for column in COLUMNS)] for name, figures in found["steps"].items()]
    return report.aligned([["step", *COLUMNS.values()], *rows])


if __name__ == "__main__":
    # Started by `main`, it is the contender, with a task and a path for its answer.
    if len(sys.argv) > 1 and sys.argv[1].startswith("{"):
        contender.main(measure, Task)
    else:
        sys.exit(main())
