"""How Java reads the names of files: by the locale that it was started with, and without a word where that fails."""

from __future__ import annotations

from pyspark.sql import SparkSession


def java_encoding(spark: SparkSession) -> str:
    """Return the encoding of the names of files in the JVM of the driver."""
    return str(spark._jvm.java.lang.System.getProperty("sun.jnu.encoding")) if spark._jvm else "UTF-8"


def is_utf8(encoding: str) -> bool:
    """Return whether names in an encoding may be any text."""
    return encoding.upper().replace("-", "") == "UTF8"
