"""One task of the embed step, in a Spark worker: pictures are read, hashed, looked up and embedded in one pass.

The task writes vectors and reasons into a checkpoint of its own, and returns what it read.
"""

from __future__ import annotations

import secrets
import socket
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark import Broadcast, SparkContext
from pyspark.accumulators import Accumulator, AccumulatorParam
from pyspark.sql.types import BooleanType, StructField, StructType

from lookalike.catalogue.fingerprints import HASH_COLUMNS
from lookalike.embedding.known import KnownHashes
from lookalike.embedding.stream import EmbeddedChunk, Network, Outcome, embed_stream
from lookalike.embedding.tables import EmbedRun
from lookalike.models import runtime
from lookalike.models.runtime import Engine
from lookalike.spark import arrow_files, schemas, worker
from lookalike.storage.image_reader import ImageReader
from lookalike.warehouse.shared_files import SharedFiles

# What a pass returns of a path: the hash of its bytes, or why they cannot be read, and what was done about it.
READINGS = StructType(
    [
        schemas.ITEMS["image_path"],
        *HASH_COLUMNS.fields,
        StructField("known", BooleanType()),  # a release or a checkpoint has the outcome, as far as HEX_DIGITS tell
        StructField("embedded", BooleanType()),
        StructField("refused", BooleanType()),  # its bytes were read, and have a reason in the checkpoint
    ]
)

_READINGS = schemas.as_arrow(READINGS)
OUTCOMES = schemas.as_arrow(schemas.OUTCOMES)  # a file of a checkpoint


# By the name of a machine, and whether they were found there.
PicturesFound = Counter[tuple[str, bool]]

# So many pictures that are missing on one machine, and none that is there, are no chance.
LEAST_MISSING = 20


class _Sum(AccumulatorParam[PicturesFound]):
    def zero(self, value: PicturesFound) -> PicturesFound:
        return Counter()

    def addInPlace(self, value1: PicturesFound, value2: PicturesFound) -> PicturesFound:  # noqa: N802
        value1.update(value2)
        return value1


@dataclass(frozen=True)
class TaskCounters:
    """Counts that the tasks report while they run."""

    done: Accumulator[int]
    failed: Accumulator[int]
    found: Accumulator[PicturesFound]

    @classmethod
    def start(cls, context: SparkContext) -> TaskCounters:
        """Return counters at zero."""
        return cls(context.accumulator(0), context.accumulator(0), context.accumulator(Counter(), _Sum()))

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Count what a task has done on this machine."""
        host = socket.gethostname()
        self.done.add(len(outcomes))
        self.failed.add(sum(one.error is not None for one in outcomes))
        self.found.add(Counter((host, one.error is None or one.error.reason != "not_found") for one in outcomes))


def machines_without_pictures(found: PicturesFound) -> list[str]:
    """Return a line for each machine that found no picture at all, where others found theirs."""
    seeing = {host for host, there in found if there}
    blind = {host: count for (host, there), count in found.items() if not there and count >= LEAST_MISSING}
    return [
        f"{host} found none of the {blind[host]:,} pictures that it was to read, and other machines found theirs; they "
        f"count as not_found: give {host} the same files"
        for host in sorted(set(blind) - seeing)
        if seeing
    ]


@dataclass(frozen=True)
class PictureTask:
    """What a task needs besides the paths; `checkpoint` is the folder that it writes to."""

    engine: str
    model_id: str
    input_size: int
    artefact: Broadcast[bytes]
    known: Broadcast[KnownHashes]
    reader: ImageReader
    checkpoint: Path
    shared: SharedFiles
    counters: TaskCounters

    @classmethod
    def of(cls, run: EmbedRun, known: Broadcast[KnownHashes], checkpoint: Path) -> PictureTask:
        """Return the task for the model of a run, whose artefact goes to each executor once."""
        context, model = SparkContext.getOrCreate(), run.model
        artefact, counters = context.broadcast(model.artefact), TaskCounters.start(context)
        return cls(
            model.engine,
            model.model_id,
            model.input_size,
            artefact,
            known,
            ImageReader.of(run.settings),
            checkpoint,
            run.staged.shared,
            counters,
        )

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield READINGS of the paths in `image_path`, after the outcomes are in a file of the checkpoint."""
        worker.start_task()
        paths = [path for batch in batches for path in batch["image_path"].to_pylist()]
        if not paths:
            return
        known, seen = self.known.value, dict[str, object]()

        def is_known(image_hash: str) -> bool:
            """Whether a release, a checkpoint or this task has the outcome of these bytes, or will have it."""
            mine = object()  # of the threads that ask at the same time one is told no
            return image_hash in known or seen.setdefault(image_hash, mine) is not mine

        readings: list[pa.RecordBatch] = []

        def outcomes() -> Iterator[pa.RecordBatch]:
            done = 0
            network = Network(self.input_size, lambda: _engine(self.engine, self.model_id, self.artefact))
            for chunk in embed_stream(paths, network, self.reader, is_known):
                self.counters.add(chunk.outcomes)
                names = paths[done : done + len(chunk.outcomes)]
                done += len(names)
                readings.append(_readings(names, chunk.outcomes, seen))
                yield _as_outcomes(chunk)

        # A name of its own for each try of a task: what one has written, another does not replace.
        path = self.checkpoint / f"part-{secrets.token_hex(8)}.parquet"
        copy = self.shared.here(path)
        if arrow_files.write_file(copy, OUTCOMES, outcomes()):
            self.shared.save(path)
        else:
            copy.unlink()
        yield from readings


