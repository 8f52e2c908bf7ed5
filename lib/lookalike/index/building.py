"""Build shards on Spark: train centroids, find the list of each item, and give each shard to a task.

No vector is a Spark row: items travel as ids, codes, and the file and row of their vector.
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from threadpoolctl import threadpool_limits

from lookalike import config
from lookalike.index import annoy as annoy_index
from lookalike.index import manifest
from lookalike.index.centroids import list_of_each, train_centroids, training_rows
from lookalike.index.items import read_array, write_items
from lookalike.index.layout import IndexLayout, shard_name
from lookalike.index.manifest import ManifestShard
from lookalike.index.sharding import ShardPlan, items_a_task, pack_shards, shards_of_lists
from lookalike.index.vectors import VectorFiles
from lookalike.spark import parquet, worker
from lookalike.spark.tasks import map_tasks
from lookalike.storage import files
from lookalike.warehouse.release import Staged
from lookalike.warehouse.release_files import StoredFile

# Of the rows that training needs, so many times as many are drawn by a hash, which gives about that many.
_DRAWN = 1.5

_ITEM_COLUMNS = ("item_id", "list", "eligible", "variant_group", "group_codes")


@dataclass(frozen=True)
class ShardsBuild:
    """What the tasks of a build work with."""

    staged: Staged
    vectors: VectorFiles
    plans: Sequence[ShardPlan]
    index: config.IndexSettings
    task_memory: int

    @property
    def layout(self) -> IndexLayout:
        """Where the files are."""
        return IndexLayout.of(self.staged)

    def run(self, rows: DataFrame) -> list[ManifestShard]:
        """Build the shards of all plans of `rows`, and return them.

        `rows` are item_id, group, the constraints, `source` and `row` of the vector, and `origin`.
        """
        if not self.plans:
            return []
        items = sum(plan.items for plan in self.plans)
        most = items_a_task(items, self.index.shard_items, rows.sparkSession.sparkContext.defaultParallelism)
        first_tasks, tasks = pack_shards(self.plans, most)
        planned = _with_plan(rows, self.plans, first_tasks)
        if any(plan.trains for plan in self.plans):
            sample = _drawn(planned, self.index.seed).groupBy("first")
            trained = sample.applyInArrow(lambda rows: self._train(rows), "file string").collect()
            self.staged.add(StoredFile.model_validate_json(row["file"]) for row in trained)
        listed = self._by_shard(self._with_lists(planned), tasks)
        built = listed.mapInArrow(lambda rows: self._write(rows), "shard string, files array<string>").collect()
        self.staged.add(StoredFile.model_validate_json(file) for row in built for file in row["files"])
        return [ManifestShard.model_validate_json(row["shard"]) for row in built]

    def _with_lists(self, planned: DataFrame) -> DataFrame:
        """Add the list of each item; written where it is read twice, to count the lists and to build."""
        if not any(plan.centroids for plan in self.plans):
            return planned.withColumn("list", F.lit(0))
        fields = [f"`{field.name}` {field.dataType.simpleString()}" for field in planned.schema]
        listed = planned.mapInArrow(lambda rows: self._find_lists(rows), ", ".join([*fields, "list int"]))
        work = self.layout.work / "listed"
        return parquet.write_and_read(listed, work, self.staged.shared) if self._ranged else listed

    def _by_shard(self, listed: DataFrame, tasks: int) -> DataFrame:
        """Add the number of the shard, by lists or by a hash of the id, and bring the shards to their tasks."""
        shard: Column = F.col("first") + F.pmod(F.xxhash64("item_id"), F.col("count"))
        if self._ranged:
            ranges = listed.sparkSession.createDataFrame(self._ranges(listed), "first long, list int, ranged long")
            listed = listed.join(F.broadcast(ranges), on=["first", "list"], how="left")
            shard = F.coalesce("ranged", shard)
        task = (F.col("task") + F.col("shard") - F.col("first")).cast("int")
        return listed.withColumn("shard", shard.cast("long")).repartitionById(tasks, task)

    @cached_property
    def _by_first(self) -> dict[int, ShardPlan]:
        """All plans, by their first shard."""
        return {plan.first: plan for plan in self.plans}

    @cached_property
    def _ranged(self) -> dict[int, ShardPlan]:
        """The plans of several shards that are ranges of lists, by their first shard."""
        return {first: plan for first, plan in self._by_first.items() if plan.trains and plan.count > 1}

    def _ranges(self, listed: DataFrame) -> list[tuple[int, int, int]]:
        """The first shard, the list and its shard, of each list of these plans."""
        chosen = listed.where(F.col("first").isin(list(self._ranged)))
        counted = (
            chosen.groupBy("first", "list").count().toArrow().sort_by([("first", "ascending"), ("list", "ascending")])
        )
        firsts, lists, sizes = (counted[name].to_numpy() for name in ("first", "list", "count"))
        edges = np.searchsorted(firsts, sorted(self._ranged)).tolist()
        found: list[tuple[int, int, int]] = []
        for first, start, stop in zip(sorted(self._ranged), edges, [*edges[1:], len(firsts)], strict=True):
            shards = first + shards_of_lists(sizes[start:stop], self._ranged[first].count)
            found += zip([first] * len(shards), lists[start:stop].tolist(), shards.tolist(), strict=True)
        return found

    def _train(self, rows: pa.Table) -> pa.Table:
        """Write the centroids of one plan, from a sample of its items."""
        worker.start_task()
        plan = self._by_first[rows["first"][0].as_py()]
        most = training_rows(plan.lists, self.vectors.dimensions, self.task_memory)
        some = rows.take(pc.sort_indices(rows, [("draw", "ascending"), ("item_id", "ascending")])[:most])
        sample = self.vectors.gather(some["source"], some["row"].to_numpy())
        with threadpool_limits(1, "blas"):  # Spark runs one task a core already
            centroids = train_centroids(sample, min(plan.lists, len(sample)), self.index.seed)
        body, path = io.BytesIO(), self.layout.centroids(shard_name(plan.first))
        np.save(body, centroids)
        files.write_atomic(self.staged.shared.here(path), body.getvalue())
        return pa.table({"file": pa.array([self.staged.save(path).model_dump_json()])})

    def _find_lists(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Add the list of each item, 0 in a group without centroids."""
        worker.start_task()
        for batch in batches:
            found, names = np.zeros(len(batch), dtype=np.int32), batch["centroids"]
            for name in pc.unique(names).drop_null().to_pylist():
                here = pc.equal(names, name).fill_null(False)
                some = batch.filter(here)
                vectors = self.vectors.gather(some["source"], some["row"].to_numpy())
                centroids = read_array(self.staged.shared.fetch(self._centroids_of(name)))
                with threadpool_limits(1, "blas"):
                    found[here.to_numpy(zero_copy_only=False)] = list_of_each(vectors, centroids)
            yield batch.append_column("list", pa.array(found))

    def _centroids_of(self, name: str) -> Path:
        """The centroids that this run has trained, or those of the release before, of which the shards stay."""
        trained = any(plan.trains and plan.centroids == name for plan in self.plans)
        before = self.vectors.before
        return self.layout.centroids(name) if trained or before is None else IndexLayout(before, before).centroids(name)

    def _write(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Write the shards of a partition."""
        worker.start_task()
        if rows := list(batches):
            table = pa.Table.from_batches(rows)
            for number in sorted(pc.unique(table["shard"]).to_pylist()):
                mine = table.filter(pc.equal(table["shard"], number))
                shard, stored = self._write_shard(self._by_first[mine["first"][0].as_py()], number, mine)
                files = pa.array([[file.model_dump_json() for file in stored]])
                yield pa.record_batch({"shard": pa.array([shard.model_dump_json()]), "files": files})

    def _write_shard(self, plan: ShardPlan, number: int, rows: pa.Table) -> tuple[ManifestShard, list[StoredFile]]:
        """Write the files of a shard, each complete or not at all: a task may run twice, and at the same time.

        `rows` are item_id, list, the constraints, origin, and `source` and `row` of the vector.
        """
        name, layout, shared = shard_name(number), self.layout, self.staged.shared
        rows = rows.take(pc.sort_indices(rows, [("list", "ascending"), ("item_id", "ascending")]))
        vectors = self.vectors.gather(rows["source"], rows["row"].to_numpy())
        attempt = shared.here(layout.work / f"{name}.{secrets.token_hex(4)}")
        attempt.mkdir()
        file = annoy_index.build(attempt / "annoy", vectors, self.index.trees, self.index.seed)
        with (attempt / "origin").open("wb") as origin:
            np.save(origin, rows["origin"].to_numpy())
        os.replace(attempt / "origin", shared.here(layout.origin(name)))
        os.replace(attempt / "annoy", shared.here(layout.annoy(name)))
        write_items(shared.here(layout.items(name)), rows.select(_ITEM_COLUMNS))
        shutil.rmtree(attempt)
        shared.save(layout.origin(name))
        stored = [self.staged.save(path) for path in (layout.annoy(name), layout.items(name))]
        shard = ManifestShard(
            file=layout.annoy(name).name,
            items_file=layout.items(name).name,
            group=plan.group,
            delta=plan.delta,
            items=file.items,
            live=file.items,
            candidates=pc.sum(rows["eligible"]).as_py(),
            bytes=file.bytes,
            sha256=file.sha256,
            ids_sha256=manifest.ids_digest(rows["item_id"].to_pylist()),
            golden=file.golden,
        )
        return shard, stored


def copy_vectors(spark: SparkSession, vectors: VectorFiles) -> None:
    """Copy all vectors out of `embeddings`, several files to a task."""
    map_tasks(spark, list(vectors.embeddings), vectors.copy_file)


def _with_plan(rows: DataFrame, plans: Sequence[ShardPlan], first_tasks: Sequence[int]) -> DataFrame:
    """Add what the tasks need to know of the plan of each item's group."""
    table = pa.table(
        {
            "group": pa.array([plan.group for plan in plans], pa.string()),
            "first": [plan.first for plan in plans],
            "task": first_tasks,
            "count": [plan.count for plan in plans],
            "centroids": pa.array([plan.centroids for plan in plans], pa.string()),
            "drawn": [_share(plan) for plan in plans],
        }
    )
    known = F.broadcast(rows.sparkSession.createDataFrame(table)).alias("plan")
    joined = rows.alias("row").join(known, F.col("row.group").eqNullSafe(F.col("plan.group")), how="inner")
    columns = ("item_id", "variant_group", "eligible", "group_codes", "source", "row", "origin")
    return joined.select(*columns, *(f"plan.{name}" for name in ("first", "task", "count", "centroids", "drawn")))


def _share(plan: ShardPlan) -> float:
    """The share of its candidates to draw for training, 0 where there is none."""
    rows = training_rows(plan.lists, 1, 1 << 62)
    return min(1.0, _DRAWN * rows / max(1, plan.candidates)) if plan.trains else 0.0


def _drawn(planned: DataFrame, seed: int) -> DataFrame:
    """A sample of the candidates of each group to train, the same for the same items."""
    draw = F.pmod(F.xxhash64("item_id", F.lit(seed)), F.lit(1 << 30))
    chosen = planned.where("eligible AND drawn > 0").withColumn("draw", draw)
    return chosen.where(F.col("draw") < F.col("drawn") * (1 << 30)).select("item_id", "source", "row", "first", "draw")
