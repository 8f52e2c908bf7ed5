"""The cluster that these tests share, the pictures, and the release of local mode that all others must equal."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lookalike.demo.catalogue import draw_catalogue
from lookalike.warehouse.release import ReleaseFolder
from support.cluster.bucket import Bucket
from support.cluster.night import ITEMS, current, settings
from support.cluster.room import Room
from support.cluster.spark_cluster import SparkCluster, why_not
from support.drawn import ROOT
from support.submit import submit


@pytest.fixture(scope="session")
def allowed() -> None:
    """End with a line that says why, where there can be no cluster: these tests run only when they are asked for."""
    if reason := why_not():
        pytest.exit(f"make test-cluster cannot run here: {reason}", returncode=2)


@pytest.fixture(scope="session")
def packed(allowed: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packed environments, as a user puts them on a gateway."""
    folder = tmp_path_factory.mktemp("packed")
    (folder / "driver").mkdir()
    subprocess.run(["tar", "-xzf", ROOT / "build/pack/driver.tar.gz", "-C", folder / "driver"], check=True)
    shutil.copy(ROOT / "build/pack/executor.tar.gz", folder)
    return folder


@pytest.fixture(scope="session")
def running(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkCluster]:
    """The cluster, with its master and the pictures."""
    with Room() as room:
        made = SparkCluster(room, tmp_path_factory.mktemp("cluster"), packed)
        (made.shared / "photos").mkdir(parents=True)
        draw_catalogue(made.shared / "photos", items=ITEMS)
        made.start_master()
        yield made


@pytest.fixture
def cluster(running: SparkCluster) -> SparkCluster:
    """The cluster with both workers, repaired after the test before."""
    running.repair()
    return running


@pytest.fixture(scope="session")
def local(running: SparkCluster) -> ReleaseFolder:
    """The release of local mode."""
    file = running.base / "local.yaml"
    file.write_text(json.dumps(settings(running.shared, "local")))  # JSON is YAML
    done = submit("embed.py", file)
    assert done.code == 0, done.output
    return current(running, "local")


@pytest.fixture
def warehouse(cluster: SparkCluster, local: ReleaseFolder, request: pytest.FixtureRequest) -> str:
    """The name of a warehouse in the shared folder that has the compiled model already."""
    name = re.sub(r"\W", "_", request.node.name)
    shutil.copytree(local.warehouse / "models", cluster.shared / name / "models")
    return name


@pytest.fixture
def store(cluster: SparkCluster, tmp_path: Path) -> Iterator[Bucket]:
    """A bucket with the pictures, for machines that have no folder in common."""
    for number in (1, 2):
        cluster.kill_worker(number)
        cluster.start_worker(number, shared=False)
    with Bucket(cluster.room, tmp_path).running() as found:
        found.upload(cluster.shared / "photos", "photos")
        yield found
