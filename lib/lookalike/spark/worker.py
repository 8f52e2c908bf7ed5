"""What a Python worker of Spark does before each task of ours: no pandas, and a look at the shared folder."""

from __future__ import annotations

import sys
from functools import cache
from importlib.abc import MetaPathFinder

import pyarrow as pa

from lookalike.spark import shared_folder


def start_task(expected: str | None = None) -> None:
    """Prepare this worker for a task: every function of ours that runs in one calls it first.

    Raises the error of a machine that does not see what all must see; see shared_folder for `expected`.
    """
    without_pandas()
    shared_folder.need_seen(expected)


class _NoPandas(MetaPathFinder):
    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("not wanted here", name=fullname)


@cache
def without_pandas() -> None:
    """Make pyarrow do without pandas, which it imports for the first array that it makes from a list.

    The import costs 49 MB and 0.7 s in each worker. pyarrow looks for pandas once; a later import of pandas works. In a
    process that has pandas already, nothing changes.
    """
    if "pandas" in sys.modules:
        return
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([""])
    finally:
        sys.meta_path.remove(finder)
