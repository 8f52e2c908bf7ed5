"""Publish to all sinks: each is tried, whatever became of the others, and what failed is one named error."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from lookalike.errors import LockError, LookalikeError, SinkError
from lookalike.progress import say_detail
from lookalike.sinks.base import Sink
from lookalike.warehouse.release import ReleaseFolder

_MEND = "then run `lookalike releases publish`"


def prepare(sinks: Iterable[Sink], release: ReleaseFolder) -> None:
    """Do what can be done before the release is the current one; what fails is tried again after that."""
    for sink in sinks:
        try:
            sink.prepare(release)
        except LockError:
            raise
        except Exception as error:  # noqa: BLE001 - no reason to lose the night: when it is current, it is tried again
            say_detail(f"{sink.name}: {error}; tried again when the release is current", level="warning")


def publish(sinks: Sequence[Sink], release: ReleaseFolder) -> None:
    """Make all sinks show the release, which is current; raises SinkError, or ViewsError where only views failed."""
    failed = [error for sink in sinks if (error := _failure(sink, release)) is not None]
    if not failed:
        return
    kind = type(failed[0]) if len(failed) == 1 and isinstance(failed[0], SinkError) else SinkError
    reasons = "; and ".join(str(error) for error in failed)
    raise kind(f"the release {release.release_id} is current, but {reasons}; {_MEND}")


def forget(sinks: Iterable[Sink], release_ids: Collection[str]) -> None:
    """Make all sinks let go of releases before they are removed; raises SinkError."""
    for sink in sinks:
        try:
            sink.forget(release_ids)
        except SinkError as error:
            raise SinkError(f"no release was removed, since {error}; then clean again") from None


def _failure(sink: Sink, release: ReleaseFolder) -> LookalikeError | None:
    try:
        sink.publish(release)
    except LockError:  # another run writes now, and publishes what it makes
        raise
    except LookalikeError as error:
        return error
    return None
