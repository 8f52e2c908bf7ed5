"""One task of the embed step: pictures in, vectors or reasons out, in a Spark worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark import Broadcast, SparkContext
from pyspark.accumulators import Accumulator
from pyspark.sql import Column
from pyspark.sql.pandas.functions import arrow_udf
from pyspark.sql.types import StructType

from lookalike import config
from lookalike.embedding.stream import EmbeddedChunk, Outcome, embed_stream
from lookalike.failures import ImageError
from lookalike.images import decoder
from lookalike.models import runtime
from lookalike.models.network import CompiledModel
from lookalike.models.runtime import Engine
from lookalike.spark import schemas, worker
from lookalike.storage.image_reader import ImageReader

# Pictures of a task: a few seconds of work, so that progress shows, a lost task costs little and the last tasks
# of a stage end together.
PICTURES_PER_TASK = 512

RESULT = StructType([field for field in schemas.OUTCOMES if field.name not in ("image_hash", "embedded_at")])


@dataclass(frozen=True)
class TaskCounters:
    """Counts that the tasks report while they run."""

    done: Accumulator[int]
    failed: Accumulator[int]

    @classmethod
    def start(cls, context: SparkContext) -> TaskCounters:
        """Return counters at zero."""
        return cls(context.accumulator(0), context.accumulator(0))


def embed_function(
    model: CompiledModel, artefact: Broadcast[bytes], settings: config.Settings, counters: TaskCounters
) -> Callable[..., Column]:
    """Return the function (image_path, image_hash) -> RESULT for Spark; `artefact` holds the bytes of `model`."""
    reader = ImageReader.of(settings)
    engine, model_id = model.engine, model.model_id

    # The Arrow form of an iterator pandas UDF: Spark 4.2 unpacks each array<float> that a pandas UDF returns
    # into a Python list, 2048 objects a picture.
    @arrow_udf(RESULT)  # type: ignore[call-overload,untyped-decorator]
    def embed_pictures(batches: Iterator[tuple[pa.Array, pa.Array]]) -> Iterator[pa.Array]:
        worker.without_pandas()
        expected: deque[str] = deque()

        def paths() -> Iterator[str]:
            for names, hashes in batches:
                for path, image_hash in zip(names.to_pylist(), hashes.to_pylist(), strict=True):
                    expected.append(image_hash)
                    yield path

        decoder.shared().start()  # while the engine loads
        for chunk in embed_stream(paths(), _engine(engine, model_id, artefact), reader):
            errors = [error_of(outcome, expected.popleft()) for outcome in chunk.outcomes]
            counters.done.add(len(errors))
            counters.failed.add(sum(error is not None for error in errors))
            yield _as_structs(chunk, errors)

    return embed_pictures  # type: ignore[no-any-return]


def error_of(outcome: Outcome, expected_hash: str) -> ImageError | None:
    """Return the picture's error. A lasting error of other bytes than those that were hashed counts as passing."""
    if outcome.image_hash == expected_hash or (outcome.error and not outcome.error.permanent):
        return outcome.error
    return ImageError("server_error", "the picture changed while the job was reading it")


_engines: dict[str, Engine] = {}


def _engine(name: str, model_id: str, artefact: Broadcast[bytes]) -> Engine:
    """Return this worker's engine: Spark uses a worker process again, so it is built once and not once a task."""
    if model_id not in _engines:
        _engines.clear()
        _engines[model_id] = runtime.load(name, artefact.value)
    return _engines[model_id]


def _as_structs(chunk: EmbeddedChunk, errors: list[ImageError | None]) -> pa.StructArray:
    """Return one RESULT for each picture."""
    outcomes = chunk.outcomes
    embedded = np.array([error is None for error in errors])
    ends = np.cumsum(np.where(embedded, chunk.vectors.shape[1], 0), dtype=np.int32)
    offsets = np.concatenate([[np.int32(0)], ends])
    vectors = chunk.vectors if embedded.all() else chunk.vectors[embedded]
    return pa.StructArray.from_arrays(
        [
            pa.ListArray.from_arrays(offsets, vectors.reshape(-1), mask=pa.array(~embedded)),
            pa.array(chunk.norms, mask=~embedded),
            pa.array([outcome.width for outcome in outcomes], pa.int32()),
            pa.array([outcome.height for outcome in outcomes], pa.int32()),
            pa.array([outcome.fixes for outcome in outcomes], pa.list_(pa.string())),
            pa.array([error and error.reason for error in errors], pa.string()),
            pa.array([error and error.detail for error in errors], pa.string()),
            pa.array([error and error.permanent for error in errors], pa.bool_()),
        ],
        names=RESULT.fieldNames(),
    )
