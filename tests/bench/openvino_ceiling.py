"""OpenVINO on the very same model file: how fast this CPU can go."""

from __future__ import annotations

import time
from pathlib import Path

import contender
import numpy as np
import openvino
import pictures
from numpy.typing import NDArray
from openvino import properties

from lookalike.models.openvino import graph


def compiled(task: contender.Task) -> openvino.CompiledModel:
    """The .tflite for throughput on all cores; it takes RGB uint8, as our engine does."""
    core = openvino.Core()
    return core.compile_model(
        graph(core, task.artefact.read_bytes()),
        "CPU",
        {
            properties.hint.performance_mode(): properties.hint.PerformanceMode.THROUGHPUT,
            properties.inference_num_threads(): task.cores,
            # Where the CPU has bfloat16, OpenVINO would use it for float32 too.
            properties.hint.inference_precision(): openvino.Type.f32,
        },
    )


def batches(pixels: NDArray[np.uint8], size: int) -> list[NDArray[np.uint8]]:
    """Cut pictures into batches of the shape of the network's input; pictures that fill up the last occur twice."""
    cut = [pixels[start : start + size] for start in range(0, len(pixels), size)]
    cut[-1] = np.resize(cut[-1], (size, *pixels.shape[1:]))
    return cut


def measure(task: contender.Task) -> dict:
    model = compiled(task)
    batch_size = model.input().shape[0]
    pixels = pictures.pixels(pictures.paths(Path(task.catalogue)), task.input_size)
    cut = batches(pixels, batch_size)
    features = np.empty((len(cut), *model.output().shape), np.float32)

    def keep(request: openvino.InferRequest, number: int) -> None:
        features[number] = request.get_output_tensor().data

    queue = openvino.AsyncInferQueue(model)
    queue.set_callback(keep)
    for number in range(min(len(cut), 2 * len(queue))):  # the first calls set up kernels
        queue.start_async(cut[number], number)
    queue.wait_all()
    start = time.perf_counter()
    for number, batch in enumerate(cut):
        queue.start_async(batch, number)
    queue.wait_all()
    seconds = time.perf_counter() - start
    assert np.isfinite(features).all()
    done = len(cut) * batch_size
    return {"steady_seconds": round(seconds, 2), "steady": round(done / seconds, 2), "streams": len(queue)}


if __name__ == "__main__":
    contender.main(measure)
