"""What differs between two releases, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pyspark.sql import SparkSession

from lookalike.cli import output
from lookalike.report import compare as comparison
from lookalike.spark import release_tables
from lookalike.warehouse.record import ReleaseRecord
from lookalike.warehouse.release import ReleaseFolder

NEIGHBOURS = 5  # of those that came or went, named for an example


@dataclass(frozen=True)
class Diff:
    """Two releases, the settings that differ (name: before, after), and the items that do."""

    old: str
    new: str
    settings: dict[str, tuple[Any, Any]]
    found: comparison.Comparison

    def as_json(self) -> dict[str, Any]:
        """Return what `releases diff --json` prints."""
        settings = {name: {"before": before, "after": after} for name, (before, after) in self.settings.items()}
        return {"old": self.old, "new": self.new, "settings": settings, **asdict(self.found)}

    def print(self) -> None:
        """Print the counts, with examples."""
        found = self.found
        settings = [
            f"{name}: {output.text(before)} -> {output.text(after)}" for name, (before, after) in self.settings.items()
        ]
        output.section(f"From {self.old} to {self.new}, {found.in_both:,} items in both", settings)
        output.section(f"Items added: {found.added:,}", found.added_examples)
        output.section(f"Items removed: {found.removed:,}", found.removed_examples)
        pictures = [f"{one.item_id}: {one.before[:16]} -> {one.after[:16]}" for one in found.picture_examples]
        output.section(f"Items whose picture changed: {found.pictures:,}", pictures)
        neighbours = [f"{one.item_id}: {_exchange(one)}" for one in found.neighbour_examples]
        output.section(f"Items whose neighbours changed: {found.neighbours:,}", neighbours)


def compare(spark: SparkSession, old: ReleaseFolder, new: ReleaseFolder) -> Diff:
    """Compare two releases; raises WarehouseError when one is damaged."""
    before, after = release_tables.open_tables(spark, old), release_tables.open_tables(spark, new)
    found = comparison.compare(before, after)
    return Diff(old.release_id, new.release_id, _settings(before.record, after.record), found)


def _settings(before: ReleaseRecord, after: ReleaseRecord) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ, of those that explain why every list does."""
    similar = ("k", "group_by", "eligible", "variant_of", "duplicate_cosine")
    both = {"model": (before.model.model_id, after.model.model_id)} | {
        f"similar.{name}": (getattr(before.config.similar, name), getattr(after.config.similar, name))
        for name in similar
    }
    return {name: values for name, values in both.items() if values[0] != values[1]}


def _exchange(moved: comparison.ListChange) -> str:
    if not moved.went and not moved.came:
        return "the same in another order"
    return "; ".join(f"{word} {_few(ids)}" for word, ids in (("went", moved.went), ("came", moved.came)) if ids)


def _few(ids: list[str]) -> str:
    more = len(ids) - NEIGHBOURS
    return ", ".join(ids[:NEIGHBOURS]) + (f" and {more:,} more" if more > 0 else "")
