"""Files of the release before that are taken into the release in the making as they are."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pyspark.sql import SparkSession

from lookalike.spark.tasks import map_tasks
from lookalike.warehouse.release import Staged

# Of a file server, a link takes a millisecond and more.
_THREADS = 8


def link_files(spark: SparkSession, staged: Staged, paths: Sequence[Path]) -> None:
    """Give files of the parent the same names in the release in the making: links on a disk, copies inside a store.

    Tasks do what takes long: a store copies 100 MB in a second, and a file that no list describes is read.
    """
    assert staged.parent is not None
    names = [path.relative_to(staged.parent.root).as_posix() for path in paths]
    pairs = [(name, staged.inherited.get(name)) for name in names]
    if staged.shared.in_store or any(known is None for _, known in pairs):
        staged.add(map_tasks(spark, pairs, lambda pair: staged.link(*pair)))
        return
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="link") as pool:
        staged.add(pool.map(lambda pair: staged.link(*pair), pairs))
