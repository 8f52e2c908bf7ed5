"""`make bench-scale`: the steps index and neighbours on very many items in groups of uneven sizes, on this machine.

    PYTHONPATH=tests python tests/bench/scale.py --items 20000 --smaller 5000

From nothing; on a night when 1 % of the items have another picture and 0.2 % are gone; and on one with as few changes
as a smaller table has on such a night, which is run too. Spark's own tasks write the first embeddings from mixed
vectors. The figures of a step are its time, what the run expects of it, and the peaks of the memory
of all processes (see memory.TreePeak) and of the disk.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import contender
import memory
import mix
import mix_table
import pictures
import run
from contender import CACHE
from pyspark.sql import SparkSession
from table_nights import TableNights, settings_for

import report
from lookalike import config
from lookalike.estimates import RunEstimate

DISK_SECONDS = 2.0

# Of the items, on a night.
CHANGED, GONE = 0.01, 0.002

COLUMNS = {
    "seconds": "seconds",
    "expected": "expected",
    "peak_mb": "peak MB",
    "own_mb": "but mapped files",
    "disk_mb": "peak disk MB",
}


@dataclass(frozen=True)
class Task:
    """`sizes` of the groups of a table of the mix's first vectors, and those of the smaller table."""

    mix: str
    sizes: list[int]
    smaller: list[int]
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
    sizes, smaller = (
        mix_table.zipf_sizes(items, options.groups, round(options.largest * items))
        for items in (options.items, options.smaller)
    )
    run.say(f"{options.items:,} items in {len(sizes)} groups of {min(sizes):,} to {max(sizes):,}")
    source = mix.of_pictures(CACHE)
    work = Path(tempfile.mkdtemp(dir=CACHE, prefix="work-"))
    header = {"machine": run.machine(), "load": run.load(), "started": run.now(), "source": pictures.source()}
    try:
        task = Task(str(source), sizes, smaller, options.k, run.cores(), str(work))
        found = contender.start("scale", task, None, SPARK_LOCAL_DIRS=str(work / "spark"))
    except contender.ContenderError as error:
        run.say(f"scale: {error}")
        return 1
    finally:
        shutil.rmtree(work, ignore_errors=True)
    run.say(f"\n{table(found)}\n\n{ratio_table(found)}\n")
    told = {"items": options.items, "smaller": options.smaller, "k": options.k, "sizes": sizes}
    run.write(options.out, {**header, **told, **found})
    return 0


def arguments() -> argparse.ArgumentParser:
    """The options of `make bench-scale`."""
    parser = argparse.ArgumentParser(description="The neighbour search on very many items.")
    parser.add_argument("--items", type=int, default=1_000_000, help="%(default)s; 20,000 take 0.75 GB of disk")
    parser.add_argument("--smaller", type=int, default=100_000, help="items of the smaller table (%(default)s)")
    parser.add_argument("--groups", type=int, default=150, help="%(default)s")
    parser.add_argument("--largest", type=float, default=0.06, help="share of the items in the largest (%(default)s)")
    parser.add_argument("--k", type=int, default=20, help="neighbours an item (%(default)s)")
    parser.add_argument("--out", type=Path, default=CACHE / "scale.json", help="JSON (build/bench/scale.json)")
    return parser


def measure(task: Task) -> dict[str, Any]:
    """Run the steps one after the other, in a process of their own."""
    steps: dict[str, dict[str, float]] = {}
    few = nights_changes(sum(task.smaller))
    with contender.spark_session(task) as spark:
        run_nights(spark, replace(task, sizes=[mix.BLOCK]), "warming up", [nights_changes(mix.BLOCK)], {})
        run_nights(spark, replace(task, sizes=task.smaller), SMALLER, [few], steps)
        run_nights(spark, task, LARGER, [nights_changes(sum(task.sizes)), few], steps)
    return {"steps": steps, "ratios": ratios(steps)}


