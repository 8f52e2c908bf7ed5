"""Copies between an object store and a folder, made by Spark's executors."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from pyspark.sql import SparkSession

from lookalike.errors import WarehouseError
from lookalike.progress import say_detail
from lookalike.spark.tasks import TASKS_A_CORE, collect_tasks
from lookalike.storage import prefix


def on_executors(spark: SparkSession) -> prefix.TransferRunner:
    """Return a function that runs transfers on the executors, so that no table passes through the driver."""

    def run(transfers: Sequence[prefix.Transfer]) -> None:
        if not transfers:
            return
        first, size = transfers[0], sum(one.size for one in transfers)
        direction = "to" if first.up else "from"
        say_detail(f"{len(transfers):,} files, {size / 1e6:,.1f} MB {direction} {first.prefix.uri}")
        count = max(1, min(len(transfers), TASKS_A_CORE * spark.sparkContext.defaultParallelism))
        parts = [list(transfers[start::count]) for start in range(count)]
        for found in collect_tasks(spark, count, lambda number: _run_in_task(parts[number])):
            if "error" in found:
                raise WarehouseError(found["error"])
        _check_seen([one for one in transfers if not one.up])

    return run


def _run_in_task(transfers: Sequence[prefix.Transfer]) -> dict[str, Any]:
    """Run transfers inside a task; return the error, if any: raised, it would come back as a stack trace."""
    try:
        _check_seen([one for one in transfers if one.up])
        prefix.run_transfers(transfers)
    except WarehouseError as error:
        return {"error": str(error)}
    return {}


def _check_seen(transfers: Sequence[prefix.Transfer]) -> None:
    for one in transfers:
        if not one.path.is_file():
            raise WarehouseError(
                f"warehouse.mirror: {one.path}, which another machine has written, is not seen on "
                f"{socket.gethostname()}; give a folder that all machines of the cluster share"
            )
