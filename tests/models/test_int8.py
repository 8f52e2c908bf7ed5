"""int8: every tensor gets the range that it has on the pictures of the calibration, and no other's."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from lookalike.models import int8, litert, network, resnet50
from support import tiny_model

keras = resnet50.tf.keras


@pytest.mark.parametrize("pictures", [1, 7, 8, 9, 20])
def test_ranges_are_those_of_the_input_and_the_outputs(pictures: int) -> None:
    pixels = tiny_model.random_pixels(pictures)
    entry, features = litert.output_ranges(tiny_model.artefact(), pixels, threads=1).values()
    prepared = network.preprocess(pixels)
    assert entry == (prepared.min(), prepared.max())
    expected = tiny_model.by_hand(pixels)
    np.testing.assert_allclose(features, (expected.min(), expected.max()), rtol=1e-4)


def test_ranges_do_not_depend_on_the_threads() -> None:
    pixels = tiny_model.random_pixels(20)
    one, two = (litert.output_ranges(tiny_model.artefact(), pixels, threads) for threads in (1, 2))
    np.testing.assert_allclose(list(one.values()), list(two.values()), rtol=1e-5)


def test_operand_of_a_sum_has_a_range_of_its_own() -> None:
    """A runtime may write the sum into the place of its first operand; TensorFlow's own calibration then mixes them."""
    size, channels = tiny_model.SIZE, 4
    entry = keras.layers.Input((size, size, 3))
    small = keras.layers.Conv2D(channels, 1, use_bias=False)
    large = keras.layers.Conv2D(channels, 1, use_bias=False)
    total = keras.layers.ReLU()(keras.layers.Add()([small(entry), large(entry)]))
    model = keras.Model(entry, keras.layers.GlobalAveragePooling2D()(total))
    small.set_weights([np.full((1, 1, 3, channels), 0.01, np.float32)])
    large.set_weights([np.full((1, 1, 3, channels), 1, np.float32)])
    pixels = tiny_model.random_pixels(8)
    artefact = int8.quantize(resnet50.compile_model(model), pixels, threads=1)
    sums = network.preprocess(pixels).astype(np.float64).sum(axis=-1)
    spans = {
        "entry": np.ptp([0, *network.preprocess(pixels).ravel()]),
        "small": 0.01 * np.ptp([0, *sums.ravel()]),
        "large": np.ptp([0, *sums.ravel()]),
        "sum": 1.01 * max(0, sums.max()),
    }
    # In int8 a range is 255 steps.
    scales = [
        one["quantization"][0]
        for one in Interpreter(model_content=artefact).get_tensor_details()
        if one["dtype"] == np.int8
    ]
    for name, span in spans.items():
        assert np.isclose(scales, span / 255, rtol=0.02).any(), name
