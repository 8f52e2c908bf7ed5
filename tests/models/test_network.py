"""The network's input and the ids of its vectors: the same as ever, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lookalike import config
from lookalike.models import network

PREPARED = network.preprocessing(config.ImageSettings())


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ({}, 224),
        ({"weights": "imagenet"}, 224),
        ({"weights": "bundled"}, 112),
        ({"weights": "/models/mine.h5"}, 224),
        ({"weights": "bundled", "input_size": 64}, 64),
        ({"weights": "imagenet", "input_size": 112}, 112),
    ],
)
def test_input_size_follows_the_weights_unless_it_is_given(model: dict[str, Any], size: int) -> None:
    assert network.input_size(config.ModelSettings(**model)) == size


@pytest.mark.parametrize("pictures", [0, 1, 3])
def test_input_is_blue_green_red_each_less_its_mean(pictures: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (pictures, 5, 5, 3), dtype=np.uint8)
    expected = pixels[..., ::-1] - np.array([103.939, 116.779, 123.68], dtype=np.float32)
    found = network.preprocess(pixels)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(network.preprocess(pixels[:, ::2, ::-1]), expected[:, ::2, ::-1])


def test_input_of_a_short_batch_leaves_the_other_pictures_alone() -> None:
    target = np.full((4, 2, 2, 3), 7, dtype=np.float32)
    pixels = np.full((1, 2, 2, 3), 255, dtype=np.uint8)
    network.write_input(pixels, target)
    np.testing.assert_array_equal(target[:1], network.preprocess(pixels))
    assert (target[1:] == 7).all()


def test_preprocessing_is_that_of_keras() -> None:
    keras = pytest.importorskip("tensorflow").keras
    pixels = np.random.default_rng(2).integers(0, 256, (2, 9, 9, 3), dtype=np.uint8)
    theirs = keras.applications.resnet50.preprocess_input(pixels.astype(np.float32))
    np.testing.assert_array_equal(network.preprocess(pixels), theirs)


def test_preprocessing_has_the_name_that_warehouses_know() -> None:
    """Another name is another model id: every picture would be embedded again."""
    assert PREPARED == "rgb-bilinear-pad-#ffffff/caffe-bgr/4"
    stretched = config.ImageSettings(resize="stretch", background="#ABCDEF")
    assert network.preprocessing(stretched) == "rgb-bilinear-stretch-#abcdef/caffe-bgr/4"


def test_model_id_of_before_is_the_model_id_of_today() -> None:
    assert network.model_id(b"artefact", 112, "litert", PREPARED) == "4c5fd87b87921818"


def test_model_id_changes_with_all_that_makes_the_vectors() -> None:
    cases = [
        (b"artefact", 224, "litert", PREPARED),
        (b"artefacu", 224, "litert", PREPARED),
        (b"artefact", 22, "litert", PREPARED),
        (b"4artefact", 22, "litert", PREPARED),
        (b"", 224, "litert", PREPARED),
        (b"artefact", 224, "openvino", PREPARED),
        (b"artefact", 224, "litert", network.preprocessing(config.ImageSettings(resize="stretch"))),
    ]
    ids = [network.model_id(*case) for case in cases]
    assert len(set(ids)) == len(cases)
    assert ids == [network.model_id(*case) for case in cases]
    assert all(len(one) == 16 and int(one, 16) >= 0 for one in ids)
