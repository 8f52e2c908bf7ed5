"""The figures of runs and releases by their names for Prometheus: base units, all gauges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lookalike.failures import REASONS
from lookalike.sinks.run_end import OUTCOMES, RunEnd
from lookalike.warehouse.record import ReleaseRecord

LAST_SUCCESS = "lookalike_last_success_timestamp_seconds"


@dataclass(frozen=True)
class Figure:
    """A metric: its name, what it means, and its values by the values of its labels."""

    name: str
    meaning: str
    samples: Sequence[tuple[Sequence[str], float]]
    labels: Sequence[str] = field(default=())


OF_RUNS = {
    "lookalike_last_run_timestamp_seconds": "When the last run ended, in Unix time.",
    LAST_SUCCESS: "When a run last ended with exit code 0, in Unix time.",
    "lookalike_last_run_duration_seconds": "How long the last run took.",
    "lookalike_last_run_exit_code": "The exit code of the last run.",
    "lookalike_last_run_outcome": "How the last run ended: 1 for the outcome that it had.",
}


def of_run(end: RunEnd) -> list[Figure]:
    """Return the figures of a run that ended; without that of the last success, where it was none."""
    numbers = {
        "lookalike_last_run_timestamp_seconds": end.ended.timestamp(),
        "lookalike_last_run_duration_seconds": end.seconds,
        "lookalike_last_run_exit_code": float(end.exit_code),
    }
    if not end.exit_code:
        numbers[LAST_SUCCESS] = end.ended.timestamp()
    outcome = "lookalike_last_run_outcome"
    by_outcome = [([one], float(one == end.outcome)) for one in OUTCOMES]
    figures = [Figure(name, OF_RUNS[name], [((), number)]) for name, number in numbers.items()]
    return [*figures, Figure(outcome, OF_RUNS[outcome], by_outcome, ["outcome"])]


def of_release(record: ReleaseRecord) -> list[Figure]:
    """Return the figures of a release that is current."""
    return [*_plain(record), *_labelled(record)]


def _plain(record: ReleaseRecord) -> list[Figure]:
    counts, files = record.counts, record.files
    found: list[tuple[str, str, float | None]] = [
        ("created_timestamp_seconds", "When the release was made, in Unix time.", record.created_at.timestamp()),
        ("items", "Items of the catalogue.", counts.items),
        ("embedded_items", "Items with a vector.", counts.embedded),
        ("similar_items_rows", "Rows of similar_items.", counts.similar_items),
        ("items_without_neighbours", "Embedded items with an empty list.", counts.without_neighbours),
        ("recall_ratio", "Recall of the sample, 0 to 1.", counts.recall),
        ("recall_low_ratio", "The low end of its 95 % interval.", counts.recall_low),
        ("hub_lists", "Lists that recommend the item which most lists recommend.", counts.hub_recommended),
        ("files", "Files of the release.", files.count if files else None),
        ("size_bytes", "Bytes of these files.", files.bytes if files else None),
        ("pictures_read", "Pictures that its run read.", record.pictures.read if record.pictures else None),
        ("pictures_embedded", "Pictures that its run embedded.", record.pictures.embedded if record.pictures else None),
    ]
    return [
        Figure(f"lookalike_release_{name}", meaning, [((), float(number))])
        for name, meaning, number in found
        if number is not None
    ]


def _labelled(record: ReleaseRecord) -> list[Figure]:
    changes = record.changes.model_dump() if record.changes else {}
    failed = dict.fromkeys(REASONS, 0) | record.counts.failed_by_reason  # a series that comes and goes raises no alert
    about = ([record.release_id, record.model.model_id, record.lookalike], 1.0)
    return [
        Figure("lookalike_release_info", "The release.", [about], ["release_id", "model_id", "version"]),
        _by("failed_items", "Items without a vector.", "reason", failed),
        _by("catalogue_changes", "Items by what became of them since the release before.", "change", changes),
        _by("step_duration_seconds", "How long each step of its run took.", "step", record.seconds),
        _by("gate_figure", "What each gate measured.", "gate", {gate.key: gate.figure for gate in record.gates}),
        _by("gate_bound", "The bound of each gate.", "gate", {gate.key: gate.bound for gate in record.gates}),
    ]


def _by(name: str, meaning: str, label: str, numbers: Mapping[str, float]) -> Figure:
    samples = [([value], float(number)) for value, number in numbers.items()]
    return Figure(f"lookalike_release_{name}", meaning, samples, [label])