SMALLER, LARGER = "smaller", "larger"
NIGHTS = ("from nothing", "1 % changed", "as few as in the smaller")


def nights_changes(items: int) -> tuple[int, int]:
    """How many of so many items change, and how many are gone."""
    return round(CHANGED * items), round(GONE * items)


def run_nights(
    spark: SparkSession, task: Task, name: str, later: list[tuple[int, int]], steps: dict[str, dict[str, float]]
) -> None:
    """The first night of a table and those with the `later` changes; their figures go into `steps`."""
    work = Path(task.work) / name.replace(" ", "-")
    settings = settings_for(str(work), task.k, mix_table.GROUP)
    with TableNights(spark, settings, Path(task.mix), task.sizes) as nights:
        for night, changes in zip(NIGHTS, (None, *later), strict=False):
            expected = expected_seconds(task, settings, changes)
            measured = partial(step, steps, f"{name}, {night}", task.work, expected)
            found = nights.later(*changes, measured) if changes else nights.first(measured)
            run.say(f"{name}, {night}: {found.searched:,} of {sum(task.sizes):,} lists searched")
    shutil.rmtree(work)


def expected_seconds(task: Task, settings: config.Settings, changes: tuple[int, int] | None) -> dict[str, float]:
    """What the run expects of its steps; the speed of a network is that of none here."""
    return RunEstimate(task.sizes, changes and changes[0], math.inf, task.cores, settings).seconds()


def ratios(steps: dict[str, dict[str, float]]) -> dict[str, float]:
    """What a night costs against the time from nothing, and how that grows with the items."""
    first, later, few = (both(steps, LARGER, night) for night in NIGHTS)
    small = both(steps, SMALLER, NIGHTS[1])
    peak = max(figures["peak_mb"] for name, figures in steps.items() if name.startswith(f"{LARGER}, {NIGHTS[1]}: "))
    return {
        "index and neighbours, 1 % changed, over from nothing": round(later / first, 3),
        "the same changes in the larger table, over the smaller": round(few / small, 2),
        "peak MB of that night, mapped files in it": peak,
    }


def both(steps: dict[str, dict[str, float]], name: str, night: str) -> float:
    """Seconds of index and neighbours."""
    return sum(steps[f"{name}, {night}: {step}"]["seconds"] for step in ("index", "neighbours"))


@contextmanager
def step(
    steps: dict[str, dict[str, float]], night: str, work: str, expected: dict[str, float], step: str
) -> Iterator[None]:
    """Measure what runs inside, and print it next to what was expected of it."""
    name = f"{night}: {step}"
    start = time.perf_counter()
    disk = DiskPeak(Path(work))
    with memory.watch_tree() as peak, memory.watched(disk, DISK_SECONDS):
        yield
    steps[name] = {
        "seconds": round(time.perf_counter() - start, 1),
        **({"expected": round(expected[step], 1)} if step in expected else {}),
        "peak_mb": peak.megabytes,
        "own_mb": round(peak.own / 1e6, 1),
        "disk_mb": disk.megabytes,
    }
    run.say(f"{name}: " + ", ".join(f"{key} {value}" for key, value in steps[name].items()))


def table(found: dict[str, Any]) -> str:
    """One line a step."""
    rows = [
        [name, *(report.cell(figures.get(column)) for column in COLUMNS)] for name, figures in found["steps"].items()
    ]
    return report.aligned([["step", *COLUMNS.values()], *rows])


def ratio_table(found: dict[str, Any]) -> str:
    """One line a ratio."""
    return report.aligned([["", "value"], *([what, f"{value:,g}"] for what, value in found["ratios"].items())])


if __name__ == "__main__":
    # Started by `main`, it is the contender, with a task and a path for its answer.
    if len(sys.argv) > 1 and sys.argv[1].startswith("{"):
        contender.main(measure, Task)
    else:
        sys.exit(main())
