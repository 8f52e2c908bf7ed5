"""Lookalike: product pictures in, a table of similar products out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lookalike.version import VERSION

if TYPE_CHECKING:
    from lookalike.serving.client import open_release

__all__ = ["__version__", "open_release"]
__version__ = VERSION


def __getattr__(name: str) -> object:
    """The reader when it is asked for: every worker imports this package, and none of them needs pyarrow's datasets."""
    if name != "open_release":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lookalike.serving.client import open_release

    return open_release