_engines: dict[str, Engine] = {}


def _engine(name: str, model_id: str, artefact: Broadcast[bytes]) -> Engine:
    """Return this worker's engine: Spark uses a worker process again, so it is built once and not once a task."""
    if model_id not in _engines:
        _engines.clear()
        _engines[model_id] = runtime.load(name, artefact.value)
    return _engines[model_id]


def _readings(paths: list[str | None], outcomes: list[Outcome], seen: Collection[str]) -> pa.RecordBatch:
    errors = [None if one.image_hash else one.error for one in outcomes]
    columns = [
        paths,
        [one.image_hash for one in outcomes],
        [error and error.reason for error in errors],
        [error and error.detail for error in errors],
        [error and error.permanent for error in errors],
        [one.image_hash is not None and one.image_hash not in seen for one in outcomes],
        [one.width is not None for one in outcomes],
        [bool(one.image_hash and one.error) for one in outcomes],
    ]
    return pa.record_batch(
        [pa.array(column, field.type) for column, field in zip(columns, _READINGS, strict=True)], schema=_READINGS
    )


def _as_outcomes(chunk: EmbeddedChunk) -> pa.RecordBatch:
    """Return the rows of OUTCOMES of the pictures that were decoded, or refused for what their bytes are."""
    rows = [row for row, one in enumerate(chunk.outcomes) if one.image_hash and (one.error or one.width is not None)]
    outcomes = [chunk.outcomes[row] for row in rows]
    errors = [one.error for one in outcomes]
    failed = np.array([error is not None for error in errors], dtype=bool)
    vectors = chunk.vectors[np.array(rows, dtype=np.int64)[~failed]]
    ends = np.cumsum(np.where(failed, 0, chunk.vectors.shape[1]), dtype=np.int32)
    offsets = np.concatenate([np.zeros(1, np.int32), ends])
    columns = [
        [one.image_hash for one in outcomes],
        pa.ListArray.from_arrays(offsets, vectors.reshape(-1), mask=pa.array(failed)),
        pa.array(chunk.norms[rows], mask=failed),
        [one.width for one in outcomes],
        [one.height for one in outcomes],
        [one.fixes for one in outcomes],
        [error and error.reason for error in errors],
        [error and error.detail for error in errors],
        [error and error.permanent for error in errors],
        [datetime.now(UTC)] * len(rows),
    ]
    arrays = [
        one if isinstance(one, pa.Array) else pa.array(one, field.type)
        for one, field in zip(columns, OUTCOMES, strict=True)
    ]
    return pa.record_batch(arrays, schema=OUTCOMES)
