"""URIs in, vectors and reasons out: the embed step's inner loop, as a stream with bounded memory. No Spark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from lookalike.failures import ImageError
from lookalike.images import decoder
from lookalike.images.picture import Picture, content_hash
from lookalike.models.runtime import Engine
from lookalike.storage import prefetch
from lookalike.storage.image_reader import ImageReader
from lookalike.topk.items import unit_length

# Pictures in one outgoing chunk, by bytes: 256 embeddings of 8 KiB are a 2 MiB Arrow column. Whole engine batches.
CHUNK_PICTURES = 256


@dataclass(frozen=True)
class Outcome:
    """What became of one picture: it was embedded (`picture`'s facts are set) or it failed (`error` is set)."""

    image_hash: str | None = None
    width: int | None = None
    height: int | None = None
    fixes: tuple[str, ...] | None = None
    error: ImageError | None = None


@dataclass(frozen=True)
class EmbeddedChunk:
    """Consecutive outcomes with their vectors: float32 [n, dimensions] of unit length, zeros for a failure."""

    outcomes: list[Outcome]
    vectors: NDArray[np.float32]
    norms: NDArray[np.float32]


Look = tuple[Outcome, Picture | None]


def embed_stream(paths: Iterable[str], engine: Engine, reader: ImageReader) -> Iterator[EmbeddedChunk]:
    """One outcome for each path, in order; the next pictures are read and decoded while the core computes."""

    def look(path: str) -> Look:
        return _decode(reader.read(path), engine.input_size, reader)

    looks = prefetch.fetch_ahead(look, paths, reader.limits.fetch_threads, _size)
    while (chunk := _embed_chunk(islice(looks, CHUNK_PICTURES), engine)).outcomes:
        yield chunk


def _size(look: Look) -> int:
    return look[1].pixels.nbytes if look[1] else 0


def _embed_chunk(looks: Iterable[Look | ImageError], engine: Engine) -> EmbeddedChunk:
    """Only sound pictures take a place in the engine's batches."""
    outcomes: list[Outcome] = []
    features = np.zeros((CHUNK_PICTURES, engine.dimensions), dtype=np.float32)
    batch = np.empty((engine.batch_size, engine.input_size, engine.input_size, 3), dtype=np.uint8)
    rows: list[int] = []
    for look in looks:
        outcome, picture = (Outcome(error=look), None) if isinstance(look, ImageError) else look
        if picture is not None:
            batch[len(rows)] = picture.pixels
            rows.append(len(outcomes))
        outcomes.append(outcome)
        if len(rows) == engine.batch_size:
            features[rows] = engine.embed(batch)
            rows.clear()
    if rows:
        features[rows] = engine.embed(batch[: len(rows)])
    return EmbeddedChunk(outcomes, *unit_length(features[: len(outcomes)]))


def _decode(data: bytes, size: int, reader: ImageReader) -> Look:
    image_hash = content_hash(data)
    try:
        picture = decoder.shared().decode(data, size, reader.limits)
    except ImageError as error:
        return Outcome(image_hash, error=error), None
    return Outcome(image_hash, picture.width, picture.height, picture.fixes), picture
