"""`make check-nights`: random nights of the job, each of its releases checked by numpy, and against a run from nothing.

    CATALOGUE=<folder> python tests/bench/random_nights.py --items 3000 --nights 20 --seed 1

Every night pictures change, and items leave, come, come back and are sold out. Two warehouses follow, one by the
exact plan and one by inverted lists. The vectors must be those of a run from nothing to the last bit, and so must the
lists by the exact plan; of the other lists the recall of all items is measured by brute force.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import check_release
import contender
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import run
import variations
from pyspark.sql import SparkSession

from lookalike import config, pipeline

# At most so many of the items in the catalogue get another picture in a night, leave, come, and are sold out or back.
CHANGED, LEAVE, COME, STOCK = 0.03, 0.01, 0.01, 0.02

# Part of all items that is not in the catalogue on the first night.
ABROAD = 0.2

PLANS = ("exact", "ivf")
K, FLOOR = 20, 0.99


@dataclass(frozen=True)
class Task:
    """Where the session works."""

    work: str
    cores: int
    started: float = 0.0


@dataclass
class Catalogue:
    """All items that may be in the catalogue; `shown` is the variation that each one's picture is of."""

    folder: Path
    work: Path
    rng: np.random.Generator
    night: int = 0
    table: pa.Table = field(init=False)

    def __post_init__(self) -> None:
        self.table = pq.read_table(self.folder / "catalogue.parquet", columns=["item_id", "image_path"])
        count = len(self.table)
        self.paths = np.array(self.table["image_path"].to_pylist(), dtype=object)
        self.present = self.rng.random(count) >= ABROAD
        self.in_stock = self.rng.random(count) < 0.9

    def next_night(self) -> pa.Table:
        """Let some time pass, but not before the first night; return the catalogue."""
        if self.night:
            self.present[self._some(self.present, LEAVE)] = False
            self.present[self._some(~self.present, COME)] = True
            changed = self._some(self.present, CHANGED)
            files = [self.work / f"{self.night}-{row}.jpg" for row in changed]
            given = [self.folder / self.table["image_path"][int(row)].as_py() for row in changed]
            numbers = [len(self.table) * self.night + int(row) for row in changed]
            variations.write(list(zip(given, files, numbers, strict=True)))
            self.paths[changed] = list(map(str, files))
            self.in_stock[self._some(self.present, STOCK)] ^= True
        self.night += 1
        columns = {"item_id": self.table["item_id"], "image_path": self.paths, "in_stock": self.in_stock}
        return pa.table(columns).filter(pa.array(self.present))

    def _some(self, of: np.ndarray, share: float) -> np.ndarray:
        """Rows of `of`, up to so large a share of all that are there."""
        rows = np.flatnonzero(of)
        most = max(1, round(share * self.present.sum()))
        return self.rng.choice(rows, min(len(rows), int(self.rng.integers(1, most + 1))), replace=False)


def main() -> int:
    """Run the nights; return 1 at the first release that is not as it should be."""
    options = arguments().parse_args()
    contender.CACHE.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    folder = variations.made(contender.CACHE, options.items)
    work = Path(tempfile.mkdtemp(dir=contender.CACHE, prefix="work-"))
    try:
        with contender.spark_session(Task(str(work), run.cores())) as spark:
            catalogue = Catalogue(folder, work, np.random.default_rng(options.seed))
            for night in range(options.nights):
                check_night(spark, catalogue, work, night)
    except check_release.WrongReleaseError as wrong:
        run.say(f"seed {options.seed}: {wrong}")
        return 1
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 0


def arguments() -> argparse.ArgumentParser:
    """The options of `make check-nights`."""
    parser = argparse.ArgumentParser(description="Random nights, each release compared with brute force.")
    parser.add_argument("--items", type=int, default=3000, help="pictures in all (%(default)s)")
    parser.add_argument("--nights", type=int, default=20, help="%(default)s")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of what happens; the time, unless given")
    return parser


def check_night(spark: SparkSession, catalogue: Catalogue, work: Path, night: int) -> None:
    """Run the job by both plans and from nothing, and compare; raises WrongReleaseError."""
    table = catalogue.next_night()
    pq.write_table(table, work / "catalogue.parquet")
    fresh = work / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    releases = {}
    for name, plan in (*((plan, plan) for plan in PLANS), ("fresh", "exact")):
        models = work / PLANS[0] / "models"  # compiled by the very first run
        if models.exists() and not (work / name).exists():
            shutil.copytree(models, work / name / "models")
        settings = settings_for(catalogue.folder, work, work / name, plan)
        pipeline.refresh(spark, settings)
        releases[name] = check_release.Release(work / name / "current")
    recalls = {name: release.check(table, K) for name, release in releases.items()}
    shown = ", ".join(f"{name} {recall.mean():.5f} (least {recall.min():.2f})" for name, recall in recalls.items())
    run.say(f"night {night}: {len(table):,} items, recall {shown}")
    expected = releases["fresh"]
    for name in PLANS:
        check_release.assert_same(f"embeddings, {name}", releases[name].embeddings(), expected.embeddings())
        least = FLOOR if name == "ivf" else 1
        check_release.assert_that(recalls[name].mean() >= least, f"{name}: recall below {least}")
    check_release.assert_same("similar_items, exact", releases["exact"].lists(), expected.lists())


def settings_for(folder: Path, work: Path, warehouse: Path, plan: str) -> config.Settings:
    """Several small shards, so that few items are enough for what many do."""
    return config.Settings.model_validate(
        {
            "catalogue": {"path": f"{work}/catalogue.parquet", "image_root": str(folder), "keep_columns": ["in_stock"]},
            "warehouse": {"path": str(warehouse)},
            "model": {"weights": "bundled"},
            "index": {"trees": 5, "shard_items": 700},
            "similar": {"k": K, "plan": plan, "eligible": "in_stock", "recall_floor": FLOOR},
            "report": {"enabled": False},
        }
    )


if __name__ == "__main__":
    sys.exit(main())
