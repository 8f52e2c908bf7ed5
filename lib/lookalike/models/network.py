"""The network: what goes in, what comes out, and the id of its vectors. Engines and compiler take all of it from here.

Another network changes this module, the one that writes it (resnet50.py), and compile.py, which calls that one.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike import config
from lookalike.images.picture import pixel_recipe

NAME = "resnet50"

# Average-pooled features of the last block
DIMENSIONS = 2048

# Keras's resnet50.preprocess_input, mode "caffe": the colours in this order, each less its mean over ImageNet.
COLOURS = "BGR"
MEANS = np.array([103.939, 116.779, 123.68], dtype=np.float32)

# Change it when other arithmetic lies between a file and the network's input: here, or in lookalike.images.
VERSION = 4


@dataclass(frozen=True)
class Fidelity:
    """How near the int8 vectors are to those of float32, on pictures that calibration has not seen."""

    pictures: int
    mean_cosine: float
    p1_cosine: float
    top10_overlap: float


@dataclass(frozen=True)
class CompiledModel:
    """The compiled network (`artefact`, a .tflite file) and the identity of the vectors that it gives."""

    artefact: bytes
    model_id: str
    weights: str
    precision: str
    engine: str
    input_size: int
    preprocessing: str
    pictures: int  # that int8 was calibrated and checked with
    fidelity: Fidelity | None
    compiled: bool  # in this run; otherwise it was found in the warehouse
    engine_speeds: dict[str, float] = field(default_factory=dict)  # pictures/s; {} where the settings named the engine

    def record(self) -> dict[str, Any]:
        """Return all but the bytes, for release.json."""
        return {name: value for name, value in asdict(self).items() if name != "artefact"}


def input_size(settings: config.ModelSettings) -> int:
    """Return the side of the square input in pixels: Keras's 224, or the 112 that the bundled weights were made for."""
    return settings.input_size or (112 if settings.weights == "bundled" else 224)


def preprocessing(images: config.ImageSettings) -> str:
    """Return the name of all that happens between a file and the network's input; it is a part of the model id."""
    return f"{pixel_recipe(images)}/caffe-{COLOURS.lower()}/{VERSION}"


def write_input(pixels: NDArray[np.uint8], target: NDArray[np.float32]) -> None:
    """Write RGB pixels [n, size, size, 3] into the first n pictures of `target`, as the network takes them."""
    # Channel by channel: 0.2 ms a picture of 224 px, against 0.56 for one call over the reversed last axis.
    for channel, (colour, mean) in enumerate(zip(COLOURS, MEANS, strict=True)):
        np.subtract(pixels[..., "RGB".index(colour)], mean, out=target[: len(pixels), ..., channel])


def preprocess(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return RGB pixels [n, size, size, 3] as the network takes them."""
    target = np.empty(pixels.shape, dtype=np.float32)
    write_input(pixels, target)
    return target


def model_id(artefact: bytes, size: int, engine: str, prepared: str) -> str:
    """Return the id of the vectors that come of an artefact, an input size, an engine and a preprocessing.

    Two runs with the same id give the same vectors.
    """
    recipe = f"{prepared}/{size}/{engine}/".encode()
    return hashlib.sha256(recipe + artefact).hexdigest()[:16]
