"""Spark's settings for tests: over tables of a few rows, most of the time goes into compiling and starting."""

from __future__ import annotations

import shlex
from pathlib import Path

# Bytecode is compiled once and lightly, and not verified: 6 s of CPU a night in place of 10, and 3 s less a start.
# That compiler alone would get 48 MB for its code, which a hundred tests fill. Nor is the whole heap collected whenever
# Spark's classes need more room.
JAVA = (
    "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC -XX:MetaspaceSize=256m"
    " -XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote"
)

# What the process of a session is started with, but for its folder of temporary files.
START = {
    "spark.ui.enabled": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    # Each task that sorts or groups begins with a page of memory, of 32 MB by default: half of what is collected.
    "spark.buffer.pageSize": "1m",
}

# Queries are neither compiled nor planned again as they go, nor described at length, and are cut
# into two tasks, where the default is 200.
QUERIES = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.ui.explainMode": "simple",
    # Nor is each step of a plan checked for Spark's own mistakes, and what is over is forgotten soon.
    "spark.sql.lightweightPlanChangeValidation": "false",
    "spark.ui.retainedJobs": "50",
    "spark.ui.retainedStages": "50",
    "spark.ui.retainedTasks": "500",
    "spark.sql.ui.retainedExecutions": "10",
}


def settings(temporary: Path) -> dict[str, str]:
    """All of them; Java's temporary files, which a killed one leaves behind, go into a folder of the tests."""
    return {"spark.driver.defaultJavaOptions": f'{JAVA} "-Djava.io.tmpdir={temporary}"', **START, **QUERIES}


def options(temporary: Path) -> list[str]:
    """The settings as options of spark-submit."""
    return [word for name, value in settings(temporary).items() for word in ("--conf", f"{name}={value}")]


def environment(temporary: Path) -> dict[str, str]:
    """What gives a Python that starts Spark by itself the settings of the tests, and a task the tries of users."""
    return {"PYSPARK_SUBMIT_ARGS": shlex.join(["--master", "local[2,4]", *options(temporary), "pyspark-shell"])}
