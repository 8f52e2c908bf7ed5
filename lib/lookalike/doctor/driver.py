"""Check what the driver needs: Java, Spark, the weights and what reads them."""

from __future__ import annotations

import os
from importlib import util
from pathlib import Path

import pyspark
from pyspark.sql import SparkSession

from lookalike import config
from lookalike.doctor.check import Check
from lookalike.models import weights_file

JAVA = ("17", "21", "25")


def check_java(spark: SparkSession) -> Check:
    """Check that Java is one that this Spark is made for."""
    jvm = spark.sparkContext._jvm
    assert jvm
    version, home = (str(jvm.java.lang.System.getProperty(f"java.{name}")) for name in ("version", "home"))
    if version.partition(".")[0] not in JAVA:
        return Check("java", "fail", f"{version} in {home}", f"Spark {pyspark.__version__} needs {', '.join(JAVA)}")
    return Check("java", "ok", f"{version} in {home}")


def check_spark(spark: SparkSession) -> Check:
    """Check that the Spark that runs is that of the Python package."""
    version, master = spark.version, spark.sparkContext.master
    if version != pyspark.__version__:
        return Check(
            "spark",
            "fail",
            f"{version} at {master}, the Python package pyspark is {pyspark.__version__}",
            "let SPARK_HOME name a Spark of that version, or submit with one",
        )
    return Check("spark", "ok", f"{version} at {master}, classic")


def check_weights(settings: config.Settings) -> Check:
    """Read the weights' file and its digest; raises ModelError. Of ImageNet's, only that TensorFlow is there."""
    name = settings.model.weights
    with weights_file.local_file(settings.model, settings.stores) as path:
        digest = weights_file.digest(path)
    if name != "bundled" and not util.find_spec("tensorflow"):
        return Check(
            "weights",
            "fail",
            f"{name} is read by TensorFlow, which is not installed on the driver",
            "pip install tensorflow-cpu there (no executor needs it), or set model.weights to 'bundled'",
        )
    if path is None:
        return _check_imagenet()
    checked = "as model.weights_sha256 says" if settings.model.weights_sha256 else "model.weights_sha256 is not set"
    return Check("weights", "ok", f"{name}, sha256 {digest[:12]}…, {checked}")


def _check_imagenet() -> Check:
    folder = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras", "models")
    if list(folder.glob("resnet50_*_notop.h5")):
        return Check("weights", "ok", f"imagenet, which Keras has in {folder}")
    return Check(
        "weights",
        "warn",
        f"imagenet, which is not in {folder} yet",
        "the first run downloads 95 MB from storage.googleapis.com; without a network copy the file there, or set "
        "model.weights to its path",
    )
