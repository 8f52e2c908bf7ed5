"""The inner loop of the embed step: paths in, vectors and reasons out, as a stream with bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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

# Pictures in a chunk: 256 embeddings of 8 KiB are an Arrow column of 2 MiB. A multiple of the engine's batch.
CHUNK_PICTURES = 256


@dataclass(frozen=True)
class Outcome:
    """The result of one picture: size and fixes if it was embedded, or the error. The hash, if its bytes were read.

    The hash alone, if its bytes are known.
    """

    image_hash: str | None = None
    width: int | None = None
    height: int | None = None
    fixes: tuple[str, ...] | None = None
    error: ImageError | None = None


@dataclass(frozen=True)
class EmbeddedChunk:
    """Outcomes of consecutive pictures, and their vectors: float32 [n, dimensions] of unit length, 0 for a failure."""

    outcomes: list[Outcome]
    vectors: NDArray[np.float32]
    norms: NDArray[np.float32]


DecodedPicture = tuple[Outcome, Picture | None]


def embed_stream(
    paths: Iterable[str | None], engine: Engine, reader: ImageReader, is_known: Callable[[str], bool] = lambda _: False
) -> Iterator[EmbeddedChunk]:
    """Yield an outcome for each path, in order; the next pictures are read and decoded while the core computes.

    Bytes are fetched once; those with a known hash are neither decoded nor embedded.
    """

    def fetch(path: str | None) -> DecodedPicture:
        data = reader.read(path)
        image_hash = content_hash(data)
        if is_known(image_hash):
            return Outcome(image_hash), None
        return _decode(data, image_hash, engine.input_size, reader)

    decoded = prefetch.fetch_ahead(fetch, paths, reader.limits.fetch_threads, _size)
    while (chunk := _embed_chunk(islice(decoded, CHUNK_PICTURES), engine)).outcomes:
        yield chunk


def _size(decoded: DecodedPicture) -> int:
    picture = decoded[1]
    return picture.pixels.nbytes if picture else 0


def _embed_chunk(pictures: Iterable[DecodedPicture | ImageError], engine: Engine) -> EmbeddedChunk:
    """Embed all pictures of one chunk; failures take no place in the engine's batches."""
    outcomes: list[Outcome] = []
    features = np.zeros((CHUNK_PICTURES, engine.dimensions), dtype=np.float32)
    batch = np.empty((engine.batch_size, engine.input_size, engine.input_size, 3), dtype=np.uint8)
    rows: list[int] = []
    for one in pictures:
        outcome, picture = (Outcome(error=one), None) if isinstance(one, ImageError) else one
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


def _decode(data: bytes, image_hash: str, size: int, reader: ImageReader) -> DecodedPicture:
    try:
        picture = decoder.shared().decode(data, size, reader.limits)
    except ImageError as error:
        return Outcome(image_hash, error=error.without_frames()), None
    return Outcome(image_hash, picture.width, picture.height, picture.fixes), picture
