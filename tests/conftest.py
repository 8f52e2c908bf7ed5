"""Shared fixtures: one Spark session, one compiled model and one drawn catalogue for the whole suite."""

from __future__ import annotations

import fcntl
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image
from pyspark.sql import SparkSession
from threadpoolctl import threadpool_limits

from lookalike import config
from lookalike.cli import session as cli_session
from lookalike.demo.catalogue import draw_catalogue
from lookalike.models.compile import find_or_compile
from lookalike.models.network import CompiledModel
from support import quick_spark
from support.drawn import Drawn

# Spark's workers run the PATH's python3 unless told otherwise.
os.environ.setdefault("PYSPARK_PYTHON", sys.executable)

# Few pictures; and the engine that a worker loads soonest, whatever this machine would choose.
SMALL: dict[str, Any] = {"calibration_pictures": 32, "fidelity_pictures": 32, "engine": "litert"}

# Of the tests' S3 server.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
}

# The files that take longest, in an order in which the two processes end together: who is done early takes the next of
# the others. The first compiles the model that the second does not need at once.
LONG = (
    "e2e/test_refresh",
    "neighbours/test_constraints",
    "e2e/test_kill",
    "e2e/test_job",
    "sql/test_metastore",
    "neighbours/test_incremental",
    "e2e/test_local_cluster",
    "e2e/test_golden",
    "e2e/test_wheel",
    "models/test_keras_weights",
    "images/test_decoder",
    "neighbours/test_nights",
    "models/test_resnet50",
    "quality/test_recall",
    "e2e/test_remote",
    "e2e/test_catalogues",
    "models/test_compile",
    "index/test_refresh",
    "serving/test_processes",
    "embedding/test_step",
    "e2e/test_damage",
    "docs/test_snippets",
    "test_makefile",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; the order within a file stays."""
    place = {name: number for number, name in enumerate(LONG)}
    tests = Path(__file__).parent
    items.sort(key=lambda item: place.get(str(item.path.relative_to(tests).with_suffix("")), len(LONG)))


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """A release of a few items is 60 files, at 3 ms each and more; no test lives through a crash of the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_thread_of_blas() -> Iterator[None]:
    """The other process has the other core: two threads that wait for each other take three times what one takes."""
    with threadpool_limits(1, "blas"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENBLAS_NUM_THREADS", "1")  # of all that is started
        yield


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The session that all tests share; it starts when the first of them asks."""
    session = (
        SparkSession.builder.appName("tests")
        .master("local[2]")
        .config(map={**cli_session.SESSION, **quick_spark.settings(tmp_path_factory.mktemp("java"))})
        # Workers have the environment of their JVM, which may be older than the S3 server's credentials.
        .config(map={f"spark.executorEnv.{name}": value for name, value in CREDENTIALS.items()})
        .config("spark.sql.warehouse.dir", str(tmp_path_factory.mktemp("spark-warehouse")))
        .getOrCreate()
    )
    yield session
    session.stop()


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """72 drawn pictures, and five items whose picture is missing, a folder, HTML, empty or cut short."""
    folder = tmp_path_factory.mktemp("drawn")
    table = draw_catalogue(folder, items=72, seed=11)
    images = folder / "images"
    (images / "page.jpg").write_bytes(b"<html>not found</html>")
    (images / "empty.jpg").write_bytes(b"")
    (images / "cut.jpg").write_bytes((folder / table["image_path"][0].as_py()).read_bytes()[:3000])
    bad = {
        "gone": "not_found",
        "folder": "not_found",
        "page": "not_an_image",
        "empty": "empty",
        "cut": "truncated",
    }
    paths = {"gone": "images/gone.jpg", "folder": "images"}
    rows = [
        {
            **table.slice(0, 1).to_pylist()[0],
            "item_id": name,
            "image_path": paths.get(name, f"images/{name}.jpg"),
        }
        for name in bad
    ]
    table = pa.concat_tables([table, pa.Table.from_pylist(rows, schema=table.schema)])
    pq.write_table(table, folder / "catalogue.parquet")
    return Drawn(folder, table, bad)


@pytest.fixture(scope="session")
def model(drawn: Drawn, tmp_path_factory: pytest.TempPathFactory) -> CompiledModel:
    """The bundled weights in int8, compiled once for the suite: whichever of its processes asks first compiles them."""
    settings = config.ModelSettings(weights="bundled", **SMALL)

    def sample(wanted: int) -> np.ndarray:
        paths = [drawn.folder / path for path in drawn.table["image_path"].to_pylist()[:72]][:wanted]
        pictures = [Image.open(path).resize((112, 112), Image.Resampling.BILINEAR) for path in paths]
        return np.stack([np.asarray(picture) for picture in pictures])

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "models"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return find_or_compile(settings, folder, sample)


@pytest.fixture
def settings(drawn: Drawn, tmp_path: Path) -> Callable[..., config.Settings]:
    """Builder of settings over the drawn catalogue; sections are given as keyword arguments."""

    def build(**sections: dict[str, Any]) -> config.Settings:
        raw: dict[str, Any] = {
            "catalogue": {"path": str(drawn.path), "image_root": str(drawn.folder)},
            "warehouse": {"path": str(tmp_path / "warehouse")},
            "model": {"weights": "bundled", **SMALL},
            "gates": {"max_failed_share": 0.2},
        }
        for name, section in sections.items():
            raw[name] = {**raw.get(name, {}), **section}
        return config.Settings.model_validate(raw)

    return build


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """An S3 server; credentials are in the environment, as they would be in production."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield f"http://{host}:{port}"
    server.stop()
