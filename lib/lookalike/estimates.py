"""What a run is expected to take, from sizes alone: tasks and seconds of its steps, and the bytes that it writes.

The constants are of the core of knn.planner: 2.5 GHz with AVX-512, 2,048 dimensions. `make bench-scale` prints what is
expected next to what it measures.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from pyspark.sql import functions as F

from lookalike import config
from lookalike.catalogue.delta import JOINED_PER_TASK, Delta
from lookalike.embedding.reading import reading_tasks
from lookalike.errors import ManifestError
from lookalike.index import annoy as annoy_index
from lookalike.index import manifest
from lookalike.index.changes import MAX_CHANGED
from lookalike.index.sharding import ShardPlan, items_a_task, pack_shards
from lookalike.knn import blocks, planner
from lookalike.knn.group_estimate import GroupEstimate
from lookalike.knn.search_job import margin
from lookalike.models.network import DIMENSIONS, CompiledModel
from lookalike.spark.tasks import count_tasks

# What Spark takes for a step, and seconds of a core for each item of the catalogue.
READ, EMBED, INDEX, QUALITY = (6.0, 7e-5), (5.0, 0.0), (2.5, 5e-6), (4.0, 9e-5)

# Besides the network: to read, decode and hash a small picture, and to write its vector. Those of 1,500 x 2,000 take
# 7e-3 more.
PICTURE_SECONDS = 2e-3
# Of a vector that stays, in a file that loses others: Arrow reads and writes it.
CARRY_SECONDS = 1.1e-4

# Of a night, for each group in which something changed: its shards marked, its delta built.
GROUP_SECONDS = 5e-2

# Bytes a second of a core into SHA-256.
DIGEST_BYTES = 1.8e9

# Parquet's share of the bytes of a vector of the int8 network, which repeats values; of float32 it is 0.93.
STORED_SHARE = 0.42
# Of a neighbour that is kept for the next night, and of a row of similar_items.
NEIGHBOUR_BYTES, ROW_BYTES = 8, 12

# A run that takes longer is told what to expect.
LONG_SECONDS = 60.0


def duration(seconds: float) -> str:
    """Return a time as a person says it, such as 52 s, 21 min, 10 h or 44 days."""
    for unit, length, up_to in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < up_to:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86_400:,.0f} days"


@dataclass(frozen=True)
class RunEstimate:
    """A run over items in groups of these `sizes`.

    The network embeds `speed` pictures a second on one of the `cores`. On a night, `came` items have another picture,
    in all groups alike; None: the run is from nothing.
    """

    sizes: Sequence[int]
    came: int | None
    speed: float
    cores: int
    settings: config.Settings

    @cached_property
    def items(self) -> int:
        """How many there are."""
        return sum(self.sizes)

    @property
    def pictures(self) -> int:
        """How many are embedded."""
        return self.items if self.came is None else self.came

    @property
    def is_refresh(self) -> bool:
        """Whether index and lists are refreshed: more changes than these, and all is made again."""
        return self.came is not None and self.came <= min(MAX_CHANGED, self.settings.index.compact_share * self.items)

    def tasks(self) -> dict[str, int]:
        """Return how many tasks the largest job of a step has, from nothing."""
        return {
            "read": count_tasks(self.items, JOINED_PER_TASK, self.cores),
            "embed": self.embed_tasks,
            "index": self._build_tasks(),
            "neighbours": self._search_tasks(),
        }

    def seconds(self) -> dict[str, float]:
        """Return the expected seconds of the steps that take longer with more items, in their order."""
        checked = 0 if self.came is None else self.release_bytes
        return {
            "read": self._of_items(READ) + checked / DIGEST_BYTES / self.cores,
            "embed": self.embed_seconds,
            "index": self.index_seconds,
            "neighbours": self.neighbours_seconds,
            "quality": self._of_items(QUALITY),
            "publish": self.new_bytes / DIGEST_BYTES / self.cores,
        }

    def lines(self, folder: Path) -> Iterator[str]:
        """Yield lines for a person; `folder` is where the run works."""
        embed, *later = ((name, seconds) for name, seconds in self.seconds().items() if name != "read")
        pictures = f"{self.pictures:,} pictures in {self.embed_tasks:,} tasks on {self.cores:,} cores"
        then = ", ".join(f"{name} {duration(seconds)}" for name, seconds in later)
        yield f"{pictures}: about {duration(embed[1])}; then {then}"
        free = shutil.disk_usage(folder).free
        if self.disk_bytes > free:
            needed = f"{self.disk_bytes / 1e9:,.0f} GB"
            yield f"the run may need {needed} of disk, and {folder} has {free / 1e9:,.0f} GB free"

    @property
    def embed_tasks(self) -> int:
        """Of the pictures."""
        return reading_tasks(self.pictures, self.settings.embed.commit_every, self.cores)

    @property
    def embed_seconds(self) -> float:
        """Of the pictures that are new, and of the vectors that stay."""
        new = self.pictures * (1 / self.speed + PICTURE_SECONDS)
        return self._of_items(EMBED) + (new + (self.items - self.pictures) * CARRY_SECONDS) / self.cores

    @property
    def index_seconds(self) -> float:
        """Of all shards; on a night, of deltas that are one leaf, and of the marks of what left."""
        if self.is_refresh:
            deltas = self.pictures * annoy_index.ITEM_SECONDS + len(self.sizes) * GROUP_SECONDS
            return self._of_items(INDEX) + deltas / self.cores
        trained = self._shared((group.training_seconds, many) for group, many in self._groups)
        built = self._shared((group.shard_seconds, many * group.shards) for group, many in self._groups)
        return self._of_items(INDEX) + trained + built

    @property
    def neighbours_seconds(self) -> float:
        """Of the search for all lists; on a night, of their repair."""
        costs = []
        for group, many in self._groups:
            seconds, work = group.plan.seconds, group.plan.work
            if self.is_refresh:
                seconds = group.repair_seconds(-(-group.items * self.pictures // self.items))
                work = seconds * group.plan.cores
            costs += [(seconds, work)] * many
        found = self.pictures if self.is_refresh else self.items
        return planner.step_seconds(costs, found, self.items, self.cores)

    @property
    def release_bytes(self) -> int:
        """Of a release: the vectors, which `embeddings` and the index have, and the lists."""
        return self.embeddings_bytes + self.index_bytes + self.lists_bytes

    @property
    def new_bytes(self) -> int:
        """Of these, what is not linked: on a night, all but the index of what stays."""
        stays = self.items - self.pictures if self.is_refresh else 0
        return self.release_bytes - self.index_bytes * stays // max(1, self.items)

    @property
    def disk_bytes(self) -> int:
        """Of the disk while the run works: what is new, the checkpoints, and copies of the vectors to build from."""
        checkpoints = self.pictures * STORED_SHARE * 4 * DIMENSIONS
        copied = self.pictures if self.is_refresh else self.items
        return round(self.new_bytes + checkpoints + copied * 4 * DIMENSIONS)

    @property
    def embeddings_bytes(self) -> int:
        """Of the table of embeddings."""
        return round(self.items * STORED_SHARE * 4 * DIMENSIONS)

    @cached_property
    def index_bytes(self) -> int:
        """Of the `.ann` files."""
        return sum(many * group.shards * group.shard_bytes for group, many in self._groups)

    @property
    def lists_bytes(self) -> int:
        """Of the tables of neighbours and similar_items."""
        wanted = self.settings.similar.wanted
        return self.items * ((wanted + margin(self.settings.similar)) * NEIGHBOUR_BYTES + wanted * ROW_BYTES)

    @cached_property
    def _groups(self) -> list[tuple[GroupEstimate, int]]:
        """The groups of each size, and how many there are."""
        return [(GroupEstimate(size, self.cores, self.settings), many) for size, many in Counter(self.sizes).items()]

    def _of_items(self, cost: tuple[float, float]) -> float:
        own, each = cost
        return own + each * self.items / self.cores

    def _shared(self, tasks: Iterable[tuple[float, int]]) -> float:
        """The seconds of some tasks, (seconds, how many), on all cores: no less than the longest."""
        each = list(tasks)
        return max(*(one for one, _ in each), sum(one * many for one, many in each) / self.cores) if each else 0.0

    def _build_tasks(self) -> int:
        groups = [group for group, many in self._groups for _ in range(many)]
        plans = [ShardPlan(None, group.items, group.items, 0, group.shards) for group in groups]
        return pack_shards(plans, items_a_task(self.items, self.settings.index.shard_items, self.cores))[1]

    def _search_tasks(self) -> int:
        groups = [group for group, many in self._groups for _ in range(many)]
        sizes = [[(0, group.shard_items)] * group.shards for group in groups]
        rows = planner.block_rows(DIMENSIONS, self.settings.similar.task_memory)
        return len(blocks.pack_tasks(sizes, rows, self.cores, (group.share for group in groups)))


def of_long_run(delta: Delta, model: CompiledModel, settings: config.Settings, cores: int) -> RunEstimate | None:
    """Return what is expected of a run, which is about to embed; None where that is short, or the speed unknown."""
    if (speed := model.engine_speeds.get(model.engine)) is None:
        return None
    found = RunEstimate([delta.in_catalogue], delta.to_read if delta.before else None, speed, cores, settings)
    return replace(found, sizes=_sizes(delta, settings)) if found.embed_seconds > LONG_SECONDS else None


def _sizes(delta: Delta, settings: config.Settings) -> Sequence[int]:
    """Return how many items each group has, on a night those of the release before."""
    if settings.similar.group_by is None:
        return [delta.in_catalogue]
    if delta.before is None:
        counted = delta.table.groupBy(F.col("kept").getField(settings.similar.group_by)).count()
        sizes_alone: list[int] = counted.select("count").toArrow()["count"].to_pylist()  # 8 bytes a group, not its name
        return sizes_alone
    try:
        sizes: Counter[str | None] = Counter()
        for shard in manifest.of(delta.before.release).shards:
            sizes[shard.group] += shard.live
    except ManifestError:  # it is damaged, or of another version: the index is built again
        return [delta.in_catalogue]
    return list(sizes.values())
