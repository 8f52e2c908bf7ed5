"""Nights of a catalogue of vectors, through the steps from the index to the lists: no picture, no network, no gate."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession

from lookalike import config
from lookalike.neighbours.duplicates import write_duplicates
from lookalike.neighbours.incremental import find_changes, with_groups
from lookalike.neighbours.step import PreviousRelease, write_neighbours
from lookalike.spark.release_tables import ReleaseTables
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder
from support import built_index, constraint_items, records, staging
from support.brute_force import Neighbours
from support.constraint_oracle import Duplicate, Item


@dataclass(frozen=True)
class Found:
    """The lists of a night, the rows of its table of duplicates, and how many lists were searched."""

    lists: Neighbours
    duplicates: list[Duplicate]
    searched: int

    def of(self, items: Sequence[Item]) -> Found:
        """Return what was found for some of the items."""
        ids = {item.item_id for item in items}
        lists = {item: listed for item, listed in self.lists.items() if item in ids}
        return Found(lists, [row for row in self.duplicates if row[0] in ids], self.searched)


@dataclass
class Nights:
    """Releases of one warehouse; each night updates the lists of the one before where it can."""

    spark: SparkSession
    settings: config.Settings
    _before: ReleaseTables | None = None
    _lists: Neighbours = field(default_factory=dict)
    _open: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Nights:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def tables(self) -> tuple[DataFrame, DataFrame]:
        """Return the embeddings and the similar items of the last night."""
        assert self._before is not None
        return self._before.embeddings, self._before.similar_items

    def duplicates(self) -> DataFrame | None:
        """Return the duplicates of the last night."""
        assert self._before is not None
        return self._before.duplicates

    def run(self, items: Sequence[Item]) -> Found:
        """Make a release of these items."""
        similar = self.settings.similar
        staged = self._open.enter_context(Warehouse(self.settings.warehouse.path).stage())
        staged = replace(staged, parent=self._before.release if self._before else None)
        staged.embeddings.mkdir()
        pq.write_table(_embeddings(items, similar), staged.embeddings / "items.parquet")
        staged.add(staging.files_of(staged))
        embeddings = self.spark.read.parquet(str(staged.embeddings))
        index = built_index.build(embeddings, self.settings, staged, self._before)
        changes, duplicates = find_changes(self.spark, self._before, index, self.settings), None
        if similar.duplicate_cosine is not None:
            previous = changes.before.duplicates if changes else None
            known = write_duplicates(self.spark, index, self.settings, staged, previous)
            duplicates = known.table
            changes = with_groups(self.spark, index, changes, known.touched, self.settings)
        previous = PreviousRelease(changes, self._before)
        tables = write_neighbours(self.spark, index, self.settings, staged, previous)
        counts = {**records.COUNTS, "items": len(items), "embedded": len(items)}
        sections = {"counts": counts, "config": self.settings.model_dump(mode="json"), "neighbours": tables.record()}
        records.write_record(staged, **sections)
        none = embeddings.limit(0)
        release, found = ReleaseFolder(staged.root), (tables.similar_items, duplicates, tables.neighbours)
        self._before = ReleaseTables(release, embeddings, none, *found, files=staging.paths_by_part(release))
        rows = pq.read_table(staged.duplicates).to_pylist() if duplicates is not None else []
        named = [(row["item_id"], row["representative_item_id"], row["score"]) for row in rows]
        lists, self._lists = self._lists, _lists(pq.read_table(staged.similar_items))
        assert _changes(staged) == list_changes(lists, self._lists)
        return Found(self._lists, named, tables.searched)


def from_nothing(spark: SparkSession, settings: config.Settings, items: Sequence[Item]) -> Found:
    """The release of these items in an empty warehouse."""
    path = f"{settings.warehouse.path}-from-nothing"
    fresh = replace_warehouse(settings, path)
    with Nights(spark, fresh) as nights:
        return nights.run(items)


def replace_warehouse(settings: config.Settings, path: str) -> config.Settings:
    """The same settings with another warehouse."""
    return settings.model_copy(update={"warehouse": settings.warehouse.model_copy(update={"path": path})})


def _embeddings(items: Sequence[Item], similar: config.SimilarSettings) -> pa.Table:
    table = constraint_items.embeddings(items, eligible=similar.eligible is not None)
    hashes = [hashlib.sha256(item.vector.tobytes()).hexdigest() for item in items]
    return table.append_column("image_hash", pa.array(hashes, pa.string())).append_column(
        "model_id", pa.array(["feed5eed"] * len(items), pa.string())
    )


def list_changes(before: Neighbours, now: Neighbours) -> list[tuple[str, str]]:
    """What the table `changes` has to say of lists: change and item, in order."""
    upserts = [("upsert", item) for item, listed in now.items() if before.get(item) != listed]
    return sorted([*upserts, *(("delete", item) for item in before.keys() - now.keys())])


def _changes(release: ReleaseFolder) -> list[tuple[str, str]]:
    rows = pq.read_table(release.changes).to_pylist()
    assert {row["kind"] for row in rows} <= {"list"}
    return sorted((row["change"], row["item_id"]) for row in rows)


def _lists(table: pa.Table) -> Neighbours:
    found: Neighbours = {}
    for row in sorted(table.to_pylist(), key=lambda row: (row["item_id"], row["rank"])):
        listed = found.setdefault(row["item_id"], [])
        listed.append((row["similar_item_id"], row["score"]))
        assert row["rank"] == len(listed)
    return found
