"""Figures for Prometheus: a text file that the node exporter's textfile collector reads.

It holds the figures of the current release, and those of the last run whatever its end was. A run that was killed
writes nothing, which shows in the age of the last success.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from lookalike.errors import SinkError
from lookalike.sinks import metric_figures
from lookalike.sinks.base import Sink
from lookalike.sinks.metric_figures import LAST_SUCCESS, OF_RUNS, Figure
from lookalike.sinks.run_end import RunEnd
from lookalike.storage import disk
from lookalike.storage.files import write_atomic
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.record import ReleaseRecord
from lookalike.warehouse.release import ReleaseFolder


class Metrics(Sink):
    """A file that is replaced in one step."""

    def __init__(self, warehouse: Warehouse, path: str) -> None:
        self.name = f"figures in {path}"
        self._warehouse, self._path = warehouse.name, Path(path)

    def publish(self, release: ReleaseFolder) -> None:
        """Write the figures of a release; those of the last run stay."""
        self._write([*self._kept(), *metric_figures.of_release(release.record())])

    def end_run(self, end: RunEnd, current: ReleaseRecord | None) -> None:
        """Write the figures of a run, and of the release that is current after it."""
        figures = metric_figures.of_run(end)
        if LAST_SUCCESS not in {figure.name for figure in figures}:
            figures += [figure for figure in self._kept() if figure.name == LAST_SUCCESS]
        self._write([*figures, *(metric_figures.of_release(current) if current else ())])

    def _kept(self) -> list[Figure]:
        """Return the figures of runs that the file holds; none where it is not as we wrote it."""
        with suppress(OSError, ValueError):
            families = list(text_string_to_metric_families(self._path.read_text(encoding="utf-8")))
            return [_figure(family, self._warehouse) for family in families if family.name in OF_RUNS]
        return []

    def _write(self, figures: list[Figure]) -> None:
        registry = CollectorRegistry()
        registry.register(_Collected(figures, self._warehouse))
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._path, generate_latest(registry))
        except OSError as error:
            raise SinkError(
                f"publish.metrics: {self._path} cannot be written ({error.strerror or error}); {disk.advice(error)}"
            ) from None


class _Collected:
    """Figures as Prometheus's client asks for them, each with the label that tells warehouses apart."""

    def __init__(self, figures: list[Figure], warehouse: str) -> None:
        self._figures, self._warehouse = figures, warehouse

    def collect(self) -> Iterator[Metric]:
        for figure in self._figures:
            family = GaugeMetricFamily(figure.name, figure.meaning, labels=["warehouse", *figure.labels])
            for values, number in figure.samples:
                family.add_metric([self._warehouse, *values], number)
            yield family


def _figure(family: Metric, warehouse: str) -> Figure:
    """Return a figure that was written before, without the label of its warehouse; raises ValueError for another's."""
    labels = [name for name in family.samples[0].labels if name != "warehouse"] if family.samples else []
    if any(sample.labels.get("warehouse") != warehouse for sample in family.samples):
        raise ValueError("it is of another warehouse")
    samples = [([sample.labels[name] for name in labels], sample.value) for sample in family.samples]
    return Figure(family.name, family.documentation, samples, labels)
