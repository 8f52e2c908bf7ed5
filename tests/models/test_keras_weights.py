"""Weights files of every kind that Keras writes: loaded exactly, or refused."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from lookalike.errors import ModelError
from lookalike.models import weights_file
from lookalike.models.resnet50 import Array

if TYPE_CHECKING:
    from keras import Model

SMALL = 32  # the weights do not depend on the input size, and building is cheapest here

Save = Callable[["Model", Path], None]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Emptied at once: the weights of one test take up to 200 MB."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


def save_keras3(model: Model, path: Path) -> None:
    named = path.with_name(f"saving-{path.stem}.weights.h5")
    model.save_weights(named)
    named.rename(path)


def save_whole(model: Model, path: Path) -> None:
    named = path.with_name(f"saving-{path.stem}.h5")
    model.save(named)
    named.rename(path)


def save_legacy(model: Model, path: Path) -> None:
    """The layout of Keras's own downloads: a whole model's weights group as the root."""
    whole = path.with_name("whole.h5")
    save_whole(model, whole)
    with h5py.File(whole) as source, h5py.File(path, "w") as target:
        group = source["model_weights"]
        for name in group:
            source.copy(group[name], target, name)
        for name, value in group.attrs.items():
            target.attrs[name] = value
    whole.unlink()


LAYOUTS: dict[str, Save] = {"keras3": save_keras3, "whole": save_whole, "legacy": save_legacy}


def random_arrays(model: Model) -> list[Array]:
    """Every array its own: a layer left at its initial values, or swapped with another, is seen."""
    rng = np.random.default_rng(5)
    return [rng.normal(size=array.shape).astype(np.float32) for array in model.get_weights()]


@functools.lru_cache(maxsize=1)
def right_arrays() -> list[Array]:
    return random_arrays(application("ResNet50", include_top=False))


def application(name: str, **options: object) -> Model:
    from lookalike.models.keras_weights import (
        tf,
    )  # it takes 6 s and 400 MB: not in each process that collects the tests

    shape = options.pop("input_shape", (SMALL, SMALL, 3))
    return getattr(tf.keras.applications, name)(weights=None, input_shape=shape, **options)


@functools.lru_cache(maxsize=1)  # one after the other is saved in each layout
def network_of(source: str) -> Model:
    """Those of ResNet50 with `right_arrays`, and random ones in the top where it has one."""
    if source not in RESNET50:
        return application(source.removesuffix("-grey"), **OTHERS[source])
    model = application("ResNet50", **RESNET50[source])
    extra = random_arrays(model)[len(right_arrays()) :]
    model.set_weights([*right_arrays(), *extra])
    return model


RESNET50: dict[str, dict[str, object]] = {
    "pooled": {"include_top": False, "pooling": "avg"},
    # `include_top=False` alone leaves the pooling out, which has no weights; nor do they depend on the size.
    "unpooled": {"include_top": False, "input_shape": (96, 64, 3)},
    "with-top": {"include_top": True},
}
OTHERS: dict[str, dict[str, object]] = {
    "MobileNetV2": {"include_top": False, "pooling": "avg"},
    "ResNet101": {"include_top": False, "pooling": "avg"},
    "ResNet50V2": {"include_top": False, "pooling": "avg"},
    "ResNet50-grey": {"include_top": False, "pooling": "avg", "input_shape": (SMALL, SMALL, 1)},
}

Saved = Callable[..., Path]


@pytest.fixture(scope="module")
def shelf() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


@pytest.fixture
def saved(shelf: Path, folder: Path) -> Saved:
    """The weights of a source in a layout, under any name: made once, a copy for each test."""

    def copy(source: str, layout: str, name: str = "w.weights.h5") -> Path:
        kept = shelf / f"{source}-{layout}"
        if not kept.exists():
            LAYOUTS[layout](network_of(source), kept)
        return Path(shutil.copyfile(kept, folder / name))

    return copy


def loaded(path: Path) -> list[Array]:
    return weights_file.read(path)


def refusal(path: Path) -> str:
    """The one line of the ModelError that loading `path` raises."""
    with pytest.raises(ModelError) as raised:
        loaded(path)
    message = str(raised.value)
    assert "\n" not in message
    assert raised.value.exit_code == 2
    assert message.startswith(f"model.weights: {path} ")
    return message


def assert_loads_exactly(path: Path) -> None:
    for ours, theirs in zip(loaded(path), right_arrays(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


# The layout is read off the content: the name may mislead.
@pytest.mark.parametrize(
    ("source", "layout", "name"),
    [
        ("pooled", "keras3", "w.weights.h5"),
        ("pooled", "keras3", "weights"),
        ("pooled", "whole", "w.weights.h5"),
        ("pooled", "legacy", "w.h5"),
        ("pooled", "legacy", "model with blanks.keras"),
        ("unpooled", "keras3", "w.h5"),
    ],
)
def test_each_keras_layout_loads_exactly_under_any_name(source: str, layout: str, name: str, saved: Saved) -> None:
    assert_loads_exactly(saved(source, layout, name))


@pytest.mark.parametrize(
    ("source", "layout"),
    [
        ("MobileNetV2", "keras3"),
        ("MobileNetV2", "whole"),
        ("ResNet101", "keras3"),
        ("ResNet101", "legacy"),
        ("ResNet50V2", "keras3"),
        ("ResNet50V2", "legacy"),
        ("ResNet50-grey", "keras3"),
        ("ResNet50-grey", "legacy"),
    ],
)
def test_weights_of_another_network_are_refused(source: str, layout: str, saved: Saved) -> None:
    assert "without its top" in refusal(saved(source, layout))


def test_top_in_a_keras3_file_is_left_aside(saved: Saved) -> None:
    assert_loads_exactly(saved("with-top", "keras3"))


@pytest.mark.parametrize("layout", ["whole", "legacy"])
def test_top_in_an_older_file_is_refused_by_name(layout: str, saved: Saved) -> None:
    assert "without its top" in refusal(saved("with-top", layout))


def damage_layer(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["layers/conv2d_5"]


def damage_tail(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [damage_layer, damage_tail])
def test_weights_file_with_something_missing_is_refused(damage: Callable[[Path], None], saved: Saved) -> None:
    path = saved("pooled", "keras3")
    damage(path)
    refusal(path)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("w.h5", b""),
        ("w.h5", b"garbage " * 100),
        ("w.weights.h5", b"\x89HDF\r\n\x1a\n" + bytes(64)),
    ],
    ids=["empty", "garbage", "signature only"],
)
def test_file_that_is_not_hdf5_is_refused(name: str, data: bytes, folder: Path) -> None:
    (folder / name).write_bytes(data)
    refusal(folder / name)


@pytest.mark.parametrize("groups", [["model_weights"], ["layers", "vars"]], ids=repr)
def test_hdf5_file_without_weights_is_refused(groups: list[str], folder: Path) -> None:
    with h5py.File(folder / "w.h5", "w") as file:
        for group in groups:
            file.create_group(group)
    refusal(folder / "w.h5")


def test_npz_under_a_keras_name_and_keras_under_an_npz_name_are_refused(saved: Saved, folder: Path) -> None:
    np.savez(folder / "w.npz", **{"0": np.zeros(3)})
    refusal((folder / "w.npz").rename(folder / "w.h5"))
    refusal(saved("pooled", "keras3", "k.npz"))


# --- imagenet

OFFLINE = """
import sys
from pathlib import Path
from lookalike import config
from lookalike.errors import ModelError
from lookalike.models.compile import find_or_compile
settings = config.ModelSettings(weights="imagenet", precision="float32", input_size=32)
try:
    find_or_compile(settings, Path(sys.argv[1]), lambda wanted: 1 / 0)
except ModelError as error:
    print(error.exit_code, error)
"""


@pytest.mark.parametrize("cached", [None, b"half a download"], ids=["no cache", "damaged cache"])
def test_imagenet_without_a_network_names_the_way_out(cached: bytes | None, folder: Path) -> None:
    home = folder / "keras"
    (home / "models").mkdir(parents=True)
    if cached is not None:
        (home / "models" / "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5").write_bytes(cached)
    nowhere = "http://127.0.0.1:9"
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), nowhere)
    environment = {**os.environ, **proxies, "no_proxy": "", "NO_PROXY": "", "KERAS_HOME": str(home)}
    ended = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(folder / "store")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,  # a guard against hanging, not a limit
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    (line,) = [line for line in ended.stdout.splitlines() if "model.weights" in line]
    assert line.startswith("2 model.weights: imagenet could not be downloaded")
    assert "'bundled'" in line
    assert ".weights.h5" in line
    assert not (folder / "store").exists()
