"""The network that we write against Keras's own: the arrays of its weights, and its vectors on both engines."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lookalike import config
from lookalike.images.decode import decode
from lookalike.models import resnet50, runtime, tflite, weights_file
from lookalike.models.network import preprocess
from lookalike.models.resnet50 import Array
from lookalike.models.runtime import Engine
from lookalike.models.weights_file import BUNDLED
from lookalike.topk.items import unit_length

if TYPE_CHECKING:
    from keras import Model

SIZE = 112


# --- vectors


def draw(width: int, height: int, mode: str, seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    image = Image.new(mode, (width, height), "white")
    pen = ImageDraw.Draw(image)
    for _ in range(12):
        (x, y), (w, h) = rng.integers(0, (width, height)), rng.integers(1, (width + 1, height + 1))
        colour = tuple(rng.integers(0, 256, 3).tolist())
        pen.rectangle((x, y, x + w, y + h), fill=colour if mode == "RGB" else colour[0])
    return image


# file name, width, height, mode
PICTURES = [
    ("small.png", 40, 30, "RGB"),
    ("exact.png", SIZE, SIZE, "RGB"),
    ("tall.png", 90, 700, "RGB"),
    ("wide.png", 640, 61, "RGB"),
    ("odd.png", 333, 257, "RGB"),
    ("grey.png", 200, 200, "L"),
    ("one.png", 1, 1, "RGB"),
    ("large.png", 1200, 1500, "RGB"),
    ("photo.jpg", 800, 600, "RGB"),
    ("grey.jpg", 300, 400, "L"),
]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("pictures")
    for seed, (name, width, height, mode) in enumerate(PICTURES):
        draw(width, height, mode, seed).save(root / name)
    return [root / name for name, *_ in PICTURES]


@pytest.fixture(scope="module")
def arrays() -> list[Array]:
    return weights_file.read(BUNDLED)


def artefact(arrays: list[Array], size: int) -> bytes:
    write = partial(resnet50.write, layers=list(resnet50.fold(arrays)))
    return tflite.compile_network(write, (resnet50.BATCH_SIZE, size, size, 3))


@pytest.fixture(scope="module")
def compiled(arrays: list[Array]) -> bytes:
    return artefact(arrays, SIZE)


@pytest.fixture(scope="module", params=["litert", "openvino"])
def engine(compiled: bytes, request: pytest.FixtureRequest) -> Engine:
    return runtime.load(request.param, compiled)


@pytest.fixture(scope="module")
def plain(arrays: list[Array]) -> Model:
    """Keras's own network, by its own means, for pictures of any size."""
    from lookalike.models.keras_weights import (
        tf,
    )  # it takes 6 s and 400 MB: not in each process that collects the tests

    model = tf.keras.applications.ResNet50(include_top=False, weights=None, pooling="avg", input_shape=(None, None, 3))
    model.set_weights(arrays)
    return model


@pytest.fixture(scope="module")
def reference(plain: Model, pictures: list[Path]) -> NDArray[np.float32]:
    """Unit vectors of Keras alone, one picture a call, by its own loading, preprocessing and network."""
    from lookalike.models.keras_weights import tf

    rows, keras = [], tf.keras
    for path in pictures:
        image = keras.utils.load_img(path, target_size=(SIZE, SIZE), interpolation="bilinear")
        pixels = keras.applications.resnet50.preprocess_input(keras.utils.img_to_array(image))
        rows.append(plain(pixels[None], training=False).numpy()[0])
    return unit_length(np.stack(rows))[0]


@pytest.fixture(scope="module")
def pixels(pictures: list[Path]) -> NDArray[np.uint8]:
    """By our decoder at full scale; what a JPEG's draft mode changes is the picture tests' matter."""
    limits = config.ImageSettings(resize="stretch")
    return np.stack([decode(path.read_bytes(), SIZE, limits, draft=False).pixels for path in pictures])


def cosine_distances(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float64]:
    return 1 - np.einsum("ij,ij->i", left.astype(np.float64), right.astype(np.float64))


@pytest.fixture(scope="module")
def alone(engine: Engine, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The vectors of an engine that is given one picture at a time."""
    return np.concatenate([engine.embed(row[None]) for row in pixels])


def test_float32_vectors_are_those_of_keras(
    engine: Engine, pixels: NDArray[np.uint8], reference: NDArray[np.float32]
) -> None:
    ours, norms = unit_length(engine.embed(pixels))
    assert ours.shape == (len(PICTURES), 2048)
    assert (norms > 0).all()
    assert cosine_distances(ours, reference).max() < 1e-6


def test_tolerance_is_finer_than_what_swapped_channels_or_another_picture_change(
    engine: Engine, pixels: NDArray[np.uint8], reference: NDArray[np.float32]
) -> None:
    coloured = [row for row, (_, width, _, mode) in enumerate(PICTURES) if mode == "RGB" and width > 1]
    swapped, _ = unit_length(engine.embed(pixels[..., ::-1]))
    assert cosine_distances(swapped, reference)[coloured].min() > 1e-3
    others = reference @ np.roll(reference, 1, axis=0).T
    assert np.diag(others).max() < 1 - 1e-3


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 17])
def test_vector_does_not_depend_on_what_shares_the_batch(
    engine: Engine, pixels: NDArray[np.uint8], alone: NDArray[np.float32], count: int
) -> None:
    rows = np.arange(count) % len(pixels)
    together = engine.embed(pixels[rows])
    assert together.shape == (count, 2048)
    np.testing.assert_allclose(together, alone[rows], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [32, 37, 75])
def test_features_of_any_size_are_those_of_keras(arrays: list[Array], plain: Model, size: int) -> None:
    """The length of the features too; odd sizes are cut and padded on the same sides."""
    pixels = np.random.default_rng(size).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    ours = runtime.load("litert", artefact(arrays, size)).embed(pixels)
    theirs = plain(preprocess(pixels), training=False).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


def test_shapes_are_those_of_keras() -> None:
    from lookalike.models import keras_weights

    assert [*resnet50.shapes()] == [array.shape for array in keras_weights.build(32).get_weights()]
