"""The second engine, OpenVINO: the same artefact, and the faster one on x86: 76 pictures/s a core against 45 (VNNI)."""

from __future__ import annotations

import ctypes
import tempfile

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino.preprocess import ColorFormat, PrePostProcessor

from lookalike import forks
from lookalike.models import network
from lookalike.models.runtime import Engine


def graph(core: openvino.Core, artefact: bytes) -> openvino.Model:
    """Return the network of a `.tflite` artefact with the preprocessing in front of it: it takes RGB uint8."""
    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:  # its reader takes no bytes of this format
        file.write(artefact)
        file.flush()
        steps = PrePostProcessor(core.read_model(file.name))
    entry = steps.input()
    entry.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    entry.tensor().set_color_format(ColorFormat.RGB)
    entry.model().set_layout(openvino.Layout("NHWC"))
    entry.preprocess().convert_element_type(openvino.Type.f32)
    entry.preprocess().convert_color(getattr(ColorFormat, network.COLOURS)).mean(network.MEANS.tolist())
    return steps.build()


class OpenVinoEngine(Engine):
    """One compiled model with one stream; the preprocessing is a part of its graph."""

    def __init__(self, artefact: bytes, threads: int = 1) -> None:
        core = openvino.Core()
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # Pinned, the threads of all workers of a machine would share its first core.
            "ENABLE_CPU_PINNING": False,
            # Where the CPU has bfloat16, OpenVINO would use it for float32 without saying so.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self._request = core.compile_model(graph(core, artefact), "CPU", options).create_infer_request()
        shape = self._request.get_input_tensor().shape
        self.batch_size, self.input_size = int(shape[0]), int(shape[1])
        self.dimensions = int(self._request.get_output_tensor().shape[1])
        forks.register(self)

    def drop_parents(self) -> None:
        """Keep the request for ever, in a forked child: to destroy it would wait for the parent's threads."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._request))

    def _embed_batch(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._request.get_input_tensor().data[: len(batch)] = batch
        self._request.infer()
        features: NDArray[np.float32] = self._request.get_output_tensor().data[: len(batch)]
        return features
