"""Build Keras's ResNet50 with its weights, and compile it. It and int8.py alone import TensorFlow, on the driver."""

from __future__ import annotations

import os
import tempfile
import warnings
import zipfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow greets with a page about CPU flags otherwise
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import h5py
import numpy as np
import tensorflow as tf

from lookalike.errors import ModelError

# Pictures a call, int8 at 224 px on one core (AVX-512 VNNI): 72 for 1, 80 for 4, 81 for 8, 76 for 16.
BATCH_SIZE = 8


def build(weights: Path | None, size: int) -> tf.keras.Model:
    """Return ResNet50 without its top, average-pooled, for `size` x `size` pictures; raise ModelError.

    `weights` is a Keras `.h5` / `.weights.h5` file, the bundled `.npz`, or None for Keras's own ImageNet download.
    """
    model = tf.keras.applications.ResNet50(include_top=False, weights=None, pooling="avg", input_shape=(size, size, 3))
    if weights is None:
        _load_imagenet(model)
    elif weights.suffix == ".npz":
        _load_arrays(model, weights)
    else:
        _load_keras_file(model, weights)
    if not all(np.isfinite(array).all() for array in model.get_weights()):
        raise ModelError(f"model.weights: {weights} holds values that are not numbers; save the weights again")
    model.trainable = False
    return model


def compile_model(model: tf.keras.Model) -> bytes:
    """Return a float32 `.tflite` of a fixed batch size."""
    size = model.input_shape[1]
    spec = tf.TensorSpec((BATCH_SIZE, size, size, 3), tf.float32)
    # As arrays, the weights are constants of the graph at once: to make them so of variables takes 3 s of 7.
    trained, others = (
        [one.numpy() for one in kind] for kind in (model.trainable_variables, model.non_trainable_variables)
    )
    forward = tf.function(lambda pixels: model.stateless_call(trained, others, pixels, training=False)[0])
    graph = forward.get_concrete_function(spec).graph
    # The converter of version 1 takes such a graph as it is; that of version 2 would freeze it, 3 s more.
    converter = tf.compat.v1.lite.TFLiteConverter(graph.as_graph_def(), graph.inputs, graph.outputs)
    artefact: bytes = converter.convert()
    return artefact


def _load_arrays(model: tf.keras.Model, path: Path) -> None:
    """Load arrays in the order of `get_weights()`: `<n>` float32, or int8 `<n>.q` and `<n>.s`, a scale a channel."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            model.set_weights(
                [
                    arrays[f"{n}"] if f"{n}" in arrays else arrays[f"{n}.q"].astype(np.float32) * arrays[f"{n}.s"]
                    for n in range(len(model.get_weights()))
                ]
            )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ModelError(f"model.weights: {path} does not hold the arrays of a ResNet50: {error}") from None


def _load_imagenet(model: tf.keras.Model) -> None:
    """Load Keras's own weights: downloaded and their hash checked, or from its cache in ~/.keras."""
    try:
        reference = tf.keras.applications.ResNet50(include_top=False, weights="imagenet", pooling="avg")
    except Exception as error:  # noqa: BLE001 - Keras wraps any error of its download: URLError, OSError, a bad hash
        reason = " ".join(str(error).split())
        raise ModelError(
            f"model.weights: imagenet could not be downloaded ({reason}); on a machine without a network set "
            "model.weights to 'bundled', or to the path of a Keras ResNet50 .weights.h5 file"
        ) from None
    model.set_weights(reference.get_weights())


def _load_keras_file(model: tf.keras.Model, path: Path) -> None:
    """Load weights of either of Keras's HDF5 layouts; the content decides which it is, not the name."""
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
