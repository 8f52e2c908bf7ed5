"""A compiled model artefact -> embed(batch), inside a Python worker. No Spark, no TensorFlow.

LiteRT runs the `.tflite` in a quarter of TensorFlow's memory and imports in a hundredth of the time.
"""

from __future__ import annotations

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from lookalike.models import silence

# Keras's resnet50.preprocess_input, mode "caffe": RGB -> BGR, minus these means of ImageNet, no scaling.
BGR_MEANS = np.array([103.939, 116.779, 123.68], dtype=np.float32)


class Engine:
    """One interpreter with one thread: Spark already runs one Python worker a core."""

    def __init__(self, artefact: bytes) -> None:
        with silence.native_output():
            self._interpreter = Interpreter(model_content=artefact, num_threads=1)
            self._interpreter.allocate_tensors()
        (entry,) = self._interpreter.get_input_details()
        (result,) = self._interpreter.get_output_details()
        self.batch_size, self.input_size = int(entry["shape"][0]), int(entry["shape"][1])
        self.dimensions = int(result["shape"][1])
        self._entry, self._result = entry["index"], result["index"]

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """RGB pixels uint8 [n, size, size, 3], any n -> pooled features float32 [n, dimensions], not scaled."""
        features = np.empty((len(pixels), self.dimensions), dtype=np.float32)
        for start in range(0, len(pixels), self.batch_size):
            batch = pixels[start : start + self.batch_size]
            features[start : start + len(batch)] = self._invoke(batch)
        return features

    def _invoke(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Up to `batch_size` pictures; a short batch leaves old pixels behind it, and their results are cut off.

        The shape never changes: resizing the input would recompile the graph.
        """
        # The view must not outlive this method: the interpreter refuses to run while one is held.
        entry = self._interpreter.tensor(self._entry)()
        # Channel by channel: 0.2 ms a picture of 224 px, against 0.56 for one call over the reversed last axis.
        for channel, mean in enumerate(BGR_MEANS):
            np.subtract(batch[..., 2 - channel], mean, out=entry[: len(batch), ..., channel])
        del entry
        self._interpreter.invoke()
        features: NDArray[np.float32] = self._interpreter.get_tensor(self._result)[: len(batch)]
        return features
