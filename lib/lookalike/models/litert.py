"""The first engine, LiteRT: a quarter of TensorFlow's memory, and imported in a hundredth of the time."""

from __future__ import annotations

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from lookalike.models import network
from lookalike.models.runtime import Engine

# The least and the greatest value of a tensor
Range = tuple[float, float]


class LiteRtEngine(Engine):
    """One interpreter."""

    def __init__(self, artefact: bytes, threads: int = 1) -> None:
        self._interpreter = Interpreter(model_content=artefact, num_threads=threads)
        self._interpreter.allocate_tensors()
        (entry,) = self._interpreter.get_input_details()
        (result,) = self._interpreter.get_output_details()
        self.batch_size, self.input_size = int(entry["shape"][0]), int(entry["shape"][1])
        self.dimensions = int(result["shape"][1])
        self._entry, self._result = entry["index"], result["index"]

    def _embed_batch(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        # The view must not outlive this statement: the interpreter refuses to run while one is held.
        network.write_input(batch, self._interpreter.tensor(self._entry)())
        self._interpreter.invoke()
        features: NDArray[np.float32] = self._interpreter.get_tensor(self._result)[: len(batch)]
        return features


def output_ranges(artefact: bytes, pixels: NDArray[np.uint8], threads: int) -> list[Range]:
    """Return the range of the input, and of each output, of a network over RGB pixels [n, size, size, 3], n > 0."""
    interpreter = Interpreter(model_content=artefact, num_threads=threads)
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    tensors = [entry["index"], *(output["index"] for output in interpreter.get_output_details())]
    size = int(entry["shape"][0])
    least, greatest = np.full(len(tensors), np.inf), np.full(len(tensors), -np.inf)
    for start in range(0, len(pixels), size):
        # The last batch is filled up with the first pictures.
        batch = pixels[np.arange(start, start + size) % len(pixels)]
        network.write_input(batch, interpreter.tensor(entry["index"])())
        interpreter.invoke()
        # Views, not copies; none may be held when the interpreter runs again.
        least = np.minimum(least, [interpreter.tensor(tensor)().min() for tensor in tensors])
        greatest = np.maximum(greatest, [interpreter.tensor(tensor)().max() for tensor in tensors])
    return list(zip(least.tolist(), greatest.tolist(), strict=True))
