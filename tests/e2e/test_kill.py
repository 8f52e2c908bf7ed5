"""SIGKILL at any moment: readers see one whole release or another, and the next run leaves nothing of the dead one."""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from lookalike import config
from lookalike.models.network import CompiledModel
from lookalike.warehouse.local import Warehouse
from support.command import command
from support.job_process import JobProcess
from support.shop import Shop, leftovers, new_warehouse, picture, refresh, rows
from support.stories import LONG

ITEMS = 12

# The step that has been named, and the seconds since: while nothing is written yet, while pictures are read, between
# two steps, and while the release is put in place.
MOMENTS = [("model", 0.0), ("embed", 0.5), ("index", 0.0), ("publish", 0.0)]
STEPS = ("read", "model", "delta", "embed", "index", "neighbours", "quality", "publish")


def every_moment() -> list[tuple[str, float]]:
    """Each step as it begins, and any moment of each."""
    return [(step, wait) for step in STEPS for wait in (0.0, *(random.uniform(0, 3) for _ in range(2)))]


@dataclass
class Reader:
    """Reads the current neighbours again and again, as a page or an analyst would, and keeps what it saw."""

    warehouse: Path
    saw: set[tuple[str, str]] = field(default_factory=set)
    errors: list[BaseException] = field(default_factory=list)
    reads: int = 0

    def read_on(self, stop: threading.Event) -> None:
        while not stop.wait(0.05):
            try:
                release = (self.warehouse / "current").resolve(strict=True)
                self.saw.add((release.name, digest(release / "similar_items")))
                self.reads += 1
            except BaseException as error:  # noqa: BLE001 - judged by the test
                self.errors.append(error)


def digest(table: Path) -> str:
    """Of all its rows."""
    return hashlib.sha256(json.dumps(rows(table)).encode()).hexdigest()


@contextmanager
def reading(warehouse: Path) -> Iterator[Reader]:
    reader, stop = Reader(warehouse), threading.Event()
    thread = threading.Thread(target=reader.read_on, args=(stop,))
    thread.start()
    try:
        yield reader
    finally:
        stop.set()
        thread.join()


@dataclass(frozen=True)
class Site:
    """A shop, its warehouse after a first night, and the settings as an object and as a file."""

    spark: SparkSession
    shop: Shop
    warehouse: Path
    settings: config.Settings
    file: Path

    def publish(self) -> None:
        """The next run, here and now: it must publish, and leave nothing behind."""
        before = self.current()
        release = refresh(self.spark, self.shop, self.settings)
        assert release.release_id != before
        assert leftovers(self.warehouse) == []
        self.check_whole(release.release_id)

    def current(self) -> str:
        return Warehouse(str(self.warehouse)).need_current().release_id

    def check_whole(self, *allowed: str) -> None:
        """The current release is one of the allowed, by symlink and by CURRENT, and every table of it reads whole."""
        named = json.loads((self.warehouse / "CURRENT").read_text())["release_id"]
        assert named in allowed
        linked = (self.warehouse / "current").resolve(strict=True)
        assert linked.name in allowed
        for root in (linked, self.warehouse / "releases" / named):
            counts = json.loads((root / "release.json").read_text())["counts"]
            embedded = pq.read_table(root / "embeddings")
            assert embedded.num_rows == counts["embedded"]
            assert pq.read_table(root / "failures").num_rows == counts["failed"]
            assert pq.read_table(root / "similar_items").num_rows == counts["similar_items"]
            for shard in json.loads((root / "index" / "index.json").read_text())["shards"]:
                assert hashlib.sha256((root / "index" / shard["file"]).read_bytes()).hexdigest() == shard["sha256"]
                assert pq.read_table(root / "index" / shard["items_file"]).num_rows == shard["items"]


@pytest.fixture(scope="module")
def site(spark: SparkSession, model: CompiledModel, tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    shop = Shop.of(folder / "shop", ITEMS)
    settings = shop.settings(new_warehouse(folder / "warehouse", model), embed={"commit_every": 4})
    file = folder / "job.yaml"
    file.write_text(settings.model_dump_json())  # JSON is YAML
    refresh(spark, shop, settings)
    return Site(spark, shop, folder / "warehouse", settings, file)


@pytest.mark.stories
def test_killed_at_any_moment_the_job_leaves_one_whole_release_and_the_next_run_cleans_up(site: Site) -> None:
    moments = every_moment() if LONG else MOMENTS
    with reading(site.warehouse) as reader:
        for night, (step, wait) in enumerate(moments):
            site.shop.put(f"item-{night % ITEMS:02d}", picture(100 + night))
            site.shop.write()
            before = {release.release_id for release in Warehouse(str(site.warehouse)).releases()}
            current = site.current()
            print(f"killed {wait:.3f} s after '{step}'")
            run = JobProcess(site.file)
            run.until(step)
            time.sleep(wait)
            run.kill()
            after = {release.release_id for release in Warehouse(str(site.warehouse)).releases()}
            # The one that was current; or the new one, where the kill came after the swap of the pointer.
            site.check_whole(current, *(after - before))
            if LONG or night % 2:  # else the next one to be killed comes upon a dead one
                if site.current() != current:  # else it publishes what the dead one would have
                    site.shop.put(f"item-{night % ITEMS:02d}", picture(200 + night))
                site.publish()
    published = {
        (release.release_id, digest(release.similar_items)) for release in Warehouse(str(site.warehouse)).releases()
    }
    assert reader.errors == []
    assert reader.reads > len(moments)
    assert reader.saw <= published
    assert len(reader.saw) > len(published) // 2


def test_job_started_while_another_runs_says_who_does_and_the_other_publishes(site: Site) -> None:
    site.shop.put("item-03", picture(303))
    site.shop.write()
    before, releases = site.current(), len(Warehouse(str(site.warehouse)).releases())
    first = JobProcess(site.file)
    first.until("read")
    second = command(site.spark, "run", site.file)
    assert second.code == 1, second.output
    assert second.one_line().startswith("LockError: ")
    assert f"is being written by process {first.process.pid} on " in second.one_line()
    assert len(second.output.splitlines()) == 1
    assert first.end() == 0, first.said
    assert site.current() != before
    assert len(Warehouse(str(site.warehouse)).releases()) == releases + 1
    assert leftovers(site.warehouse) == []
