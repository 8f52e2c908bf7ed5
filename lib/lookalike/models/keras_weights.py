"""Read weights by Keras: its own download, or a file of its layouts. It alone imports TensorFlow, on the driver."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow greets with a page about CPU flags otherwise
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import h5py
import tensorflow as tf

from lookalike.errors import ModelError
from lookalike.models.resnet50 import Array

# The weights do not depend on the size of the input; the smallest that Keras allows.
_SIZE = 32


def read_imagenet() -> list[Array]:
    """Return Keras's own weights: downloaded and their hash checked, or from its cache in ~/.keras."""
    try:
        model = tf.keras.applications.ResNet50(include_top=False, weights="imagenet", pooling="avg")
    except Exception as error:  # noqa: BLE001 - Keras wraps any error of its download: URLError, OSError, a bad hash
        reason = " ".join(str(error).split())
        raise ModelError(
            f"model.weights: imagenet could not be downloaded ({reason}); on a machine without a network set "
            "model.weights to 'bundled', or to the path of a Keras ResNet50 .weights.h5 file"
        ) from None
    arrays: list[Array] = model.get_weights()
    return arrays


def read_file(path: Path) -> list[Array]:
    """Return the weights of either of Keras's HDF5 layouts; the content decides which it is, not the name."""
    model = build(_SIZE)
    try:
        with h5py.File(path) as file, tempfile.TemporaryDirectory() as folder:
            legacy = "layer_names" in file.attrs or "model_weights" in file
            named = Path(folder) / ("model.h5" if legacy else "model.weights.h5")
            named.symlink_to(path.resolve())
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # Keras only warns when layers keep their random values
                model.load_weights(named)
    except Exception as error:  # noqa: BLE001 - h5py and Keras raise OSError, ValueError, KeyError, UserWarning for a wrong file
        reason = " ".join(str(error).split())[:160]
        raise ModelError(
            f"model.weights: {path} does not hold Keras weights of ResNet50 without its top ({reason}); "
            "save them with ResNet50(include_top=False).save_weights('….weights.h5')"
        ) from None
    arrays: list[Array] = model.get_weights()
    return arrays


def build(size: int) -> tf.keras.Model:
    """Return Keras's ResNet50 with random weights."""
    return tf.keras.applications.ResNet50(include_top=False, weights=None, pooling="avg", input_shape=(size, size, 3))
