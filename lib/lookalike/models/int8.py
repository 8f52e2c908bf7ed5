"""Compile a network in int8: measure the ranges of its tensors in float32, and write it with a scale for each.

By LiteRT's rules: activations get one scale a tensor and a zero point, weights one scale a channel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import ModelError
from lookalike.models.litert import Range, output_ranges
from lookalike.models.tflite import Graph, Write, quantization

_LEAST, _GREATEST = -128, 127

# Biases are int32, and the sum of products that they are added to is too.
_GREATEST_BIAS = 2.0**30


def compile_network(write: Write, shape: Sequence[int], calibration: NDArray[np.uint8], threads: int) -> bytes:
    """Return the `.tflite` of the network that `write` appends, in int8 between a float32 input and output.

    `calibration` is RGB uint8 [n, size, size, 3], n > 0; no tensor can hold more than its range on these.
    """
    float32 = Graph(shape)
    write(float32)
    ranges = output_ranges(float32.packed(float32.measured[1:]), calibration, threads)
    if not np.isfinite(ranges).all():
        raise ModelError(
            "model.weights: with them the network's values on the catalogue's pictures are too large for float32; take "
            "other weights"
        )
    graph = Int8Graph(shape, ranges)
    return graph.packed([write(graph)])


class Int8Graph(Graph):
    """A network in int8, for the ranges of the `measured` tensors of the same one in float32.

    The average is float32: with it the mean cosine to float32 is 0.99952, with int8 means it was 0.99946.
    """

    def __init__(self, shape: Sequence[int], ranges: Iterable[Range]) -> None:
        self._ranges = iter(ranges)
        super().__init__(shape)

    def _add_input(self, shape: Sequence[int]) -> int:
        return self._append("QUANTIZE", [self._add_tensor(shape, "float32")], self._add_measured(shape))

    def _add_measured(self, shape: Sequence[int]) -> int:
        least, greatest = next(self._ranges)
        least, greatest = min(least, 0.0), max(greatest, 0.0)  # zero is a whole number: margins and cuts are exact
        scale = np.float32((greatest - least) / (_GREATEST - _LEAST)) or np.float32(1)
        zero = _LEAST - round(least / float(scale))
        return self._add_tensor(shape, "int8", quantization(np.array([scale]), np.array([zero])))

    def _add_like(self, tensor: int, shape: Sequence[int]) -> int:
        return self._add_tensor(shape, "int8", self._tensors[tensor].quantization)

    def _add_weights(self, tensor: int, kernel: NDArray[np.float32], bias: NDArray[np.float32]) -> tuple[int, int]:
        scale = self._tensors[tensor].quantization.scale
        # A channel of tiny weights with a large bias gets a larger scale, for the bias to fit.
        scales = np.maximum(np.abs(kernel).max(axis=(0, 1, 2)) / _GREATEST, np.abs(bias) / (scale * _GREATEST_BIAS))
        scales = np.where(scales > 0, scales, 1).astype(np.float32)
        levels = np.rint(kernel / scales).astype(np.int8).transpose(3, 0, 1, 2)
        biases = np.rint(bias / (scale * scales)).astype(np.int32)
        zeros = np.zeros(len(biases), dtype=np.int64)
        return (
            self._add_constant(levels, quantization(scales, zeros)),
            self._add_constant(biases, quantization(scale * scales, zeros)),
        )

    def _as_float32(self, tensor: int) -> int:
        return self._append("DEQUANTIZE", [tensor], self._add_tensor(self._shape(tensor), "float32"))
