"""What a run leaves for people: the facts of release.json, the closing lines, and the page of the release."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lookalike import __version__, config
from lookalike.models import CompiledModel
from lookalike.quality import Figures, Gate


def facts(
    settings: config.Settings, model: CompiledModel, figures: Figures, gates: list[Gate], seconds: dict[str, float]
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


def summary(release: dict[str, Any], warehouse: Path) -> str:
    """The closing lines on the terminal."""
    counts, seconds = release["counts"], release["seconds"]
    rate = counts["items"] / seconds["embed"]
    steps = ", ".join(f"{name} {took:.1f}" for name, took in seconds.items())
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in counts["failed_by_reason"].items())
    return "\n".join(
        [
            f"{counts['embedded']:,} of {counts['items']:,} pictures embedded, {rate:.0f} pictures/s; "
            f"{counts['failed']:,} failed{f' ({reasons})' if reasons else ''}",
            f"{counts['similar_items']:,} similar items, recall {counts['recall']:.4f} on {counts['recall_sample']} items",
            f"seconds: {steps}",
            f"published: {warehouse / 'current'}",
        ]
    )


def write(*_: object) -> None: ...
