"""Compare the rows of a release's tables with the catalogue and with each other: lost items end the run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
from pyspark.sql import SparkSession

from lookalike.errors import CountError
from lookalike.index import manifest
from lookalike.spark import arrow_files
from lookalike.spark.tasks import map_tasks
from lookalike.warehouse.record import ChangesTableRecord, Figures
from lookalike.warehouse.release import Staged


@dataclass(frozen=True)
class TableRows:
    """How many rows the files of a release in the making hold; this run or an earlier one wrote them."""

    release: Staged
    embeddings: int
    failures: int
    index: int
    neighbours: int
    similar_items: int
    changes: int

    def check_items(self, in_catalogue: int) -> None:
        """Raise CountError unless every item is embedded or failed, and every embedded one is searched."""
        shards = manifest.of(self.release).shards
        self._compare(
            "items of the catalogue", in_catalogue, "embeddings and failures", self.embeddings + self.failures
        )
        self._compare("positions in index.json", sum(shard.items for shard in shards), "the index", self.index)
        self._compare("embeddings", self.embeddings, "the shards of index.json", sum(shard.live for shard in shards))
        self._compare("embeddings", self.embeddings, "neighbours", self.neighbours)

    def check_read(self, figures: Figures, changes: ChangesTableRecord) -> None:
        """Raise CountError unless the figures were measured on every row of the files."""
        self._compare("rows in the files of embeddings", self.embeddings, "what was read of them", figures.embedded)
        self._compare("rows in the files of failures", self.failures, "what was read of them", figures.failed)
        self._compare(
            "rows in the files of similar_items", self.similar_items, "what was read of them", figures.similar_items
        )
        self._compare("rows in the files of changes", self.changes, "what was read of them", changes.rows)

    def _compare(self, what: str, expected: int, where: str, found: int) -> None:
        if found != expected:
            raise CountError(
                f"{self.release.root}: {expected:,} {what}, but {found:,} in {where}; every worker must see this "
                "folder: check the mounts and the disk, and run again"
            )


def count_tables(release: Staged) -> TableRows:
    """Return how many rows each table holds that has one for each item, as counted in its files when it was written."""
    parts = ("embeddings", "failures", "index", "neighbours", "similar_items", "changes")
    return TableRows(release, *map(release.rows, parts))


def count_changes(spark: SparkSession, release: Staged, since: str | None) -> ChangesTableRecord:
    """Return how many rows of each kind and change the table `changes` holds, as its files are read."""
    shared = release.shared
    found = map_tasks(spark, release.paths("changes"), lambda path: _changes_in(shared.fetch(path)))
    return ChangesTableRecord(since=since, **sum(found, Counter[str]()))


def _changes_in(path: Path) -> Counter[str]:
    rows = Counter[str]()
    for batch in arrow_files.read_batches(path, ("kind", "change"), size=1 << 20):
        names = pc.binary_join_element_wise(batch["kind"], batch["change"], "_")
        counts = pc.value_counts(names)
        rows.update({f"{one['values']}s": one["counts"] for one in counts.to_pylist()})
    return rows
