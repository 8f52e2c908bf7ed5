"""int8: every tensor gets the range that it has on the pictures of the calibration, and no other's."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from lookalike.errors import ModelError
from lookalike.models import int8, litert, network, runtime, tflite
from lookalike.models.tflite import Graph
from support import tiny_model


@pytest.mark.parametrize("pictures", [1, 7, 8, 9, 20])
def test_ranges_are_those_of_the_input_and_the_outputs(pictures: int) -> None:
    pixels = tiny_model.random_pixels(pictures)
    entry, features = litert.output_ranges(tiny_model.artefact(), pixels, threads=1)
    prepared = network.preprocess(pixels)
    assert entry == (prepared.min(), prepared.max())
    expected = tiny_model.by_hand(pixels)
    np.testing.assert_allclose(features, (expected.min(), expected.max()), rtol=1e-4)


def test_ranges_do_not_depend_on_the_threads() -> None:
    pixels = tiny_model.random_pixels(20)
    one, two = (litert.output_ranges(tiny_model.artefact(), pixels, threads) for threads in (1, 2))
    np.testing.assert_allclose(one, two, rtol=1e-5)


SIZE, CHANNELS = tiny_model.SIZE, 4
SHAPE = (tiny_model.BATCH, SIZE, SIZE, 3)


def write_sum(graph: Graph) -> int:
    """A small and a large convolution, added: a runtime may write the sum into the place of its first operand."""
    small, large = (
        graph.convolve(graph.entry, np.full((1, 1, 3, CHANNELS), weight, np.float32), np.zeros(CHANNELS, np.float32))
        for weight in (0.01, 1)
    )
    return graph.average(graph.add(small, large, relu=True))


def test_operand_of_a_sum_has_a_range_of_its_own() -> None:
    pixels = tiny_model.random_pixels(8)
    artefact = int8.compile_network(write_sum, SHAPE, pixels, threads=1)
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


def write_bottleneck(graph: Graph) -> int:
    """Every operation, with channels of very different weights: one of zeros, and one that is all bias."""
    rng = np.random.default_rng(3)
    kernel = rng.normal(0, 0.1, (3, 3, 3, 8)).astype(np.float32) * np.geomspace(1, 1e-3, 8, dtype=np.float32)
    bias = rng.normal(0, 20, 8).astype(np.float32)
    kernel[..., 1] = bias[1] = 0
    kernel[..., 2] = 1e-12
    bias[2] = 50
    tensor = graph.max_pool(graph.pad(graph.entry, 2), side=3, stride=2)
    first = graph.convolve(tensor, kernel, bias, relu=True)
    second = graph.convolve(tensor, -kernel[::-1], bias)
    return graph.average(graph.add(first, second, relu=True))


def features(artefact: bytes, engine: str) -> NDArray[np.float32]:
    return runtime.load(engine, artefact).embed(tiny_model.random_pixels(8))


@pytest.mark.parametrize("engine", ["litert", "openvino"])
def test_every_operation_gives_in_int8_about_what_it_gives_in_float32(engine: str) -> None:
    float32 = features(tflite.compile_network(write_bottleneck, SHAPE), engine)
    quantized = int8.compile_network(write_bottleneck, SHAPE, tiny_model.random_pixels(8), threads=1)
    steps = 2 * float32.max() / 255
    assert float32[:, 2].min() > 90  # twice its bias
    np.testing.assert_allclose(features(quantized, engine), float32, atol=steps)


def test_calibration_on_nothing_but_one_colour_gives_numbers() -> None:
    """Ranges of a single value: that of the input is zero where the colour is the mean."""
    graph = int8.Int8Graph(SHAPE, [(0.0, 0.0)])
    artefact = graph.packed([graph.average(graph.entry)])
    np.testing.assert_array_equal(np.isfinite(features(artefact, "litert")), True)


def write_overflow(graph: Graph) -> int:
    """A value that float32 has no number for."""
    tensor = graph.convolve(graph.entry, np.full((1, 1, 3, 1), 1e30, np.float32), np.zeros(1, np.float32))
    return graph.average(graph.convolve(tensor, np.full((1, 1, 1, 1), 1e30, np.float32), np.zeros(1, np.float32)))


def test_network_whose_values_overflow_is_refused() -> None:
    with pytest.raises(ModelError, match=r"^model\.weights: .* too large for float32; take other weights$"):
        int8.compile_network(write_overflow, SHAPE, tiny_model.random_pixels(8), threads=1)
