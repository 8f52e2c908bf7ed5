"""The engine without Spark, one process a core: pictures decoded beforehand, so the network alone is timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import contender
import numpy as np
import pictures

from lookalike.models import runtime
from lookalike.models.runtime import Engine

Work = Callable[[], int]  # gives the number of pictures it has done
Ready = Callable[[contender.Task, list[Path], Engine], Work]  # whatever is not to be timed, and then the work


def in_memory(_task: contender.Task, files: list[Path], engine: Engine) -> Work:
    """Decoded pictures -> features."""
    pixels = pictures.pixels(files, engine.input_size)
    return lambda: len(engine.embed(pixels))


def measure(task: contender.Task, ready: Ready = in_memory) -> dict:
    context = get_context("spawn")  # as on a cluster: nothing inherited
    files = pictures.paths(Path(task.catalogue))
    together, answers = context.Barrier(task.cores), context.SimpleQueue()
    workers = [
        context.Process(target=_run, args=(task, ready, files[core :: task.cores], together, answers))
        for core in range(task.cores)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0, f"a process ended with {worker.exitcode}"
    spans = [answers.get() for _ in workers]
    done = sum(count for count, _, _ in spans)
    assert done == task.pictures, f"{done} of {task.pictures} pictures"
    seconds = max(end for _, _, end in spans) - min(start for _, start, _ in spans)
    return {"steady_seconds": round(seconds, 2), "steady": round(done / seconds, 2)}


def _run(task: contender.Task, ready: Ready, files: list[Path], together: Barrier, answers: SimpleQueue) -> None:
    engine = runtime.load(task.engine, task.artefact.read_bytes())
    engine.embed(np.zeros((1, engine.input_size, engine.input_size, 3), np.uint8))  # the first call sets up kernels
    work = ready(task, files, engine)
    together.wait(timeout=600)
    start = time.monotonic()  # one clock for all processes of the machine
    count = work()
    answers.put((count, start, time.monotonic()))


if __name__ == "__main__":
    contender.main(measure)
