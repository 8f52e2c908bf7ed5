"""Keep pandas out of Spark's Python workers: none of our functions uses it."""

from __future__ import annotations

import sys
from functools import cache
from importlib.abc import MetaPathFinder

import pyarrow as pa


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
