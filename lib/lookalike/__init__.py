"""Lookalike: product pictures in, a table of similar products out.

    import lookalike

    release = lookalike.open_release("/data/lookalike")  # a warehouse
    release.similar("item-1", k=10)  # [Neighbour(item_id=…, score=…), …]

`open_release` gives a `Release`, which answers with `Neighbours`, with many of these, and with `Items`. What goes wrong
raises an error of `lookalike.errors`, all of them `LookalikeError`s, with a line that says what to do.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from lookalike.version import VERSION

if TYPE_CHECKING:
    from lookalike import errors as errors
    from lookalike.config import StoreSettings
    from lookalike.serving.client import Release, open_release
    from lookalike.serving.questions import ALL_GROUPS
    from lookalike.serving.results import Changes, Items, NeighbourLists, Neighbours
    from lookalike.serving.shard import Neighbour
    from lookalike.serving.why import Why
    from lookalike.warehouse.record import ReleaseRecord

__version__ = VERSION
__all__ = [
    "ALL_GROUPS",
    "Changes",
    "Items",
    "Neighbour",
    "NeighbourLists",
    "Neighbours",
    "Release",
    "ReleaseRecord",
    "StoreSettings",
    "Why",
    "__version__",
    "errors",
    "open_release",
]

# Every Spark worker imports this package, and none needs a reader of releases: a name is imported when it is used.
_MODULES = {
    "ALL_GROUPS": "lookalike.serving.questions",
    "Changes": "lookalike.serving.results",
    "Items": "lookalike.serving.results",
    "Neighbour": "lookalike.serving.shard",
    "NeighbourLists": "lookalike.serving.results",
    "Neighbours": "lookalike.serving.results",
    "Release": "lookalike.serving.client",
    "ReleaseRecord": "lookalike.warehouse.record",
    "StoreSettings": "lookalike.config",
    "Why": "lookalike.serving.why",
    "open_release": "lookalike.serving.client",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name == "errors":
        return importlib.import_module("lookalike.errors")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
