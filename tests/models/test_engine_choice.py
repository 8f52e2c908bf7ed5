"""`model.engine: auto`: the faster engine on x86, chosen once, and kept for every later night and driver."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import platform
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lookalike import config
from lookalike.errors import ModelError
from lookalike.models import engine_choice, network, runtime, weights_file
from lookalike.models import store as model_store
from lookalike.models.compile import find_or_compile, recipe_name
from lookalike.models.engine_choice import EngineChoice, choose
from lookalike.models.network import CompiledModel
from lookalike.models.runtime import Engine
from support import tiny_model

AUTO = config.ModelSettings(weights="bundled", precision="float32", input_size=32)


class Clock:
    """Time that passes only where an engine works."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    process_time = monotonic


class TimedEngine(Engine):
    """An engine whose calls take the given seconds, one after the other."""

    batch_size, input_size, dimensions = 8, 32, 1

    def __init__(self, clock: Clock, seconds: list[float]) -> None:
        self.clock, self.seconds = clock, itertools.cycle(seconds)

    def _embed_batch(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.clock.now += next(self.seconds)
        return np.zeros((len(batch), 1), dtype=np.float32)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """The seconds of each engine's calls on an x86 machine with both of them; a test may change them."""
    clock, seconds = Clock(), {"litert": [0.2], "openvino": [0.1]}
    monkeypatch.setattr(engine_choice, "time", clock)
    monkeypatch.setattr(runtime, "load", lambda name, artefact: TimedEngine(clock, seconds[name]))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    return seconds


@pytest.mark.parametrize(
    ("litert", "openvino", "chosen"),
    [
        ([0.2], [0.1], "openvino"),
        ([0.1], [0.1], "openvino"),
        ([0.1], [0.101], "litert"),
        ([0.2], [9.0, 0.1], "openvino"),  # its first call, or one that another process disturbed, does not count
        ([9.0, 9.0, 0.1], [0.2], "litert"),  # slow calls: each engine has three at the least
    ],
)
def test_faster_engine_is_chosen_by_its_fastest_call(
    timed: dict[str, list[float]], litert: list[float], openvino: list[float], chosen: str
) -> None:
    timed.update(litert=litert, openvino=openvino)
    choice = choose("auto", b"")
    assert choice.engine == chosen
    assert choice.speeds == {name: round(8 / min(seconds), 1) for name, seconds in timed.items()}


@pytest.mark.parametrize("setting", ["litert", "openvino"])
def test_named_engine_is_not_measured(timed: dict[str, list[float]], setting: str) -> None:
    timed.clear()
    assert (choose(setting, b"").engine, choose(setting, b"").speeds) == (setting, {})


@pytest.mark.parametrize(("machine", "installed"), [("arm64", True), ("aarch64", True), ("x86_64", False)])
def test_litert_runs_on_arm_and_where_openvino_is_missing(
    timed: dict[str, list[float]], monkeypatch: pytest.MonkeyPatch, machine: str, installed: bool
) -> None:
    timed.clear()
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if installed else None)
    assert (choose("auto", b"").engine, choose("auto", b"").speeds) == ("litert", {})


@pytest.mark.parametrize("error", [ImportError("no libopenvino.so"), OSError("bad header"), RuntimeError("its ABI")])
def test_litert_runs_where_openvino_cannot_be_imported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    (tmp_path / "openvino").mkdir()
    (tmp_path / "openvino" / "__init__.py").write_text(f"raise {error!r}")
    monkeypatch.syspath_prepend(str(tmp_path))
    for module in [name for name in sys.modules if name.partition(".")[0] == "openvino"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, "lookalike.models.openvino", raising=False)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert choose("auto", tiny_model.artefact()) == EngineChoice("litert")
    with pytest.raises(ModelError, match=f"openvino cannot be imported .{error}."):
        runtime.load("openvino", b"")


def test_both_engines_are_measured_indeed() -> None:
    speeds = engine_choice.choose("auto", tiny_model.artefact()).speeds
    assert set(speeds) in (set(), {"litert", "openvino"})  # on ARM nothing is measured
    assert all(speed > 0 for speed in speeds.values())


def kept(folder: Path, engine: str) -> CompiledModel:
    """A model that `auto` has compiled on another machine, in the folder of models."""
    artefact, prepared = tiny_model.artefact(), network.preprocessing(config.ImageSettings())
    made = CompiledModel(
        artefact=artefact,
        model_id=network.model_id(artefact, 32, engine, prepared),
        weights="bundled",
        precision="float32",
        engine=engine,
        input_size=32,
        preprocessing=prepared,
        pictures=0,
        fidelity=None,
        compiled=True,
        engine_speeds={"litert": 50.0, "openvino": 50.1},
    )
    model_store.write(made, folder / f"{recipe_name(AUTO, weights_file.digest(weights_file.BUNDLED))}.json")
    return dataclasses.replace(made, compiled=False)


def never(wanted: int) -> NDArray[np.uint8]:
    raise AssertionError(f"asked for {wanted} pictures")


@pytest.mark.parametrize("engine", ["litert", "openvino"])
@pytest.mark.parametrize("machine", ["x86_64", "arm64"])
def test_model_keeps_its_engine_on_any_night_and_driver(
    timed: dict[str, list[float]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: str, machine: str
) -> None:
    made = kept(tmp_path, engine)
    timed[engine] = [5.0]  # the other one would be faster now
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert find_or_compile(AUTO, tmp_path, never) == made


def test_driver_without_the_engine_of_its_model_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept(tmp_path, "openvino")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ModelError, match=r"model.engine: openvino is not installed on .*pip install openvino"
    ) as raised:
        find_or_compile(AUTO, tmp_path, never)
    assert "\n" not in str(raised.value)
