"""The engine over a network computed by hand: the vector of a picture does not depend on its batch."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike.models.litert import LiteRtEngine
from lookalike.models.runtime import Engine
from support import tiny_model


@pytest.fixture(scope="module")
def engine() -> Engine:
    """One interpreter for all tests, so that each finds what the one before left behind."""
    return LiteRtEngine(tiny_model.artefact())


def test_shapes_are_those_of_the_artefact(engine: Engine) -> None:
    assert (engine.batch_size, engine.input_size, engine.dimensions) == (
        tiny_model.BATCH,
        tiny_model.SIZE,
        tiny_model.DIMENSIONS,
    )


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 16, 300])
def test_any_number_of_pictures_gives_the_vectors_they_get_alone(engine: Engine, count: int) -> None:
    pixels = tiny_model.random_pixels(count)
    features = engine.embed(pixels)
    assert (features.dtype, features.shape) == (np.float32, (count, tiny_model.DIMENSIONS))
    alone = [engine.embed(pixels[n : n + 1])[0] for n in range(count)]
    np.testing.assert_array_equal(features, np.reshape(alone, features.shape))
    np.testing.assert_allclose(features, tiny_model.by_hand(pixels), rtol=1e-4, atol=1e-3)


def test_channels_are_turned_to_blue_green_red_and_centred(engine: Engine) -> None:
    pixels = np.zeros((3, tiny_model.SIZE, tiny_model.SIZE, 3), dtype=np.uint8)
    for n in range(3):
        pixels[n, ..., n] = 255
    features = engine.embed(pixels)
    np.testing.assert_allclose(features, tiny_model.by_hand(pixels), rtol=1e-4, atol=1e-3)
    assert len(np.unique(features[:, 0])) > 1


@pytest.mark.parametrize("count", [1, 5, 7])
def test_rows_left_over_from_the_batch_before_never_show(engine: Engine, count: int) -> None:
    bright = np.full((tiny_model.BATCH, tiny_model.SIZE, tiny_model.SIZE, 3), 255, dtype=np.uint8)
    few = tiny_model.random_pixels(count, seed=count)
    before = engine.embed(few)
    engine.embed(bright)
    np.testing.assert_array_equal(engine.embed(few), before)


def test_answer_is_the_callers_own(engine: Engine) -> None:
    pixels = tiny_model.random_pixels(8)
    first = engine.embed(pixels)
    kept = first.copy()
    engine.embed(tiny_model.random_pixels(8, seed=2))
    np.testing.assert_array_equal(first, kept)


def test_pictures_are_left_as_they_were(engine: Engine) -> None:
    pixels = tiny_model.random_pixels(9)
    kept = pixels.copy()
    engine.embed(pixels)
    np.testing.assert_array_equal(pixels, kept)


def test_read_only_and_strided_pixels_are_fine(engine: Engine) -> None:
    pixels = tiny_model.random_pixels(10)
    expected = engine.embed(pixels)
    pixels.setflags(write=False)
    np.testing.assert_array_equal(engine.embed(pixels[::2]), expected[::2])
    np.testing.assert_array_equal(engine.embed(pixels[::-1]), expected[::-1])


def test_two_engines_over_one_artefact_do_not_meet(engine: Engine) -> None:
    other, pixels = LiteRtEngine(tiny_model.artefact()), tiny_model.random_pixels(8)
    expected = engine.embed(pixels)
    other.embed(tiny_model.random_pixels(8, seed=2))
    np.testing.assert_array_equal(engine.embed(pixels), expected)
    np.testing.assert_array_equal(other.embed(pixels), expected)


def test_bytes_that_are_no_model_are_refused() -> None:
    with pytest.raises(ValueError, match="model"):
        LiteRtEngine(b"not a model at all, but long enough to hold a header")
