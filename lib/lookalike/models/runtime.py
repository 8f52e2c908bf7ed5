"""Run a compiled model: what an engine is, and how the one of a model is loaded: LiteRT or OpenVINO."""

from __future__ import annotations

import importlib.util
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import ModelError
from lookalike.models import silence


class Engine(ABC):
    """A compiled model that one thread at a time can ask; in a worker it computes on one, as Spark runs one a core."""

    batch_size: int
    input_size: int
    dimensions: int

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the pooled features, float32 [n, dimensions], of RGB pixels [n, size, size, 3]; they are not scaled.

        `n` may be any number, also 0.
        """
        features = np.empty((len(pixels), self.dimensions), dtype=np.float32)
        for start in range(0, len(pixels), self.batch_size):
            batch = pixels[start : start + self.batch_size]
            features[start : start + len(batch)] = self._embed_batch(batch)
        return features

    @abstractmethod
    def _embed_batch(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the features of up to `batch_size` pictures.

        The shape of the input never changes: to resize it would compile the graph again. After a short batch it holds
        pictures of the batch before, whose features are cut off.
        """


# What an engine is installed as
_PACKAGES = {"litert": "ai_edge_litert", "openvino": "openvino"}


def is_installed(name: str) -> bool:
    """Return whether the engine `name` is installed here."""
    return importlib.util.find_spec(_PACKAGES[name]) is not None


def check(name: str) -> None:
    """Raise ModelError when the engine `name` is not installed here."""
    if not is_installed(name):
        raise _missing(name, "is not installed")


def _missing(name: str, why: str) -> ModelError:
    package, other = _PACKAGES[name].replace("_", "-"), "litert" if name == "openvino" else "openvino"
    return ModelError(
        f"model.engine: {name} {why} on {socket.gethostname()}; the driver and every executor need it: "
        f"pip install {package}, or set model.engine to {other}, with which everything is embedded again"
    )


def load(name: str, artefact: bytes, *, threads: int = 1, silent: bool = True) -> Engine:
    """Return the engine `name` over a `.tflite` artefact; the other one is not imported. Raise ModelError.

    `silent` redirects the process's output while the engine says hello. Not in a user's process: its other threads
    would lose what they print at that moment, and a child that is forked at that moment all of its output.
    """
    with silence.native_output() if silent else nullcontext():
        return _engine_class(name)(artefact, threads)


def _engine_class(name: str) -> Callable[[bytes, int], Engine]:
    try:
        if name == "openvino":
            from lookalike.models.openvino import OpenVinoEngine

            return OpenVinoEngine
        from lookalike.models.litert import LiteRtEngine

        return LiteRtEngine
    # It is not there, or a library of the system or numpy is missing or not made for it.
    except (ImportError, OSError, RuntimeError, AttributeError, TypeError, ValueError) as error:
        check(name)
        raise _missing(name, f"cannot be imported ({' '.join(str(error).split())})") from None
