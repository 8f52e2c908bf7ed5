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
    """Outcomes of consecutive pictures, and their vectors: float32 [n, dimensions] of unit length, 0 for a failure.

    Where no picture is embedded the vectors have no dimensions: the engine, which knows them, is not loaded.
    """

    outcomes: list[Outcome]
    vectors: NDArray[np.float32]
    norms: NDArray[np.float32]


DecodedPicture = tuple[Outcome, Picture | None]


@dataclass(frozen=True)
class Network:
    """The size of its input, and a function that returns its engine: called where a picture is to be embedded."""

    input_size: int
    load: Callable[[], Engine]


def embed_stream(
    paths: Iterable[str | None],
    network: Network,
    reader: ImageReader,
    is_known: Callable[[str], bool] = lambda _: False,
) -> Iterator[EmbeddedChunk]:
    """Yield an outcome for each path, in order; the next pictures are read and decoded while the core computes.

    Bytes are fetched once; those with a known hash are neither decoded nor embedded.
    """

    def fetch(path: str | None) -> DecodedPicture:
        data = reader.read(path)
        image_hash = content_hash(data)
        if is_known(image_hash):
            return Outcome(image_hash), None
        return _decode(data, image_hash, network.input_size, reader)

    decoded = prefetch.fetch_ahead(fetch, paths, reader.limits.fetch_threads, _size)
    while (chunk := _embed_chunk(islice(decoded, CHUNK_PICTURES), network.load)).outcomes:
        yield chunk


def _size(decoded: DecodedPicture) -> int:
    picture = decoded[1]
    return picture.pixels.nbytes if picture else 0


def _embed_chunk(pictures: Iterable[DecodedPicture | ImageError], load: Callable[[], Engine]) -> EmbeddedChunk:
    """Embed all pictures of one chunk; failures take no place in the engine's batches."""
    outcomes: list[Outcome] = []
    batches: _Batches | None = None
    for one in pictures:
        outcome, picture = (Outcome(error=one), None) if isinstance(one, ImageError) else one
        if picture is not None:
            batches = batches or _Batches(load())
            batches.add(len(outcomes), picture)
        outcomes.append(outcome)
    features = batches.finish() if batches else np.empty((CHUNK_PICTURES, 0), dtype=np.float32)
    return EmbeddedChunk(outcomes, *unit_length(features[: len(outcomes)]))


class _Batches:
    """The features of one chunk: 0 in the rows that get no picture."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._features = np.zeros((CHUNK_PICTURES, engine.dimensions), dtype=np.float32)
        self._pixels = np.empty((engine.batch_size, engine.input_size, engine.input_size, 3), dtype=np.uint8)
        self._rows: list[int] = []

    def add(self, row: int, picture: Picture) -> None:
        """Embed a picture, for a row, when it fills a batch."""
        self._pixels[len(self._rows)] = picture.pixels
        self._rows.append(row)
        if len(self._rows) == len(self._pixels):
            self._embed()

    def finish(self) -> NDArray[np.float32]:
        """Embed the pictures that fill no batch, and return the features of all."""
        if self._rows:
            self._embed()
        return self._features

    def _embed(self) -> None:
        self._features[self._rows] = self._engine.embed(self._pixels[: len(self._rows)])
        self._rows.clear()


def _decode(data: bytes, image_hash: str, size: int, reader: ImageReader) -> DecodedPicture:
    try:
        picture = decoder.shared().decode(data, size, reader.limits)
    except ImageError as error:
        return Outcome(image_hash, error=error.without_frames()), None
    return Outcome(image_hash, picture.width, picture.height, picture.fixes), picture
