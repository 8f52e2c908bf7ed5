"""Find the model of the settings in the warehouse, or compile it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lookalike import config
from lookalike.errors import GateError, ModelError
from lookalike.models import engine_choice, network, resnet50, runtime, silence, weights_file
from lookalike.models import store as model_store
from lookalike.models.engine_choice import EngineChoice
from lookalike.models.network import CompiledModel, Fidelity
from lookalike.models.resnet50 import Layer
from lookalike.progress import say_detail
from lookalike.topk.exact import top_k_overlap
from lookalike.topk.items import unit_length

if TYPE_CHECKING:
    from lookalike.models.tflite import Write

# Change it when the models that warehouses keep must be compiled again. Then everything is embedded again.
COMPILER = "keras-resnet50/tflite/1"

# Up to this many pictures of the catalogue, uint8 [n, size, size, 3]
Sample = Callable[[int], NDArray[np.uint8]]

_IMAGES, _STORES = config.ImageSettings(), config.StoreSettings()


def find_or_compile(
    settings: config.ModelSettings,
    store: Path,
    sample: Sample,
    images: config.ImageSettings = _IMAGES,
    stores: config.StoreSettings = _STORES,
) -> CompiledModel:
    """Return the model of `settings` from the folder `store`, or compile it and write it there; raise ModelError.

    `sample` gives the pictures on which int8 is calibrated and its fidelity measured; it is called only when something
    must be compiled. `images` says how pictures are decoded.
    """
    with weights_file.local_file(settings, stores) as weights, ThreadPoolExecutor(1) as pool:
        record = store / f"{recipe_name(settings, weights_file.digest(weights), images)}.json"
        known = replace(model_store.read(record), weights=settings.weights) if record.is_file() else None
        engine = known.engine if known else settings.engine
        if engine != "auto":
            runtime.check(engine)
        wanted = _wanted(settings)
        if known and known.pictures >= wanted:
            return known
        if known:
            say_detail(
                f"int8 was calibrated and compared on {known.pictures:,} pictures of {wanted:,}: looking for more"
            )
        else:
            say_detail("the warehouse has no such model yet: it is compiled, once; about 10 s")
        layers = None if known else pool.submit(_read_layers, weights)  # while the executors read the sample
        try:
            pictures = sample(wanted) if wanted else _NO_PICTURES
        except ModelError:
            if known:  # calibrated on fewer pictures, which were enough
                return known
            raise
        # The first night's catalogue may have been too small, or out of reach: with more pictures it is compiled again.
        if known and len(pictures) <= known.pictures:
            return known
        if known:
            say_detail(f"the model is compiled again, with {len(pictures):,} pictures")
        model = _compile(settings, layers.result() if layers else _read_layers(weights), pictures, images)
    model_store.write(model, record)
    return model


def check_fidelity(model: CompiledModel, floor: float) -> None:
    """Raise GateError when the int8 vectors are too far from float32."""
    if model.fidelity and not model.fidelity.mean_cosine >= floor:  # a NaN is below any floor
        raise GateError(
            f"model.min_fidelity: mean cosine of int8 to float32 is {model.fidelity.mean_cosine:.4f} over "
            f"{model.fidelity.pictures} pictures, the floor is {floor}; set model.precision to float32, or raise "
            "model.calibration_pictures"
        )


def recipe_name(settings: config.ModelSettings, weights_digest: str, images: config.ImageSettings = _IMAGES) -> str:
    """Return a file name for all that decides the artefact, except the pictures that happened to calibrate it."""
    size = network.input_size(settings)
    recipe = [COMPILER, network.preprocessing(images), weights_digest, settings.precision, size, settings.engine]
    if settings.precision == "int8":
        recipe += [settings.calibration_pictures, settings.fidelity_pictures, settings.seed]
    key = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]
    return f"{network.NAME}-{settings.precision}-{size}-{key}"


_NO_PICTURES = np.empty((0, 0, 0, 3), dtype=np.uint8)


def _wanted(settings: config.ModelSettings) -> int:
    """Return how many pictures the compilation asks for."""
    return settings.calibration_pictures + settings.fidelity_pictures if settings.precision == "int8" else 0


def _read_layers(weights: Path | None) -> list[Layer]:
    with np.errstate(all="ignore"):
        layers = list(resnet50.fold(weights_file.read(weights)))
    if not all(np.isfinite(array).all() for layer in layers for array in layer):
        raise ModelError(
            f"model.weights: {weights or 'imagenet'} has a variance below zero, or weights too large for float32; take "
            "other weights"
        )
    return layers


def _compile(
    settings: config.ModelSettings, layers: list[Layer], pictures: NDArray[np.uint8], images: config.ImageSettings
) -> CompiledModel:
    size, prepared = network.input_size(settings), network.preprocessing(images)
    artefact, engine, fidelity = _in_precision(settings, partial(resnet50.write, layers=layers), pictures)
    return CompiledModel(
        artefact=artefact,
        model_id=network.model_id(artefact, size, engine.engine, prepared),
        weights=settings.weights,
        precision=settings.precision,
        engine=engine.engine,
        input_size=size,
        preprocessing=prepared,
        pictures=len(pictures),
        fidelity=fidelity,
        compiled=True,
        engine_speeds=engine.speeds,
    )


def _in_precision(
    settings: config.ModelSettings, write: Write, pictures: NDArray[np.uint8]
) -> tuple[bytes, EngineChoice, Fidelity | None]:
    """Return the artefact in the precision of the settings, its engine and, of int8 where it is known, its fidelity."""
    from lookalike.models import int8, tflite  # LiteRT's schema: 0.2 s, for the run that compiles

    size = network.input_size(settings)
    shape = resnet50.BATCH_SIZE, size, size, 3
    float32 = tflite.compile_network(write, shape)
    if settings.precision == "float32":
        return float32, _choose_engine(settings, float32), None
    if not len(pictures):
        raise ModelError(
            "model.precision: int8 is calibrated on the catalogue's own pictures and none of them could be "
            "decoded; check catalogue.image_root, or set model.precision to float32"
        )
    # A small catalogue is divided in the same proportion.
    cut = max(1, len(pictures) * settings.calibration_pictures // _wanted(settings))
    say_detail(f"calibrating int8 on {cut:,} pictures")
    with silence.native_output():
        artefact = int8.compile_network(write, shape, pictures[:cut], _threads())
    engine = _choose_engine(settings, artefact)
    unseen = pictures[cut:]
    if len(unseen) <= 10:  # there is no top 10 to compare
        return artefact, engine, None
    say_detail(f"comparing int8 with float32 on {len(unseen):,} others")
    return artefact, engine, _measure_fidelity(engine.engine, artefact, float32, unseen)


def _choose_engine(settings: config.ModelSettings, artefact: bytes) -> EngineChoice:
    engine = engine_choice.choose(settings.engine, artefact)
    if settings.engine == "auto":
        say_detail(f"engine of this model: {engine}")
    return engine


def _measure_fidelity(engine: str, artefact: bytes, float32: bytes, pictures: NDArray[np.uint8]) -> Fidelity:
    """Return how near the vectors of an int8 artefact are to those of the float32 one that it was made of."""
    ours, theirs = (
        unit_length(runtime.load(engine, one, threads=_threads()).embed(pictures))[0] for one in (artefact, float32)
    )
    cosines = np.einsum("ij,ij->i", ours, theirs)
    return Fidelity(
        pictures=len(pictures),
        mean_cosine=round(float(cosines.mean()), 5),
        p1_cosine=round(float(np.quantile(cosines, 0.01)), 5),
        top10_overlap=round(top_k_overlap(ours, theirs, 10), 4),
    )


def _threads() -> int:
    """Return how many threads the compilation may use: nothing else runs on the driver meanwhile."""
    return os.cpu_count() or 1
