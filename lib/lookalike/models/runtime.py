"""Choose the engine that runs the artefact: LiteRT, or OpenVINO where it is installed. No Spark, no TensorFlow."""

from __future__ import annotations

import importlib.util

from lookalike.errors import ModelError
from lookalike.models.litert import Engine


def check(name: str) -> None:
    """Raises ModelError when the engine `name` is not installed here."""
    if name == "openvino" and importlib.util.find_spec("openvino") is None:
        raise ModelError(
            "model.engine: openvino is not installed; pip install 'lookalike[openvino]' on the driver and the "
            "executors, or set model.engine to litert"
        )


def load(name: str, artefact: bytes) -> Engine:
    """The engine `name` over a `.tflite`; the one that is not asked for is not imported."""
    if name == "openvino":
        from lookalike.models.openvino import OpenVinoEngine

        return OpenVinoEngine(artefact)
    return Engine(artefact)
