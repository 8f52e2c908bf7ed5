"""The facts of a run, as release.json keeps them, and the lines that say them on the terminal."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lookalike import __version__, config
from lookalike.models import CompiledModel
from lookalike.quality import Figures, Gate


def of_run(
    settings: config.Settings,
    model: CompiledModel,
    figures: Figures,
    gates: list[Gate],
    seconds: dict[str, float],
) -> dict[str, Any]:
    """The body of release.json; all JSON types."""
    return {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "lookalike": __version__,
        "counts": asdict(figures),
        "gates": [asdict(gate) for gate in gates],
        "model": model.facts(),
        "seconds": seconds,
        "config": settings.model_dump(mode="json"),
    }


def summary(facts: dict[str, Any], warehouse: Path) -> str:
    """The closing lines on the terminal."""
    counts = facts["counts"]
    reasons = ", ".join(f"{name} {count:,}" for name, count in counts["failed_by_reason"].items())
    return "\n".join(
        [
            f"{counts['embedded']:,} of {counts['items']:,} pictures embedded, "
            f"{pictures_per_second(facts):.0f} pictures/s; "
            f"{counts['failed']:,} failed{f' ({reasons})' if reasons else ''}",
            f"{counts['similar_items']:,} similar items, "
            f"recall {counts['recall']:.4f} on {counts['recall_sample']} items",
            steps(facts),
            f"published: {warehouse / 'current'}",
        ]
    )


def steps(facts: dict[str, Any]) -> str:
    """Seconds of every step, on one line."""
    took = ", ".join(f"{name} {seconds:.1f}" for name, seconds in facts["seconds"].items())
    return f"seconds: {took}"


def pictures_per_second(facts: dict[str, Any]) -> float:
    """Through the whole embed step: reading, decoding and writing included, failures too."""
    # The clock's own grain: a step of no pictures can take 0.000 s.
    return float(facts["counts"]["items"] / max(facts["seconds"]["embed"], 0.001))
