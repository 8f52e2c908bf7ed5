"""A network small enough to compute by hand: six non-negative channels, averaged over the picture."""

from __future__ import annotations

from functools import cache

import numpy as np

from lookalike.models import resnet50, tflite
from lookalike.models.network import MEANS
from lookalike.models.tflite import Graph

BATCH, SIZE, DIMENSIONS = 8, 32, 6

# Blue, green and red to six channels; all positive, so that a black picture ends below zero and is cut to zeros.
KERNEL = np.random.default_rng(7).uniform(0.01, 1, (3, DIMENSIONS)).astype(np.float32)


@cache
def artefact() -> bytes:
    """The network as the library compiles it."""
    assert resnet50.BATCH_SIZE == BATCH
    return tflite.compile_network(_write, (BATCH, SIZE, SIZE, 3))


def _write(graph: Graph) -> int:
    bias = np.zeros(DIMENSIONS, dtype=np.float32)
    return graph.average(graph.convolve(graph.entry, KERNEL[None, None], bias, relu=True))


def by_hand(pixels: np.ndarray) -> np.ndarray:
    """What the network answers for RGB pixels [n, 32, 32, 3], in float64."""
    centred = pixels[..., ::-1].astype(np.float64) - MEANS
    return np.maximum(centred @ KERNEL, 0).mean(axis=(1, 2))


def random_pixels(count: int, seed: int = 1) -> np.ndarray:
    """Pictures of noise around a colour of their own."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 206, (count, 1, 1, 3))
    return (colours + rng.integers(0, 50, (count, SIZE, SIZE, 3))).astype(np.uint8)
