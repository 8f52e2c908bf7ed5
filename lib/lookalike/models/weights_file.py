"""The network's weights: bundled, Keras's own download, or a file of the user's, wherever that is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from lookalike import config
from lookalike.errors import ModelError, WarehouseError
from lookalike.models import resnet50, silence
from lookalike.models.resnet50 import Array
from lookalike.storage import files, prefix

# Trained for this project on product photos, 112 px; with it a demo and a machine without a network have real features.
BUNDLED = Path(__file__).parent / "weights" / "resnet50_products.npz"

# Keras's own MD5 of resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5 (keras.applications.resnet)
IMAGENET_DIGEST = "md5:4d473c1dd8becc155b73f8504c6f6626"

# They can hold code that runs when they are opened; HDF5 weights hold only numbers.
_CODE = (".keras", ".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".npy")


@contextmanager
def local_file(settings: config.ModelSettings, stores: config.StoreSettings) -> Iterator[Path | None]:
    """Give a local file of the weights, its digest checked; None for `imagenet`, which Keras keeps itself.

    Raises ModelError.
    """
    if settings.weights == "imagenet":
        yield None
    elif settings.weights == "bundled":
        _check_digest(settings, BUNDLED)
        yield BUNDLED
    else:
        with _copy(settings.weights, stores) as path:
            _check_digest(settings, path)
            yield path


def digest(path: Path | None) -> str:
    """Return what names the weights of a file; of None, those of ImageNet."""
    return files.sha256(path) if path else IMAGENET_DIGEST


def read(path: Path | None) -> list[Array]:
    """Return the arrays of the weights in the order of Keras's `get_weights()`; raise ModelError.

    `path` is a Keras `.h5` / `.weights.h5` file, the bundled `.npz`, or None for Keras's own ImageNet download.
    """
    arrays = _read_npz(path) if path and path.suffix == ".npz" else _read_keras(path)
    if not all(np.isfinite(array).all() for array in arrays):
        raise ModelError(f"model.weights: {path} holds values that are not numbers; save the weights again")
    return arrays


def _read_npz(path: Path) -> list[Array]:
    """Read `<n>` float32, or int8 `<n>.q` and `<n>.s`, a scale a channel."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return [_read_array(file, str(number), shape) for number, shape in enumerate(resnet50.shapes())]
    except Exception as error:  # noqa: BLE001 - numpy, zipfile and each decompressor have errors of their own for a wrong file
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"model.weights: {path} does not hold the arrays of a ResNet50: {reason}") from None


def _read_array(file: np.lib.npyio.NpzFile, name: str, shape: tuple[int, ...]) -> Array:
    array = np.asanyarray(file[name] if name in file else file[f"{name}.q"] * file[f"{name}.s"])
    if array.dtype.kind not in "fiu":
        raise ValueError(f"array {name} is of {array.dtype}, not of real numbers")
    if array.shape != shape:
        raise ValueError(f"array {name} has the shape {array.shape}, that of ResNet50 {shape}")
    return np.asarray(array, dtype=np.float32)


def _read_keras(path: Path | None) -> list[Array]:
    with silence.native_output():
        from lookalike.models import keras_weights  # TensorFlow: seconds and 600 MB, for the run that compiles

        return keras_weights.read_file(path) if path else keras_weights.read_imagenet()


def _check_digest(settings: config.ModelSettings, path: Path) -> None:
    if settings.weights_sha256:
        found = files.sha256(path)
        if found != settings.weights_sha256:
            raise ModelError(
                f"model.weights: {settings.weights} has the SHA-256 {found}, not that of model.weights_sha256; "
                "take the right file, or correct the setting"
            )


@contextmanager
def _copy(weights: str, stores: config.StoreSettings) -> Iterator[Path]:
    if weights.lower().endswith(_CODE):
        raise ModelError(
            f"model.weights: {weights} is of a kind that can hold code; save the weights alone, with "
            "ResNet50(include_top=False).save_weights('….weights.h5')"
        )
    with ExitStack() as stack:
        try:
            if prefix.in_store(weights):
                folder = Path(stack.enter_context(TemporaryDirectory()))
                path = prefix.download_all(weights, stores, folder) or folder / "none"
            else:
                path = stack.enter_context(files.local_copy(weights))
            readable = path.is_file()
        except (OSError, ValueError, ImportError, WarehouseError) as error:
            raise ModelError(f"model.weights: {weights} cannot be read: {' '.join(str(error).split())}") from None
        if not readable:
            raise ModelError(f"model.weights: no file {weights}; give 'imagenet', 'bundled' or a Keras .h5 file")
        yield path
