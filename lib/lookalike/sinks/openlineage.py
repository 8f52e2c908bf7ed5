"""The run as OpenLineage events: START, and at its end COMPLETE, FAIL or ABORT.

A server that does not answer costs a run some seconds and a warning: an event is told once, and nobody can tell it
later.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import attr
from openlineage.client import OpenLineageClient
from openlineage.client import event_v2 as events
from openlineage.client.facet_v2 import (
    DatasetFacet,
    OutputDatasetFacet,
    RunFacet,
    dataset_version_dataset,
    error_message_run,
    output_statistics_output_dataset,
    processing_engine_run,
    schema_dataset,
)
from openlineage.client.transport import Transport
from openlineage.client.transport.file import FileConfig, FileTransport
from openlineage.client.transport.http import HttpConfig, HttpTransport
from openlineage.client.uuid import generate_new_uuid

from lookalike import config
from lookalike.errors import LookalikeError
from lookalike.progress import say
from lookalike.safe_text import one_line
from lookalike.sinks.run_end import RunEnd
from lookalike.sinks.tables import Table, tables_of
from lookalike.storage import bounded
from lookalike.storage.uri import is_uri, parse
from lookalike.version import VERSION
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.record import ReleaseRecord

_PRODUCER = f"https://pypi.org/project/lookalike/{VERSION}"
_STATES = {
    "published": events.RunState.COMPLETE,
    "nothing_to_do": events.RunState.COMPLETE,
    "refused": events.RunState.FAIL,
    "failed": events.RunState.FAIL,
    "stopped": events.RunState.ABORT,
}
_SECONDS = 5.0


@attr.define
class ReleaseRunFacet(RunFacet):
    """What became of the run: how it ended and, where it published a release, its figures."""

    outcome: str
    exitCode: int  # noqa: N815 - the names of a facet are JavaScript's
    releaseId: str | None = None  # noqa: N815
    counts: dict[str, float] = attr.field(factory=dict)


class Lineage:
    """The events of one run."""

    def __init__(self, settings: config.Settings, warehouse: Warehouse, place: str) -> None:
        self._place, self._warehouse = place, warehouse
        self._job = events.Job(namespace="lookalike", name=warehouse.name)
        self._run_id = str(generate_new_uuid())
        namespace, name = _named(settings.catalogue.path)
        self._input = events.InputDataset(namespace, name)

    def start_run(self) -> None:
        """Tell that the run starts."""
        import pyspark

        engine = processing_engine_run.ProcessingEngineRunFacet(pyspark.__version__, "spark", VERSION)
        self._tell(events.RunState.START, {"processing_engine": engine})

    def end_run(self, end: RunEnd, published: ReleaseRecord | None) -> None:
        """Tell how the run ended and, where it published a release, what it wrote."""
        facets: dict[str, RunFacet] = {"lookalike_release": _release_facet(end, published)}
        if end.exit_code:
            facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(end.message, "Python")
        self._tell(_STATES[end.outcome], facets, self._outputs() if published else ())

    def _outputs(self) -> list[events.OutputDataset]:
        """Return the tables of the release; none where they cannot be read, which is not for an event to say."""
        with suppress(LookalikeError):
            release = self._warehouse.need_current()
            return [self._output(table, release.release_id) for table in tables_of(release)]
        return []

    def _output(self, table: Table, release_id: str) -> events.OutputDataset:
        namespace, name = _named(f"{self._warehouse.name}/current/{table.name}")
        about, written = _described(table, release_id), _statistics(table)
        return events.OutputDataset(namespace, name, facets=about, outputFacets=written)

    def _tell(
        self, state: events.RunState, facets: dict[str, RunFacet], outputs: Sequence[events.OutputDataset] = ()
    ) -> None:
        event = events.RunEvent(
            eventType=state,
            eventTime=datetime.now(UTC).isoformat(),
            run=events.Run(self._run_id, facets=facets),
            job=self._job,
            inputs=[self._input],
            outputs=list(outputs),
            producer=_PRODUCER,
        )
        try:
            client = OpenLineageClient(transport=_transport(self._place))
            # A server that sends a byte a second is no time-out of its client, nor is the wait that a server asks for.
            bounded.call(partial(client.emit, event), _SECONDS, "OpenLineage")
        except Exception as error:  # noqa: BLE001 - of requests, of a disk, of any library between
            reason = one_line(str(error))
            say(
                f"publish.openlineage: {self._place} did not take {state.value} ({reason}); the run goes on",
                level="warning",
            )


def _transport(place: str) -> Transport:
    if place.startswith(("http://", "https://")):
        key = os.environ.get("OPENLINEAGE_API_KEY")
        auth = {"auth": {"type": "api_key", "apiKey": key}} if key else {}
        return HttpTransport(
            HttpConfig.from_dict({"url": place, "timeout": _SECONDS, "retry": {"total": 1, "connect": 1}, **auth})
        )
    return FileTransport(FileConfig(log_file_path=place, append=True))


def _named(place: str) -> tuple[str, str]:
    """Return namespace and name of a table as OpenLineage gives them: by the store, or as one of Spark's catalog."""
    if is_uri(place):
        found = parse(place)
        return f"{found.scheme}://{found.authority}".removesuffix("://"), found.path.lstrip("/") or "/"
    if "/" in place or Path(place).exists():
        return "file", str(Path(place).absolute())
    return "spark", place


def _release_facet(end: RunEnd, published: ReleaseRecord | None) -> ReleaseRunFacet:
    if published is None:
        return ReleaseRunFacet(end.outcome, end.exit_code)
    counts = published.counts
    figures = {"items": counts.items, "embedded": counts.embedded, "failed": counts.failed, "recall": counts.recall}
    return ReleaseRunFacet(end.outcome, end.exit_code, published.release_id, figures)


def _described(table: Table, release_id: str) -> dict[str, DatasetFacet]:
    fields = [schema_dataset.SchemaDatasetFacetFields(field.name, str(field.type)) for field in table.columns]
    return {
        "schema": schema_dataset.SchemaDatasetFacet(fields),
        "version": dataset_version_dataset.DatasetVersionDatasetFacet(release_id),
    }


def _statistics(table: Table) -> dict[str, OutputDatasetFacet]:
    rows, size = sum(file.rows for file in table.files), sum(file.bytes for file in table.files)
    found = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rows, size, len(table.files))
    return {"outputStatistics": found}
