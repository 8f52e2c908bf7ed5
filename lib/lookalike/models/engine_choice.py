"""Choose the engine of a new model, `model.engine: auto`: the faster one on this machine, OpenVINO or LiteRT."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass, field

import numpy as np

from lookalike.errors import ModelError
from lookalike.models import runtime
from lookalike.models.runtime import Engine
from lookalike.progress import say_detail

# For both engines together, at the least ROUNDS calls of each: a float32 batch of 224 px takes half a second.
SECONDS = 1.0
ROUNDS = 4


@dataclass(frozen=True)
class EngineChoice:
    """The engine of a model, and the pictures a second of one thread that decided; {} where nothing was measured."""

    engine: str
    speeds: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        measured = ", ".join(f"{name} {speed:.0f}" for name, speed in self.speeds.items())
        return f"{self.engine} ({measured} pictures/s on one thread)" if measured else self.engine


def choose(setting: str, artefact: bytes) -> EngineChoice:
    """Return the engine that `setting` names; of `auto`, OpenVINO on x86 where it is at least as fast as LiteRT.

    An OpenVINO that cannot be imported counts as missing.
    """
    if setting != "auto":
        return EngineChoice(setting)
    if platform.machine() not in ("x86_64", "AMD64") or not runtime.is_installed("openvino"):
        return EngineChoice("litert")
    litert = runtime.load("litert", artefact)
    try:
        openvino = runtime.load("openvino", artefact)
    except ModelError as error:
        say_detail(str(error))
        return EngineChoice("litert")
    speeds = _measure({"litert": litert, "openvino": openvino})
    return EngineChoice("openvino" if speeds["openvino"] >= speeds["litert"] else "litert", speeds)


def _measure(engines: dict[str, Engine]) -> dict[str, float]:
    """Return the pictures a second of each engine, by its fastest call; they take turns, for both to meet one load."""
    best = dict.fromkeys(engines, float("inf"))
    end, rounds = time.monotonic() + SECONDS, 0
    while rounds < ROUNDS or time.monotonic() < end:
        for name, engine in engines.items():
            best[name] = min(best[name], _seconds(engine))
        rounds += 1
    return {name: round(engines[name].batch_size / seconds, 1) for name, seconds in best.items()}


def _seconds(engine: Engine) -> float:
    shape = (engine.batch_size, engine.input_size, engine.input_size, 3)
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    # Of the processor: beside a busy Spark, seconds by the clock were the same for an engine of twice the speed.
    started = time.process_time()
    engine.embed(pixels)
    return time.process_time() - started
