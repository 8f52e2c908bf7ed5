"""The facts of a run, as release.json keeps them, and the lines that say them on the terminal."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from lookalike import config
from lookalike.catalogue.delta import Delta
from lookalike.index.step import ShardCounts
from lookalike.models.network import CompiledModel
from lookalike.quality.gates import Gate
from lookalike.quality.metrics import Figures
from lookalike.version import VERSION


@dataclass(frozen=True)
class Work:
    """What the run had to do: items of each status, pictures read and embedded, shards built, seconds a step."""

    changes: dict[str, int]
    read: int
    embedded: int
    shards: ShardCounts
    seconds: dict[str, float]


def changes(delta: Delta, model_id: str) -> str:
    """What a refresh finds and is about to do, before it starts."""
    line = f"          {delta.line()}"
    if delta.before and delta.before.model_id != model_id:
        line += f"\n          model {model_id} takes the place of {delta.before.model_id}: every item gets a new vector"
    return line


def of_run(
    settings: config.Settings,
    model: CompiledModel,
    figures: Figures,
    gates: list[Gate],
    work: Work,
) -> dict[str, Any]:
    """The body of release.json; all JSON types."""
    return {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "lookalike": VERSION,
        "counts": asdict(figures),
        "gates": [asdict(gate) for gate in gates],
        "model": model.record(),
        "changes": work.changes,
        "pictures": {"read": work.read, "embedded": work.embedded},
        "shards": asdict(work.shards),
        "seconds": work.seconds,
        "config": settings.model_dump(mode="json"),
    }


def summary(facts: dict[str, Any], place: str) -> str:
    """The closing lines on the terminal; `place` is where readers find the release."""
    counts, done = facts["counts"], facts["pictures"]
    reasons = ", ".join(f"{name} {count:,}" for name, count in counts["failed_by_reason"].items())
    return "\n".join(
        [
            f"{counts['embedded']:,} of {counts['items']:,} items have an embedding, {done['embedded']:,} of them new, "
            f"{pictures_per_second(facts):.0f} pictures/s; "
            f"{counts['failed']:,} failed{f' ({reasons})' if reasons else ''}",
            f"{counts['similar_items']:,} similar items, "
            f"recall {counts['recall']:.4f} ({interval(counts)}) on {counts['recall_sample']:,} items",
            steps(facts),
            f"published: {place}",
        ]
    )


def interval(counts: dict[str, Any]) -> str:
    """Where the recall of all items lies, at 95 %."""
    return f"{counts['recall_low']:.4f} to {counts['recall_high']:.4f}"


def steps(facts: dict[str, Any]) -> str:
    """Seconds of every step, on one line."""
    took = ", ".join(f"{name} {seconds:.1f}" for name, seconds in facts["seconds"].items())
    return f"seconds: {took}"


def pictures_per_second(facts: dict[str, Any]) -> float:
    """Embedded in this run, through the whole embed step: reading, decoding and writing included."""
    # The clock's own grain: a step of no pictures can take 0.000 s.
    embedded = facts.get("pictures", facts["counts"])["embedded"]  # a release of an earlier version embedded them all
    return float(embedded / max(facts["seconds"]["embed"], 0.001))
