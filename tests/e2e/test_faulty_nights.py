"""Delta and compaction nights that are killed, or run out of disk, again and again: they end as if nothing happened.

Two warehouses follow one shop. In one every night runs undisturbed; in the other it is disturbed at random moments,
and started again until it is through. Long: a night is a dozen runs of the job.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from lookalike import config
from lookalike.models.network import CompiledModel
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder
from support.job_process import PARTS, JobProcess
from support.same_release import assert_same
from support.shop import Shop, copy_warehouse, leftovers, new_warehouse, picture, refresh
from support.stories import LONG

ITEMS, KINDS = 300, 3

# Of each kind, how many items show another picture: 24 of 100 are more than index.compact_share, two are not.
NIGHTS = {"delta": (2, 2, 2), "compaction": (2, 24, 2), "deltas merge": (3, 3, 0), "all again": (30, 30, 30)}

STEPS = ("delta", "embed", "embed", "index", "index", "index", "duplicates", "neighbours", "quality", "publish")
LONGEST = 1.5  # seconds after the name of a step
DISTURBED = 4  # runs of a night

# One line that names the error, and no more: see docs/faults.md.
NAMED = re.compile(r"^(Disk|Spark|Warehouse|Count|Lock|Decoder)Error: [^\n]+\n$")

pytestmark = [pytest.mark.stories, pytest.mark.skipif(not LONG, reason="half an hour; make test-long")]


@dataclass
class Site:
    """The shop, the warehouse that is disturbed and the one that is not; `disk` is a file system of its own, if any."""

    spark: SparkSession
    shop: Shop
    file: Path
    disturbed: Path
    quiet: Path
    disk: Path | None
    rng: random.Random
    pictures: int = ITEMS

    def settings(self, warehouse: Path) -> config.Settings:
        """Many small shards and tasks, so that few items are enough for deltas, IVF lists and compaction."""
        return self.shop.settings(
            warehouse,
            embed={"commit_every": 8},
            index={"shard_items": 40},
            similar={"k": 5, "group_by": "kind", "plan": "ivf", "duplicate_cosine": 0.9999, "recall_floor": 0.5},
        )

    def change(self, changed: tuple[int, ...]) -> None:
        """Give items of each kind another picture; one item goes and one comes."""
        for kind, count in enumerate(changed):
            mine = [item for item, row in self.shop.rows.items() if row["kind"] == f"kind-{kind}"]
            for item in self.rng.sample(mine, count):
                self.shop.put(item, picture(self._new_picture()))
        del self.shop.rows[self.rng.choice(sorted(self.shop.rows))]
        self.shop.add(f"new-{self.pictures}", self._new_picture())

    def _new_picture(self) -> int:
        self.pictures += 1
        return self.pictures

    def current(self) -> ReleaseFolder:
        return Warehouse(str(self.disturbed)).need_current()

    def committed(self) -> Counter[str]:
        """How often each hash is in a checkpoint."""
        found = (self.disturbed / "checkpoints").glob("*/*/checkpoint-*/*.parquet")
        return Counter(one for path in found for one in pq.read_table(path, columns=["image_hash"])[0].to_pylist())

    def free_bytes(self) -> int:
        assert self.disk is not None
        status = os.statvfs(self.disk)
        return status.f_bavail * status.f_frsize


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path | None]:
    """A file system of 256 MB, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0
    yield folder if mounted else None
    if mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def site(spark: SparkSession, model: CompiledModel, disk: Path | None, tmp_path: Path) -> Site:
    shop = Shop.of(tmp_path / "shop", ITEMS)
    rng = random.Random(int(os.environ.get("SEED", time.time())))
    quiet = new_warehouse(tmp_path / "quiet", model)
    made = Site(spark, shop, tmp_path / "job.yaml", (disk or tmp_path) / "disturbed", quiet, disk, rng)
    refresh(spark, shop, made.settings(quiet))
    copy_warehouse(quiet, made.disturbed)
    made.file.write_text(made.settings(made.disturbed).model_dump_json())  # JSON is YAML
    return made


def bytes_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def killed(site: Site) -> JobProcess:
    """A run of which all processes are killed, or one: then those that are left may go on for a moment."""
    run = JobProcess(site.file)
    run.until(site.rng.choice(STEPS))
    time.sleep(site.rng.uniform(0, LONGEST))
    part = site.rng.choice(["all", *PARTS])
    if part == "all":
        run.kill()
    else:
        run.kill_one(part, site.rng)
    if part != "driver":  # without it the others end soon, while the next run may have begun
        run.end()
    print(part, "killed")
    return run


def starved(site: Site) -> JobProcess:
    """A run on a disk that is almost full."""
    free = 1 << site.rng.randrange(12, 26)
    assert site.disk is not None
    filler = site.disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, site.free_bytes() - free))
    run = JobProcess(site.file)
    run.end()
    print(f"{free:,} bytes free")
    filler.unlink()
    return run


def limited(site: Site) -> JobProcess:
    """A run that may write no large files."""
    largest = 1 << site.rng.randrange(13, 23)
    run = JobProcess(site.file, largest)
    run.end()
    print(f"files of up to {largest:,} bytes")
    return run


FAULTS = {"killed": [killed], "no disk": [starved, limited], "all": [killed, killed, starved, limited]}


@pytest.mark.parametrize("kind", FAULTS)
def test_night_that_is_disturbed_ends_as_one_that_is_not(site: Site, kind: str) -> None:
    faults = [fault for fault in FAULTS[kind] if site.disk or fault is not starved]
    for name, changed in NIGHTS.items():
        site.change(changed)
        expected = refresh(site.spark, site.shop, site.settings(site.quiet))
        before = site.current()
        was, committed = bytes_of(before.root), Counter[str]()
        runs: list[JobProcess] = []
        for _ in range(DISTURBED):
            runs.append(site.rng.choice(faults)(site))
            print(name, runs[-1].process.poll(), *runs[-1].said[-2:])
            if site.current().release_id != before.release_id:
                break
            assert bytes_of(before.root) == was
            assert not committed - site.committed(), "what was committed is gone"
            committed = site.committed()
            assert all(count == 1 for count in committed.values()), "a picture was embedded again"
            assert len(list((site.disturbed / "work").iterdir())) <= 2
        for run in runs:
            if run.end() > 0:
                assert NAMED.match(run.said[-1]), run.said
                assert "Traceback" not in "".join(run.said)
        if site.current().release_id == before.release_id:
            committed = site.committed()
            run = JobProcess(site.file)
            assert run.end() == 0, run.said
            pictures = site.current().record().pictures
            assert pictures is not None
            wanted = expected.record().pictures
            assert wanted is not None
            print(name, "committed", len(committed), "embedded", pictures.embedded, "of", wanted.embedded)
            assert pictures.embedded + len(committed) == wanted.embedded
        assert leftovers(site.disturbed) == []
        assert_same(site.current(), expected)
