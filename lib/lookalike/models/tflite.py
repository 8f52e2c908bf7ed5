"""Write a network as a `.tflite` file, which both engines read, by the schema that LiteRT ships: without TensorFlow.

What an operation takes, in float32 and in int8: https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from numpy.typing import NDArray

# Each operation with its version: the first that LiteRT has for both float32 and int8, one scale a channel.
_OPERATIONS = {"QUANTIZE": 1, "PAD": 2, "CONV_2D": 3, "MAX_POOL_2D": 2, "ADD": 2, "MEAN": 2, "DEQUANTIZE": 2}

# Versions of the schema are all 3.
_SCHEMA = 3

_TYPES = {"float32": schema.TensorType.FLOAT32, "int32": schema.TensorType.INT32, "int8": schema.TensorType.INT8}


class Graph:
    """A float32 network: each method appends an operation and returns the number of its output tensor.

    Tensors of pictures are [batch, height, width, channels].
    """

    def __init__(self, shape: Sequence[int]) -> None:
        # Tensors that have a range of their own, in the order of the operations; all others take over their input's.
        self.measured: list[int] = []
        self._tensors: list[schema.TensorT] = []
        self._buffers = [schema.BufferT()]  # the first one is empty, for the tensors that are no constants
        self._operators: list[schema.OperatorT] = []
        self.entry = self._add_input(shape)

    def pad(self, tensor: int, margin: int) -> int:
        """Append a margin of zeros around each picture."""
        batch, height, width, channels = self._shape(tensor)
        margins = self._add_constant(np.array([[0, 0], [margin] * 2, [margin] * 2, [0, 0]], dtype=np.int32))
        padded = self._add_like(tensor, [batch, height + 2 * margin, width + 2 * margin, channels])
        return self._append("PAD", [tensor, margins], padded, schema.PadOptionsT())

    def convolve(
        self,
        tensor: int,
        kernel: NDArray[np.float32],
        bias: NDArray[np.float32],
        *,
        stride: int = 1,
        relu: bool = False,
    ) -> int:
        """Append a convolution by `kernel`, [side, side, channels, filters]; with stride 1 pictures keep their size."""
        keeps = stride == 1
        options = schema.Conv2DOptionsT(
            padding=schema.Padding.SAME if keeps else schema.Padding.VALID,
            strideW=stride,
            strideH=stride,
            fusedActivationFunction=_activation(relu),
        )
        shape = self._windows(tensor, 1 if keeps else len(kernel), stride)
        inputs = [tensor, *self._add_weights(tensor, kernel, bias)]
        return self._append("CONV_2D", inputs, self._add_measured([*shape[:3], len(bias)]), options)

    def max_pool(self, tensor: int, side: int, stride: int) -> int:
        """Append the maximum of each window of `side` x `side`."""
        options = schema.Pool2DOptionsT(
            padding=schema.Padding.VALID, strideW=stride, strideH=stride, filterWidth=side, filterHeight=side
        )
        return self._append(
            "MAX_POOL_2D", [tensor], self._add_like(tensor, self._windows(tensor, side, stride)), options
        )

    def add(self, left: int, right: int, *, relu: bool = False) -> int:
        """Append the sum of two tensors of one shape."""
        options = schema.AddOptionsT(fusedActivationFunction=_activation(relu))
        return self._append("ADD", [left, right], self._add_measured(self._shape(left)), options)

    def average(self, tensor: int) -> int:
        """Append the mean of each channel of a picture, float32 [batch, channels]."""
        axes = self._add_constant(np.array([1, 2], dtype=np.int32))
        batch, _, _, channels = self._shape(tensor)
        means = self._add_tensor([batch, channels], "float32")
        return self._append("MEAN", [self._as_float32(tensor), axes], means, schema.ReducerOptionsT())

    def packed(self, outputs: Sequence[int]) -> bytes:
        """Return the `.tflite` file of a network with these output tensors."""
        graph = schema.SubGraphT(self._tensors, [0], list(outputs), self._operators)
        codes = [_operator_code(name) for name in _OPERATIONS]
        network = schema.ModelT(_SCHEMA, codes, [graph], buffers=self._buffers)
        return bytes(flatbuffer_utils.convert_object_to_bytearray(network))

    def _add_input(self, shape: Sequence[int]) -> int:
        """Add the input, tensor 0, and return the tensor with which the network begins."""
        return self._add_measured(shape)

    def _add_measured(self, shape: Sequence[int]) -> int:
        """Add a tensor with a range of its own."""
        self.measured.append(self._add_tensor(shape, "float32"))
        return self.measured[-1]

    def _add_like(self, tensor: int, shape: Sequence[int]) -> int:
        """Add a tensor with the numbers of another one, in another shape."""
        return self._add_tensor(shape, "float32")

    def _add_weights(self, tensor: int, kernel: NDArray[np.float32], bias: NDArray[np.float32]) -> tuple[int, int]:
        """Add the constants of a convolution of `tensor`: LiteRT takes [filters, side, side, channels]."""
        return self._add_constant(kernel.transpose(3, 0, 1, 2)), self._add_constant(bias)

    def _as_float32(self, tensor: int) -> int:
        return tensor

    def _add_constant(self, values: NDArray[Any], quantization: schema.QuantizationParametersT | None = None) -> int:
        self._buffers.append(schema.BufferT(np.ascontiguousarray(values).reshape(-1).view(np.uint8)))
        tensor = self._add_tensor(values.shape, values.dtype.name, quantization)
        self._tensors[tensor].buffer = len(self._buffers) - 1
        return tensor

    def _add_tensor(
        self, shape: Sequence[int], kind: str, quantization: schema.QuantizationParametersT | None = None
    ) -> int:
        number = len(self._tensors)
        # OpenVINO tells tensors apart by their names.
        self._tensors.append(schema.TensorT(list(shape), _TYPES[kind], 0, f"tensor {number}", quantization))
        return number

    def _append(self, name: str, inputs: list[int], output: int, options: Any = None) -> int:
        operator = schema.OperatorT([*_OPERATIONS].index(name), inputs, [output])
        if options:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self._operators.append(operator)
        return output

    def _shape(self, tensor: int) -> list[int]:
        shape: list[int] = self._tensors[tensor].shape
        return shape

    def _windows(self, tensor: int, side: int, stride: int) -> list[int]:
        """Return the shape of a tensor with a number for each window that lies inside the picture."""
        batch, height, width, channels = self._shape(tensor)
        return [batch, (height - side) // stride + 1, (width - side) // stride + 1, channels]


# Appends a whole network to a graph and returns the number of its output tensor
Write = Callable[[Graph], int]


def compile_network(write: Write, shape: Sequence[int]) -> bytes:
    """Return the float32 `.tflite` of the network that `write` appends, for an input of this shape."""
    graph = Graph(shape)
    return graph.packed([write(graph)])


def quantization(scales: NDArray[np.float32], zeros: NDArray[np.int64]) -> schema.QuantizationParametersT:
    """Return the scale and zero point of a tensor, or of each of its channels, which lie on the first axis."""
    return schema.QuantizationParametersT(scale=scales, zeroPoint=zeros)


def _activation(relu: bool) -> int:
    kinds = schema.ActivationFunctionType
    return int(kinds.RELU if relu else kinds.NONE)


def _operator_code(name: str) -> schema.OperatorCodeT:
    code = getattr(schema.BuiltinOperator, name)
    return schema.OperatorCodeT(deprecatedBuiltinCode=code, builtinCode=code, version=_OPERATIONS[name])
