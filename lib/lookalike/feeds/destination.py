"""Where a release is exported to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from lookalike.feeds.source import Feed
from lookalike.feeds.vectors import ExportedVectors, Precision


class Writer(ABC):
    """Takes one table after the other, and shows them all at once."""

    @abstractmethod
    def write(self, feed: Feed, vectors: ExportedVectors) -> int:
        """Write a table that nobody sees yet; return its rows. Raises ExportError."""

    @abstractmethod
    def show(self, record: Mapping[str, Any], vectors: ExportedVectors) -> None:
        """Let the tables take the place of those of the last export; raises ExportError."""


class Destination(ABC):
    """A server or a folder."""

    precision: Precision

    @abstractmethod
    def open(self) -> AbstractContextManager[Writer]:
        """Check what can be checked, and let nobody else export to here; what is not shown at the end is removed."""
