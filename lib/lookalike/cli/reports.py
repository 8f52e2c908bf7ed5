"""What is told of a run besides its exit code: figures for Prometheus and events of OpenLineage, where asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lookalike import config
from lookalike.cli.exits import End
from lookalike.errors import LookalikeError
from lookalike.progress import say
from lookalike.warehouse import opening
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.record import ReleaseRecord

if TYPE_CHECKING:
    from lookalike.sinks.metrics import Metrics
    from lookalike.sinks.openlineage import Lineage
    from lookalike.sinks.run_end import RunEnd


class Reports:
    """The reports of one run; a setting that is wrong ends it before anybody can be told."""

    _warehouse: Warehouse
    _metrics: Metrics | None = None
    _lineage: Lineage | None = None

    def __init__(self) -> None:
        self._started = datetime.now(UTC)

    def start(self, settings: config.Settings) -> None:
        """Tell that the run starts; raises WarehouseError."""
        asked = settings.publish
        if not (asked.metrics or asked.openlineage):
            return
        self._warehouse = opening.open_warehouse(settings)
        if asked.metrics:
            from lookalike.sinks.metrics import Metrics

            self._metrics = Metrics(self._warehouse, asked.metrics)
        if asked.openlineage:
            from lookalike.sinks.openlineage import Lineage

            self._lineage = Lineage(settings, self._warehouse, asked.openlineage)
            self._lineage.start_run()

    def succeed(self, *, published: bool) -> None:
        """Tell that the run did what it should; raises SinkError."""
        if self._metrics or self._lineage:
            from lookalike.sinks.run_end import RunEnd

            now = datetime.now(UTC)
            self._tell(RunEnd("published" if published else "nothing_to_do", 0, self._started, now))

    def fail(self, end: End) -> None:
        """Tell that the run failed, or say that this failed too: the run ends with its own exit code."""
        if self._metrics or self._lineage:
            from lookalike.sinks.run_end import RunEnd, outcome_of

            now = datetime.now(UTC)
            try:
                self._tell(RunEnd(outcome_of(end.exit_code), end.exit_code, self._started, now, end.message))
            except LookalikeError as error:
                say(str(error), level="warning")

    def _tell(self, end: RunEnd) -> None:
        current = self._current()
        if self._lineage:
            self._lineage.end_run(end, current if current and current.created_at >= self._started else None)
        if self._metrics:
            self._metrics.end_run(end, current)

    def _current(self) -> ReleaseRecord | None:
        try:
            release = self._warehouse.current()
            return release.record() if release else None
        except LookalikeError:  # damaged or out of reach, which the run has said
            return None
