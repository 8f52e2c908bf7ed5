"""What a sink is: another place that shows the current release, besides the pointer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection

from lookalike.warehouse.release import ReleaseFolder


class Sink(ABC):
    """One place. It is asked under the lock of the warehouse, and does what is left to do: again is as good as once.

    Whatever goes wrong raises SinkError, whose text follows "the release R is current, but ", or another named error.
    """

    name: str  # for people, a plural: "Delta tables"
    holder: str = ""  # its key in VIEWS, where it names releases that it can let go of

    def prepare(self, release: ReleaseFolder) -> None:
        """Do what can be done before the release is the current one."""
        del release  # most have nothing to do

    @abstractmethod
    def publish(self, release: ReleaseFolder) -> None:
        """Show this release, which is the current one."""

    def forget(self, release_ids: Collection[str]) -> None:
        """Let go of releases that are about to be removed."""
        del release_ids  # most hold none
