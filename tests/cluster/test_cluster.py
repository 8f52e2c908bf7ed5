"""The nightly job on isolated machines, undisturbed and disturbed: the release of local mode, or a refusal.

Each test is one run of the job, or two.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder
from support.cluster import bucket
from support.cluster.bucket import Bucket
from support.cluster.night import current, settings
from support.cluster.room import Running
from support.cluster.spark_cluster import EXECUTOR, SparkCluster
from support.same_release import assert_same
from support.submit import Run, without_time

pytestmark = pytest.mark.cluster

# Spark waits two minutes for a machine that says nothing, and asks it for its results several times.
IMPATIENT = (
    "--conf spark.network.timeout=20s",
    "--conf spark.network.timeoutInterval=5s",
    "--conf spark.executor.heartbeatInterval=4s",
    "--conf spark.shuffle.io.maxRetries=1",
)
SPECULATIVE = (
    "--conf spark.speculation=true",
    "--conf spark.speculation.multiplier=1.1",
    "--conf spark.speculation.quantile=0.2",
)

# A library that shows a process another time, where it is installed.
FAKE_TIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


def test_model_index_and_lists_are_those_of_local_mode(cluster: SparkCluster, local: ReleaseFolder) -> None:
    """The model is compiled on the gateway, too."""
    done = cluster.run_job(settings("/mnt/shared", "clean"))
    assert done.code == 0, done.output
    release = current(cluster, "clean")
    assert release.record().model.model_id == local.record().model.model_id
    assert_same(release, local)


def error_of(run: Run) -> str:
    """The line of the named error, among those that Spark writes with the settings that it comes with."""
    lines = [without_time(line) for line in run.output.splitlines()]
    (found,) = [line for line in lines if re.match(r"[A-Z]\w+Error: ", line)]
    return found


def kill_executors(cluster: SparkCluster, driver: Running) -> None:
    driver.until(" embed: ")
    time.sleep(2)
    for worker in cluster.workers.values():
        assert worker.kill_inside(EXECUTOR)
        time.sleep(3)


def lose_a_machine(cluster: SparkCluster, driver: Running) -> None:
    driver.until(" embed: ")
    time.sleep(2)
    cluster.kill_worker(2)


def disturb_nothing(_cluster: SparkCluster, _driver: Running) -> None:
    pass


@pytest.mark.parametrize(
    ("options", "disturb"),
    [((), kill_executors), (IMPATIENT, lose_a_machine), (SPECULATIVE, disturb_nothing)],
    ids=["two_executors_are_killed", "a_machine_is_lost", "speculation"],
)
def test_release_is_that_of_local_mode_when(
    cluster: SparkCluster,
    local: ReleaseFolder,
    warehouse: str,
    options: tuple[str, ...],
    disturb: Callable[[SparkCluster, Running], None],
) -> None:
    driver = cluster.start_job(settings("/mnt/shared", warehouse), *options)
    disturb(cluster, driver)
    done = cluster.end(driver)
    assert done.code == 0, done.output
    assert_same(current(cluster, warehouse), local)


def test_machine_without_the_folder_ends_the_run_as_it_begins(cluster: SparkCluster, warehouse: str) -> None:
    cluster.kill_worker(2)
    cluster.start_worker(2, shared=False)
    done = cluster.run_job(settings("/mnt/shared", warehouse))
    assert done.code == 2, done.output
    assert error_of(done).startswith(f"WarehouseError: warehouse.path: w2 does not see /mnt/shared/{warehouse}/work/")
    assert " delta: " not in done.output
    assert Warehouse(str(cluster.shared / warehouse)).current() is None


def test_machine_without_the_folder_that_comes_in_mid_run_loses_no_row(
    cluster: SparkCluster, local: ReleaseFolder, warehouse: str
) -> None:
    """The run names it, or it came too late for any work of this run."""
    cluster.kill_worker(2)
    driver = cluster.start_job(settings("/mnt/shared", warehouse))
    driver.until(" delta: ")
    cluster.start_worker(2, shared=False)
    done = cluster.end(driver)
    if done.code == 0:
        assert_same(current(cluster, warehouse), local)
    else:
        assert done.code == 2, done.output
        assert " w2 does not see /mnt/shared/" in error_of(done)


def in_store(**warehouse: float) -> dict[str, Any]:
    """The settings of a night whose pictures and warehouse are in the bucket."""
    stores = {"s3_endpoint": bucket.ENDPOINT, "s3_region": "us-east-1"}
    night = settings(f"s3://{bucket.NAME}", "warehouse", stores=stores)
    return {**night, "warehouse": {**night["warehouse"], **warehouse}}


def assert_published(store: Bucket, folder: Path, local: ReleaseFolder) -> None:
    """Check that the bucket's current release is that of local mode."""
    store.download("warehouse", folder)
    published = Warehouse(str(folder)).need_current()
    assert_same(published, local, "fingerprint")  # of other times: the store has its own


def test_nodes_without_any_folder_publish_the_same_in_a_store(
    cluster: SparkCluster, store: Bucket, local: ReleaseFolder, tmp_path: Path
) -> None:
    done = cluster.run_job(in_store(), *bucket.OPTIONS, shared=False, variables=bucket.CREDENTIALS)
    assert done.code == 0, done.output
    assert_published(store, tmp_path / "warehouse", local)


# And, of each, the seconds after which it is in the midst of its work.
STEPS = {"delta": 1, "embed": 2, "index": 1, "neighbours": 1, "quality": 1, "publish": 0}


def test_run_after_drivers_that_were_killed_in_each_step_publishes_the_same(
    cluster: SparkCluster, store: Bucket, local: ReleaseFolder, tmp_path: Path
) -> None:
    """Each takes the lock of the one before, and uses what that one has done."""
    night = in_store(lock_ttl=2)
    for step, seconds in STEPS.items():
        driver = cluster.start_job(night, *bucket.OPTIONS, shared=False, variables=bucket.CREDENTIALS)
        driver.until(f" {step}: ")
        time.sleep(seconds)
        driver.kill()
    done = cluster.run_job(night, *bucket.OPTIONS, shared=False, variables=bucket.CREDENTIALS)
    assert done.code == 0, done.output
    assert_published(store, tmp_path / "warehouse", local)


def test_one_of_two_drivers_publishes(cluster: SparkCluster, local: ReleaseFolder, warehouse: str) -> None:
    first = cluster.start_job(settings("/mnt/shared", warehouse))
    first.until(" read: ")
    second = cluster.run_job(settings("/mnt/shared", warehouse))  # which gets no executor: the first one has all cores
    assert second.code == 1, second.output
    assert error_of(second).startswith("LockError: ")
    done = cluster.end(first)
    assert done.code == 0, done.output
    assert_same(current(cluster, warehouse), local)


@pytest.mark.skipif(not FAKE_TIME, reason="no libfaketime here; Debian has it in the package libfaketime")
@pytest.mark.parametrize("wrong", ["+3h", "-3h"], ids=["ahead", "behind"])
def test_clock_of_a_machine_may_be_wrong(
    cluster: SparkCluster, local: ReleaseFolder, warehouse: str, wrong: str
) -> None:
    # Time spans are as they are; with the library's own repair of waits, Java's take a core each.
    spans = {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_FORCE_MONOTONIC_FIX": "0"}
    variables = {"LD_PRELOAD": str(FAKE_TIME[0]), "FAKETIME": wrong, **spans}
    cluster.kill_worker(2)
    cluster.start_worker(2, variables=variables)
    done = cluster.run_job(settings("/mnt/shared", warehouse))
    assert done.code == 0, done.output
    assert_same(current(cluster, warehouse), local)
