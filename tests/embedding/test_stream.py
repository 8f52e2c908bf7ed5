"""Paths in, vectors and reasons out: one outcome for each, in order, with or without failures."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lookalike import config
from lookalike.embedding.stream import CHUNK_PICTURES, EmbeddedChunk, Network, Outcome, embed_stream
from lookalike.images.decode import decode
from lookalike.images.picture import content_hash
from lookalike.models.litert import LiteRtEngine
from lookalike.models.runtime import Engine
from lookalike.storage.image_reader import ImageReader
from lookalike.topk.items import unit_length
from support import tiny_model

LIMITS = config.ImageSettings(max_bytes=20_000, resize="stretch")
READER = ImageReader(LIMITS)


@pytest.fixture(scope="module")
def engine() -> Engine:
    """Return the engine of the tiny network."""
    return LiteRtEngine(tiny_model.artefact())


def network(engine: Engine) -> Network:
    return Network(engine.input_size, lambda: engine)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Write 40 different pictures, one of them black; return their paths."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{n}.jpg" for n in range(40)]
    for path, pixels in zip(paths, tiny_model.random_pixels(40), strict=True):
        Image.fromarray(pixels).resize((50, 40)).save(path)
    Image.new("RGB", (50, 40)).save(paths[5])
    return [str(path) for path in paths]


@pytest.fixture
def bad(tmp_path: Path, pictures: list[str]) -> dict[str, str]:
    """Write files that fail; return the reason of each path."""
    (tmp_path / "page.jpg").write_bytes(b"<html></html>")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "cut.jpg").write_bytes(Path(pictures[0]).read_bytes()[:700])
    (tmp_path / "large.jpg").write_bytes(bytes(LIMITS.max_bytes + 1))
    reasons = {"page": "not_an_image", "empty": "empty", "cut": "truncated", "large": "too_large"}
    reasons |= {"gone": "not_found"}
    return {f"{tmp_path / name}.jpg": reason for name, reason in reasons.items()}


def joined(chunks: Iterator[EmbeddedChunk]) -> tuple[list[Outcome], np.ndarray, np.ndarray]:
    """Return outcomes, vectors and norms of a whole stream; check the shape and the size of each chunk.

    A chunk in which no picture is embedded has vectors without dimensions: 0 here.
    """
    outcomes, vectors, norms = [], [np.empty((0, tiny_model.DIMENSIONS))], [np.empty(0)]
    for chunk in chunks:
        assert 0 < len(chunk.outcomes) <= CHUNK_PICTURES
        dimensions = tiny_model.DIMENSIONS if any(one.width for one in chunk.outcomes) else 0
        assert chunk.vectors.shape == (len(chunk.outcomes), dimensions)
        assert chunk.norms.shape == (len(chunk.outcomes),)
        assert chunk.vectors.dtype == chunk.norms.dtype == np.float32
        outcomes += chunk.outcomes
        vectors.append(
            np.broadcast_to(chunk.vectors if dimensions else 0, (len(chunk.outcomes), tiny_model.DIMENSIONS))
        )
        norms.append(chunk.norms)
    return outcomes, np.concatenate(vectors), np.concatenate(norms)


def alone(path: str, engine: Engine) -> tuple[np.ndarray, np.ndarray]:
    """Return vector and norm of one picture, computed without the stream."""
    picture = decode(Path(path).read_bytes(), tiny_model.SIZE, LIMITS)
    vectors, norms = unit_length(engine.embed(picture.pixels[None]))
    return vectors[0], norms[0]


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 255, 256, 257, 300])
def test_any_number_of_pictures_gives_the_vectors_they_get_alone(
    engine: Engine, pictures: list[str], count: int
) -> None:
    paths = [pictures[n % len(pictures)] for n in range(count)]
    outcomes, vectors, norms = joined(embed_stream(paths, network(engine), READER))
    assert len(outcomes) == count
    known = {path: alone(path, engine) for path in set(paths)}
    for path, outcome, vector, norm in zip(paths, outcomes, vectors, norms, strict=True):
        np.testing.assert_array_equal(vector, known[path][0])
        assert norm == known[path][1]
        assert outcome == Outcome(content_hash(Path(path).read_bytes()), 50, 40, ())


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("count", [3, 40, 300])
def test_failures_keep_their_places_and_change_no_other_picture(
    engine: Engine, pictures: list[str], bad: dict[str, str], share: float, count: int
) -> None:
    rng = random.Random(count)
    paths = [rng.choice(list(bad) if rng.random() < share else pictures) for _ in range(count)]
    outcomes, vectors, norms = joined(embed_stream(paths, network(engine), READER))
    for path, outcome, vector, norm in zip(paths, outcomes, vectors, norms, strict=True):
        if path in bad:
            assert outcome.error is not None
            assert outcome.error.reason == bad[path]
            assert (outcome.width, outcome.height, outcome.fixes) == (None, None, None)
            assert not vector.any()
            assert norm == 0
        else:
            assert outcome.error is None
            np.testing.assert_array_equal(vector, alone(path, engine)[0])


def test_only_failures_are_a_chunk_too(engine: Engine, bad: dict[str, str]) -> None:
    outcomes, vectors, _ = joined(embed_stream(list(bad) * 60, network(engine), READER))
    assert [o.error and o.error.reason for o in outcomes] == list(bad.values()) * 60
    assert not vectors.any()


def test_hash_is_known_if_the_bytes_were_read(engine: Engine, bad: dict[str, str]) -> None:
    outcomes, _, _ = joined(embed_stream(bad, network(engine), READER))
    hashes = {path: outcome.image_hash for path, outcome in zip(bad, outcomes, strict=True)}
    for path, reason in bad.items():
        read = reason in ("not_an_image", "truncated")
        assert hashes[path] == (content_hash(Path(path).read_bytes()) if read else None)


def test_black_picture_is_embedded_as_zeros_and_is_no_failure(engine: Engine, pictures: list[str]) -> None:
    outcomes, vectors, norms = joined(embed_stream(pictures[4:7], network(engine), READER))
    assert [outcome.error for outcome in outcomes] == [None] * 3
    np.testing.assert_array_equal(norms > 0, [True, False, True])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 0, 1], atol=1e-6)


def test_first_chunk_comes_before_all_paths_are_requested(engine: Engine, pictures: list[str]) -> None:
    requested = 0

    def endless() -> Iterator[str]:
        nonlocal requested
        while True:
            requested += 1
            yield pictures[0]

    stream = embed_stream(endless(), network(engine), READER)
    assert len(next(stream).outcomes) == CHUNK_PICTURES
    assert requested <= CHUNK_PICTURES + 2 * LIMITS.fetch_threads
    stream.close()


def test_stream_that_is_abandoned_leaves_no_thread(engine: Engine, pictures: list[str]) -> None:
    stream = embed_stream(pictures * 20, network(engine), READER)
    list(islice(stream, 1))
    stream.close()
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("fetch")]


def test_error_of_the_source_of_paths_is_raised(engine: Engine, pictures: list[str]) -> None:
    def broken() -> Iterator[str]:
        yield pictures[0]
        raise LookupError("the partition is gone")

    with pytest.raises(LookupError, match="partition"):
        list(embed_stream(broken(), network(engine), READER))


@pytest.mark.parametrize(
    ("features", "vectors", "norms"),
    [
        ([[3, 4]], [[0.6, 0.8]], [5]),
        ([[0, 0]], [[0, 0]], [0]),
        ([[0, 0], [0, -2]], [[0, 0], [0, -1]], [0, 2]),
        ([[1e-15, 0]], [[1, 0]], [1e-15]),
        ([[1e15, 0]], [[1, 0]], [1e15]),
        (np.empty((0, 2)), np.empty((0, 2)), np.empty(0)),
    ],
)
def test_rows_are_scaled_to_unit_length_and_a_row_of_zeros_stays(features: Any, vectors: Any, norms: Any) -> None:
    scaled, lengths = unit_length(np.array(features, dtype=np.float32))
    assert scaled.dtype == lengths.dtype == np.float32
    np.testing.assert_allclose(scaled, vectors, rtol=1e-6)
    np.testing.assert_allclose(lengths, norms, rtol=1e-6)
