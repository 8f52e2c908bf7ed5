"""The second engine: the same artefact through OpenVINO, for CPUs whose matrix units (AMX) LiteRT leaves idle.

`pip install lookalike[openvino]` on the driver and the executors, and `model.engine: openvino`.
"""

from __future__ import annotations

import tempfile

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino.preprocess import PrePostProcessor

from lookalike.models.litert import BGR_MEANS, Engine


class OpenVinoEngine(Engine):
    """One compiled model with one thread and one stream; Keras's preprocessing is part of its graph."""

    def __init__(self, artefact: bytes) -> None:
        core = openvino.Core()
        with tempfile.NamedTemporaryFile(suffix=".tflite") as file:  # its reader takes no bytes of this format
            file.write(artefact)
            file.flush()
            steps = PrePostProcessor(core.read_model(file.name))
        steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
        steps.input().model().set_layout(openvino.Layout("NHWC"))
        steps.input().preprocess().convert_element_type(openvino.Type.f32).reverse_channels().mean(BGR_MEANS.tolist())
        options = {
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            # Pinned, the threads of all workers of a machine would share its first core.
            "ENABLE_CPU_PINNING": False,
            # Where the CPU has bfloat16, OpenVINO would quietly use it for float32.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self._request = core.compile_model(steps.build(), "CPU", options).create_infer_request()
        shape = self._request.get_input_tensor().shape
        self.batch_size, self.input_size = int(shape[0]), int(shape[1])
        self.dimensions = int(self._request.get_output_tensor().shape[1])

    def _invoke(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._request.get_input_tensor().data[: len(batch)] = batch
        self._request.infer()
        features: NDArray[np.float32] = self._request.get_output_tensor().data[: len(batch)]
        return features
