"""The record of a run, and the lines about it on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from lookalike import config
from lookalike.catalogue.delta import Delta
from lookalike.models.network import CompiledModel
from lookalike.pages import words
from lookalike.version import VERSION
from lookalike.warehouse.record import (
    ChangesRecord,
    ChangesTableRecord,
    FidelityRecord,
    Figures,
    Gate,
    ModelRecord,
    NeighboursRecord,
    PicturesRecord,
    ReleaseRecord,
    ShardsRecord,
)
from lookalike.warehouse.release import Staged
from lookalike.warehouse.stored_config import StoredConfig


@dataclass(frozen=True)
class RunFigures:
    """What the run did: items of each status, pictures read and embedded, shards built, lists searched, seconds."""

    changes: dict[str, int]
    read: int
    embedded: int
    shards: ShardsRecord
    neighbours: NeighboursRecord
    seconds: dict[str, float]


@dataclass(frozen=True)
class Findings:
    """The figures of the release, the results of the gates, and the rows of the table `changes`."""

    figures: Figures
    gates: Sequence[Gate]
    changes_table: ChangesTableRecord


def changes(delta: Delta, model_id: str) -> str:
    """Return the lines about what changed in the catalogue, printed before anything is embedded."""
    line = delta.line()
    old = delta.before.record.model.model_id if delta.before else model_id
    if old != model_id:
        line += f"\nmodel {model_id} takes the place of {old}: every item gets a new vector"
    return line


def record(
    staged: Staged, settings: config.Settings, model: CompiledModel, findings: Findings, work: RunFigures
) -> ReleaseRecord:
    """Return the record of the release in the making."""
    return ReleaseRecord(
        release_id=staged.release_id,
        parent=staged.parent_id,
        created_at=datetime.now(UTC).replace(microsecond=0),
        lookalike=VERSION,
        counts=findings.figures,
        gates=tuple(findings.gates),
        model=_model(model),
        changes=ChangesRecord(**work.changes),
        changes_table=findings.changes_table,
        pictures=PicturesRecord(read=work.read, embedded=work.embedded),
        shards=work.shards,
        seconds=work.seconds,
        config=StoredConfig.of(settings),
        neighbours=work.neighbours,
    )


def _model(model: CompiledModel) -> ModelRecord:
    fidelity = model.fidelity
    return ModelRecord(
        model_id=model.model_id,
        weights=model.weights,
        precision=model.precision,
        engine=model.engine,
        engine_speeds=model.engine_speeds,
        input_size=model.input_size,
        preprocessing=model.preprocessing,
        pictures=model.pictures,
        fidelity=FidelityRecord.model_validate(fidelity, from_attributes=True) if fidelity else None,
        compiled=model.compiled,
    )


def summary(record: ReleaseRecord, place: str) -> list[str]:
    """Return the closing lines on the terminal; `place` is where readers find the release."""
    counts = record.counts
    reasons = ", ".join(f"{name} {count:,}" for name, count in counts.failed_by_reason.items())
    return [
        f"{counts.embedded:,} of {counts.items:,} items have an embedding, {embedded(record):,} embedded by this run"
        f"{rate(record)}; "
        f"{counts.failed:,} failed{f' ({reasons})' if reasons else ''}",
        f"{counts.similar_items:,} similar items, "
        f"recall {counts.recall:.4f} ({interval(counts)}) on {counts.recall_sample:,} items",
        steps(record),
        f"published: {place}",
    ]


def interval(figures: Figures) -> str:
    """Return where the recall of all items lies, at 95 %."""
    return f"{figures.recall_low:.4f} to {figures.recall_high:.4f}"


def steps(record: ReleaseRecord) -> str:
    """Return the seconds of every step, on one line."""
    took = ", ".join(f"{name} {seconds:.1f}" for name, seconds in record.seconds.items())
    return f"seconds: {took}"


def embedded(record: ReleaseRecord) -> int:
    """Return the pictures that the run embedded: all of them, where an older version did not count them."""
    return record.pictures.embedded if record.pictures else record.counts.embedded


def rate(record: ReleaseRecord) -> str:
    """Return the speed as the end of a phrase; nothing where the run embedded no picture, which is not slow."""
    return f", {words.rate(pictures_per_second(record))} pictures/s" if embedded(record) else ""


def pictures_per_second(record: ReleaseRecord) -> float:
    """Return the pictures embedded a second, through the whole embed step: reading, decoding and writing included."""
    # The clock's own grain: a step of no pictures can take 0.000 s.
    return embedded(record) / max(record.seconds.get("embed", 0.0), 0.001)
