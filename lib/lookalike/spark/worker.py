"""What our functions do without in a Spark worker. No Spark."""

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
    """Let pyarrow find no pandas, unless it is there already: the first array that it makes from a list imports it.

    That is 49 MB and 0.7 s for each worker, and none of our functions uses it. pyarrow looks for it once; whoever
    imports pandas later gets it.
    """
    if "pandas" in sys.modules:
        return
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([""])
    finally:
        sys.meta_path.remove(finder)
