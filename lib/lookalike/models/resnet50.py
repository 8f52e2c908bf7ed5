"""ResNet50 without its top, as Keras defines it: the arrays of its weights, and its operations."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lookalike.models.tflite import Graph

# Pictures a call, int8 at 224 px on one core (AVX-512 VNNI): 72 for 1, 80 for 4, 81 for 8, 76 for 16.
BATCH_SIZE = 8

# Of each stage: the channels inside a block, the blocks, and the stride of the first one
_STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))

# What a block gives over what it has inside
_EXPANSION = 4

# Keras's own, of each batch normalization
_EPSILON = np.float32(1.001e-5)

Array = NDArray[np.float32]

# Kernel [side, side, channels, filters], and bias [filters]
Layer = tuple[Array, Array]


def shapes() -> Iterator[tuple[int, ...]]:
    """Yield the shape of each array of the weights, in the order of Keras's `get_weights()`."""
    yield from (*_convolution(7, 3, 64), *_normalization(64))
    entry = 64
    for inside, blocks, _ in _STAGES:
        outside = inside * _EXPANSION
        for block in range(blocks):
            yield from (*_convolution(1, entry, inside), *_normalization(inside))
            yield from (*_convolution(3, inside, inside), *_normalization(inside))
            if block == 0:
                yield from (*_convolution(1, entry, outside), *_convolution(1, inside, outside))
                yield from (*_normalization(outside), *_normalization(outside))
            else:
                yield from (*_convolution(1, inside, outside), *_normalization(outside))
            entry = outside


def fold(arrays: Sequence[Array]) -> Iterator[Layer]:
    """Yield the convolutions in Keras's order, each with the batch normalization that follows it folded into it.

    The first block of a stage has two convolutions before the normalizations of both.
    """
    rest, convolutions = iter(arrays), deque[Layer]()
    for array in rest:
        if array.ndim == 4:
            convolutions.append((array, next(rest)))
            continue
        scale, shift, mean, variance = array, next(rest), next(rest), next(rest)
        kernel, bias = convolutions.popleft()
        factor = scale / np.sqrt(variance + _EPSILON)
        yield kernel * factor, shift + (bias - mean) * factor


def write(graph: Graph, layers: Iterable[Layer]) -> int:
    """Append ResNet50 with its folded `layers` to a graph, and return the tensor of its features."""
    rest = iter(layers)
    tensor = graph.convolve(graph.pad(graph.entry, 3), *next(rest), stride=2, relu=True)
    tensor = graph.max_pool(graph.pad(tensor, 1), side=3, stride=2)
    for _, blocks, stride in _STAGES:
        tensor = _write_block(graph, tensor, rest, stride)
        for _ in range(1, blocks):
            tensor = _write_block(graph, tensor, rest)
    return graph.average(tensor)


def _write_block(graph: Graph, entry: int, layers: Iterator[Layer], stride: int | None = None) -> int:
    """Append three convolutions around which the entry is added; one with a stride has a convolution there too."""
    tensor = graph.convolve(entry, *next(layers), stride=stride or 1, relu=True)
    tensor = graph.convolve(tensor, *next(layers), relu=True)
    shortcut = graph.convolve(entry, *next(layers), stride=stride) if stride else entry
    return graph.add(shortcut, graph.convolve(tensor, *next(layers)), relu=True)


def _convolution(side: int, channels: int, filters: int) -> list[tuple[int, ...]]:
    return [(side, side, channels, filters), (filters,)]


def _normalization(channels: int) -> list[tuple[int, ...]]:
    return [(channels,)] * 4
