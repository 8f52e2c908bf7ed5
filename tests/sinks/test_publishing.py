"""Several sinks at once: each is tried, and what failed is one error."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from lookalike.errors import LockError, SinkError, ViewsError, WarehouseError
from lookalike.sinks import publishing
from lookalike.sinks.base import Sink
from lookalike.warehouse.release import ReleaseFolder

RELEASE = ReleaseFolder(Path("/releases/r1"))
PREFIX, MEND = "the release r1 is current, but ", "; then run `lookalike releases publish`"


class Told(Sink):
    """A sink that raises what it is given, and notes that it was asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.name, self.asked, self._error = "tables", 0, error

    def prepare(self, release: ReleaseFolder) -> None:
        self.publish(release)

    def publish(self, release: ReleaseFolder) -> None:
        self.asked += 1
        if self._error:
            raise self._error

    def forget(self, release_ids: Collection[str]) -> None:
        self.publish(RELEASE)


@pytest.mark.parametrize(
    ("errors", "kind", "reasons"),
    [
        ([ViewsError("no views")], ViewsError, "no views"),
        ([WarehouseError("the store is down")], SinkError, "the store is down"),
        ([ViewsError("no views"), SinkError("no tables")], SinkError, "no views; and no tables"),
    ],
)
def test_all_are_tried_and_what_failed_is_one_error(
    errors: list[Exception], kind: type[SinkError], reasons: str
) -> None:
    sinks = [*(Told(error) for error in errors), Told()]
    with pytest.raises(SinkError) as raised:
        publishing.publish(sinks, RELEASE)
    assert type(raised.value) is kind
    assert str(raised.value) == f"{PREFIX}{reasons}{MEND}"
    assert [sink.asked for sink in sinks] == [1] * len(sinks)


def test_run_that_lost_the_lock_publishes_no_more() -> None:
    last = Told()
    with pytest.raises(LockError):
        publishing.publish([Told(LockError("taken")), last], RELEASE)
    assert last.asked == 0


@pytest.mark.parametrize("error", [SinkError("no column"), ValueError("a defect")])
def test_what_fails_before_the_release_is_current_loses_no_night(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    last = Told()
    publishing.prepare([Told(error), last], RELEASE)
    assert last.asked == 1
    assert f"tables: {error}; tried again when the release is current" in capsys.readouterr().err


def test_sink_that_does_not_let_go_keeps_all_releases() -> None:
    with pytest.raises(SinkError, match=r"no release was removed, since it is down; then clean again"):
        publishing.forget([Told(), Told(SinkError("it is down"))], ["r0"])
