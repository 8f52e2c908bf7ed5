"""Compiled models, kept in the warehouse under what went into them, so that an unchanged night needs no TensorFlow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from lookalike import config
from lookalike.errors import GateError, ModelError, WarehouseError
from lookalike.models import runtime, silence
from lookalike.models import store as model_store
from lookalike.models.litert import Engine
from lookalike.models.store import DEFAULT_PREPARATION, CompiledModel, Fidelity, model_id
from lookalike.storage import files, prefix
from lookalike.topk.exact import top_k_overlap
from lookalike.topk.items import unit_length

# Trained for this project on product photos, 112 px; it lets a demo and an air-gapped machine have real features.
BUNDLED = Path(__file__).parent / "weights" / "resnet50_products.npz"

# Keras's own MD5 of resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5 (keras.applications.resnet)
IMAGENET_DIGEST = "md5:4d473c1dd8becc155b73f8504c6f6626"

# Change it when the compiler's output changes for the same weights and settings.
COMPILER = "keras-resnet50/tflite/1"


_STORES = config.StoreSettings()


def prepare(
    settings: config.ModelSettings,
    store: Path,
    sample: Callable[[int], NDArray[np.uint8]],
    preparation: str = DEFAULT_PREPARATION,
    stores: config.StoreSettings = _STORES,
) -> CompiledModel:
    """The compiled model for `settings`, from `store` or compiled into it; raises ModelError.

    `sample(n)` gives up to n decoded pictures of the catalogue, uint8 [m, size, size, 3], for int8's calibration
    and its fidelity check; it is called only when something must be compiled. `preparation` is what
    `images.preprocessing` says of how pictures are decoded.
    """
    runtime.check(settings.engine)
    with _weights_file(settings.weights, stores) as weights:
        _check_digest(settings, weights)
        facts = store / f"{_recipe_name(settings, weights, preparation)}.json"
        pictures = None
        if facts.is_file():
            model = replace(model_store.load(facts), weights=settings.weights)
            wanted = _wanted(settings)
            if model.pictures >= wanted:
                return model
            # A catalogue too small, or out of reach, on the first night must not spoil the model for ever.
            pictures = sample(wanted)
            if len(pictures) <= model.pictures:
                return model
        if pictures is None:
            pictures = sample(_wanted(settings)) if settings.precision == "int8" else _NO_PICTURES
        model = _compile(settings, weights, pictures, preparation)
    model_store.keep(model, facts)
    return model


def check_fidelity(model: CompiledModel, floor: float) -> None:
    """Raises GateError when int8 strays too far from float32."""
    if model.fidelity and not model.fidelity.mean_cosine >= floor:  # a NaN is below any floor
        raise GateError(
            f"model.min_fidelity: mean cosine of int8 to float32 is {model.fidelity.mean_cosine:.4f} over "
            f"{model.fidelity.pictures} pictures, the floor is {floor}; set model.precision to float32, or raise "
            "model.calibration_pictures"
        )


def _compile(
    settings: config.ModelSettings, weights: Path | None, pictures: NDArray[np.uint8], preparation: str
) -> CompiledModel:
    with silence.native_output():
        from lookalike.models import resnet50  # TensorFlow: seconds and 600 MB, for the one run that compiles

        network = resnet50.build(weights, settings.size)
    fidelity = None
    if settings.precision == "int8":
        if not len(pictures):
            raise ModelError(
                "model.precision: int8 is calibrated on the catalogue's own pictures and none of them could be "
                "decoded; check catalogue.image_root, or set model.precision to float32"
            )
        # A small catalogue is shared out in the same proportion.
        cut = max(1, len(pictures) * settings.calibration_pictures // _wanted(settings))
        with silence.native_output():
            artefact = resnet50.compile_model(network, pictures[:cut])
        # With fewer pictures left over there is no top 10 to compare.
        if len(pictures[cut:]) > 10:
            engine = runtime.load(settings.engine, artefact)
            fidelity = _measure_fidelity(engine, resnet50.features(network, pictures[cut:]), pictures[cut:])
    else:
        with silence.native_output():
            artefact = resnet50.compile_model(network)
    return CompiledModel(
        artefact=artefact,
        model_id=model_id(artefact, settings.size, settings.engine, preparation),
        weights=settings.weights,
        precision=settings.precision,
        engine=settings.engine,
        input_size=settings.size,
        preprocessing=preparation,
        pictures=len(pictures),
        fidelity=fidelity,
        compiled=True,
    )


def _measure_fidelity(engine: Engine, reference: NDArray[np.float32], pictures: NDArray[np.uint8]) -> Fidelity:
    ours, _ = unit_length(engine.embed(pictures))
    theirs, _ = unit_length(reference)
    cosines = np.einsum("ij,ij->i", ours, theirs)
    return Fidelity(
        pictures=len(pictures),
        mean_cosine=round(float(cosines.mean()), 5),
        p1_cosine=round(float(np.quantile(cosines, 0.01)), 5),
        top10_overlap=round(top_k_overlap(ours, theirs, 10), 4),
    )


_NO_PICTURES = np.empty((0, 0, 0, 3), dtype=np.uint8)


def _wanted(settings: config.ModelSettings) -> int:
    """Pictures that the compilation asks for."""
    return settings.calibration_pictures + settings.fidelity_pictures if settings.precision == "int8" else 0


def _recipe_name(settings: config.ModelSettings, weights: Path | None, preparation: str = DEFAULT_PREPARATION) -> str:
    """A file name for all that decides the artefact, but for the pictures that happened to calibrate it."""
    digest = files.sha256(weights) if weights else IMAGENET_DIGEST
    recipe = [COMPILER, preparation, digest, settings.precision, settings.size, settings.engine]
    if settings.precision == "int8":
        recipe += [settings.calibration_pictures, settings.fidelity_pictures, settings.seed]
    key = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]
    return f"resnet50-{settings.precision}-{settings.size}-{key}"


@contextmanager
def _weights_file(weights: str, stores: config.StoreSettings) -> Iterator[Path | None]:
    """A local file of the weights; None for `imagenet`, which Keras keeps itself."""
    if weights == "imagenet":
        yield None
    elif weights == "bundled":
        yield BUNDLED
    else:
        with _copied(weights, stores) as path:
            yield path


def _check_digest(settings: config.ModelSettings, weights: Path | None) -> None:
    if settings.weights_sha256 and weights:
        found = files.sha256(weights)
        if found != settings.weights_sha256:
            raise ModelError(
                f"model.weights: {settings.weights} has the SHA-256 {found}, not that of model.weights_sha256; "
                "take the right file, or mend the setting"
            )


# They can hold code that runs when they are opened; HDF5 weights hold numbers only.
_CODE = (".keras", ".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".npy")


@contextmanager
def _copied(weights: str, stores: config.StoreSettings) -> Iterator[Path]:
    if weights.lower().endswith(_CODE):
        raise ModelError(
            f"model.weights: {weights} is of a kind that can hold code; save the weights alone, with "
            "ResNet50(include_top=False).save_weights('….weights.h5')"
        )
    with ExitStack() as stack:
        try:
            if prefix.in_store(weights):
                folder = Path(stack.enter_context(TemporaryDirectory()))
                path = prefix.download_all(weights, stores, folder, prefix.run_transfers) or folder / "none"
            else:
                path = stack.enter_context(files.local_copy(weights))
            readable = path.is_file()
        except (OSError, ValueError, ImportError, WarehouseError) as error:
            raise ModelError(f"model.weights: {weights} cannot be read: {' '.join(str(error).split())}") from None
        if not readable:
            raise ModelError(f"model.weights: no file {weights}; give 'imagenet', 'bundled' or a Keras .h5 file")
        yield path
