"""Make an int8 network of a compiled float32 one: measure the range of each tensor, and let TensorFlow quantize."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from tensorflow.lite.python import schema_py_generated as schema

# Private by name. The public converter measures the ranges itself: on one thread, in twice the processor time, and
# wrongly where a sum takes the place of its first operand (16 tensors of ResNet50; mean cosine of int8 on LiteRT to
# float32, 112 px: 0.9976, with the right ranges 0.9990).
from tensorflow.lite.python.convert import mlir_quantize
from tensorflow.lite.tools import flatbuffer_utils

from lookalike.models.litert import Range, output_ranges


def quantize(float32: bytes, calibration: NDArray[np.uint8], threads: int) -> bytes:
    """Return a float32 `.tflite` in int8 with float32 input and output, for the ranges of its tensors on `calibration`.

    `calibration` is RGB uint8 [n, size, size, 3]; activations get one scale a tensor, weights one a channel.
    """
    network = flatbuffer_utils.convert_bytearray_to_object(float32)
    graph = network.subgraphs[0]
    outputs = list(graph.outputs)
    graph.outputs = sorted({int(tensor) for operator in graph.operators for tensor in operator.outputs})
    ranges = output_ranges(_packed(network), calibration, threads)
    graph.outputs = outputs
    for tensor, values in ranges.items():
        graph.tensors[tensor].quantization = _quantization(values)
    quantized: bytes = mlir_quantize(_packed(network))
    return quantized


def _packed(network: schema.ModelT) -> bytes:
    return bytes(flatbuffer_utils.convert_object_to_bytearray(network))


def _quantization(values: Range) -> schema.QuantizationParametersT:
    parameters = schema.QuantizationParametersT()
    parameters.min, parameters.max = [values[0]], [values[1]]
    return parameters
