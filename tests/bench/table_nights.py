"""Nights of a table of mixed vectors through the steps index and neighbours: no picture, no network, no gate."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import mix
import mix_table
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lookalike import config
from lookalike.index.changes import IndexInputs
from lookalike.index.step import build_index
from lookalike.neighbours.incremental import find_changes
from lookalike.neighbours.step import NeighbourTables, PreviousRelease, write_neighbours
from lookalike.spark.release_tables import ReleaseTables
from lookalike.warehouse import release_files
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder, Staged
from lookalike.warehouse.release_files import ReleaseFiles, StoredFile
from support import records, staging

# Rows of 8 KB: 8 MB, as the job writes them.
ROW_GROUP = 1000

# The blocks of the mix that other pictures are taken from, those of a night apart: behind those of any first table.
OTHER_BLOCKS, NIGHT_BLOCKS = 1_000_000, 1000

Measure = Callable[[str], AbstractContextManager[None]]  # of a step by its name


@dataclass
class TableNights:
    """Releases of one warehouse, of the first vectors of the mix at `source`, in groups of `sizes`."""

    spark: SparkSession
    settings: config.Settings
    source: Path
    sizes: list[int]
    before: ReleaseTables | None = None
    _open: ExitStack = field(default_factory=ExitStack)
    _night: int = 0

    def __post_init__(self) -> None:
        self._rows = np.arange(sum(self.sizes))

    def __enter__(self) -> TableNights:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def first(self, measure: Measure) -> NeighbourTables:
        """Make the release from nothing."""
        staged = self._stage()
        with measure("embeddings"):
            mix_table.write(self.spark, self.source, self.sizes, staged.embeddings)
        found = self._steps(staged, IndexInputs(self._read(staged)), measure)
        self.before = self._tables(staged, found)
        return found

    def later(self, changed: int, gone: int, measure: Measure) -> NeighbourTables:
        """Make one in which as many items have another picture, and as many are gone; the one before is removed."""
        assert self.before
        previous = self.before.release.embeddings
        with self._open:
            staged = self._stage()
            chosen = np.random.default_rng(self._night).permutation(self._rows)[: changed + gone]
            self._rows = np.setdiff1d(self._rows, chosen[changed:])
            ids = pa.array(mix_table.item_ids(chosen))
            with measure("embeddings"):
                carry(previous, staged.embeddings, ids)
                new = self._write_changed(staged.embeddings, np.sort(chosen[:changed]))
            other = F.lit(None).cast("struct<image_hash: string, model_id: string>")  # than that of tonight
            dropped = self.spark.createDataFrame(pa.table({"item_id": ids})).withColumn("old_picture", other)
            inputs = IndexInputs(self._read(staged), self.before, new, dropped)
            found = self._steps(staged, inputs, measure)
            self.before = self._tables(staged, found)
        return found

    @contextmanager
    def from_nothing(self, measure: Measure) -> Iterator[NeighbourTables]:
        """Make the last release once more, with nothing of a release before; it is removed when the context ends."""
        assert self.before
        with Warehouse(self.settings.warehouse.path).stage() as staged:
            carry(self.before.release.embeddings, staged.embeddings, pa.array([], pa.string()))
            yield self._steps(staged, IndexInputs(self._read(staged)), measure)

    def _stage(self) -> Staged:
        self._open, self._night = ExitStack(), self._night + 1
        staged = self._open.enter_context(Warehouse(self.settings.warehouse.path).stage())
        return replace(staged, parent=self.before.release if self.before else None)

    def _write_changed(self, folder: Path, rows: NDArray[np.int64]) -> list[Path]:
        """Write other vectors for some rows; return the files."""
        mixed, paths = mix.Mix.load(self.source), []
        for number, start in enumerate(range(0, len(rows), mix.BLOCK)):
            some = rows[start : start + mix.BLOCK]
            vectors = mixed.block(OTHER_BLOCKS + NIGHT_BLOCKS * self._night + number)[: len(some)]
            table = pa.Table.from_batches([mix_table.as_batch(vectors, some, self.sizes, self._night)])
            paths.append(folder / f"new-{self._night}-{number}.parquet")
            write(table, paths[-1])
        return paths

    def _read(self, staged: Staged) -> DataFrame:
        for path in staged.embeddings.iterdir():
            rows, size = pq.read_metadata(path).num_rows, path.stat().st_size
            staged.add([StoredFile(name=f"embeddings/{path.name}", bytes=size, sha256="not asked for", rows=rows)])
        return staging.read_table(self.spark, staged.embeddings)

    def _steps(self, staged: Staged, inputs: IndexInputs, measure: Measure) -> NeighbourTables:
        with measure("index"):
            index = build_index(inputs, staged, self.settings)
        with measure("neighbours"):
            changes = find_changes(self.spark, inputs.before, index, self.settings)
            before = PreviousRelease(changes, inputs.before)
            return write_neighbours(self.spark, index, self.settings, staged, before)

    def _tables(self, staged: Staged, found: NeighbourTables) -> ReleaseTables:
        """The release with a record and a list of what the steps wrote, as the next night opens it."""
        written = (file for file in staged.written.values() if file.part != "embeddings")
        known = release_files.write(ReleaseFiles(files=tuple(written)), staged.root)
        sections = {"config": self.settings.model_dump(mode="json"), "neighbours": found.record().model_dump()}
        record = records.record(staged.release_id, files=known.model_dump(mode="json"), **sections)
        staged.record_path.write_bytes(record.as_json())
        embeddings, release = self._read(staged), ReleaseFolder(staged.root)
        tables = (embeddings, embeddings.limit(0), found.similar_items, None, found.neighbours)
        return ReleaseTables(release, *tables, files=staging.paths_by_part(release))


def settings_for(work: str, k: int, group_by: str | None = None, plan: str = "auto") -> config.Settings:
    """The defaults of the job, except these."""
    return config.Settings.model_validate(
        {
            "catalogue": {"path": f"{work}/none"},
            "warehouse": {"path": f"{work}/warehouse"},
            "similar": {"k": k, "group_by": group_by, "plan": plan},
        }
    )


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Keep the seconds that a step takes."""
    start = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - start, 2)


def carry(before: Path, folder: Path, dropped: pa.Array) -> None:
    """Link the files of `before` that have none of the items `dropped`, and write the others without these."""
    folder.mkdir()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(partial(_carry_file, folder, dropped), sorted(before.glob("*.parquet"))))


def _carry_file(folder: Path, dropped: pa.Array, path: Path) -> None:
    kept = pc.invert(pc.is_in(pq.read_table(path, columns=["item_id"])["item_id"], dropped))
    if pc.all(kept).as_py():
        os.link(path, folder / path.name)
    else:
        write(pq.read_table(path).filter(kept), folder / path.name)


def write(table: pa.Table, path: Path) -> None:
    """Write a file of embeddings."""
    pq.write_table(table, path, compression="zstd", row_group_size=ROW_GROUP, write_page_checksum=True)
