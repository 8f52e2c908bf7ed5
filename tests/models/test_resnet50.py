"""The compiled network against Keras's own, and weights files of every kind: loaded exactly, or refused."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lookalike import config
from lookalike.errors import ModelError
from lookalike.images.decode import decode
from lookalike.models import resnet50
from lookalike.models.litert import LiteRtEngine
from lookalike.models.runtime import Engine
from lookalike.models.weights_file import BUNDLED
from lookalike.topk.items import unit_length

keras = resnet50.tf.keras
SIZE = 112
SMALL = 32  # the weights do not depend on the input size, and building is cheapest here

Arrays = list[NDArray[np.float32]]
Save = Callable[["keras.Model", Path], None]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Emptied at once: the weights of one test take up to 200 MB."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


# --- vectors


def draw(width: int, height: int, mode: str, seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    image = Image.new(mode, (width, height), "white")
    pen = ImageDraw.Draw(image)
    for _ in range(12):
        (x, y), (w, h) = rng.integers(0, (width, height)), rng.integers(1, (width + 1, height + 1))
        colour = tuple(rng.integers(0, 256, 3).tolist())
        pen.rectangle((x, y, x + w, y + h), fill=colour if mode == "RGB" else colour[0])
    return image


# file name, width, height, mode
PICTURES = [
    ("small.png", 40, 30, "RGB"),
    ("exact.png", SIZE, SIZE, "RGB"),
    ("tall.png", 90, 700, "RGB"),
    ("wide.png", 640, 61, "RGB"),
    ("odd.png", 333, 257, "RGB"),
    ("grey.png", 200, 200, "L"),
    ("one.png", 1, 1, "RGB"),
    ("large.png", 1200, 1500, "RGB"),
    ("photo.jpg", 800, 600, "RGB"),
    ("grey.jpg", 300, 400, "L"),
]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("pictures")
    for seed, (name, width, height, mode) in enumerate(PICTURES):
        draw(width, height, mode, seed).save(root / name)
    return [root / name for name, *_ in PICTURES]


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return resnet50.build(BUNDLED, SIZE)


@pytest.fixture(scope="module")
def engine(network: keras.Model) -> Engine:
    return LiteRtEngine(resnet50.compile_model(network))


@pytest.fixture(scope="module")
def reference(network: keras.Model, pictures: list[Path]) -> NDArray[np.float32]:
    """Unit vectors of Keras alone, one picture a call, by its own loading, preprocessing and network."""
    plain = keras.applications.ResNet50(include_top=False, weights=None, pooling="avg", input_shape=(SIZE, SIZE, 3))
    plain.set_weights(network.get_weights())
    rows = []
    for path in pictures:
        image = keras.utils.load_img(path, target_size=(SIZE, SIZE), interpolation="bilinear")
        pixels = keras.applications.resnet50.preprocess_input(keras.utils.img_to_array(image))
        rows.append(plain(pixels[None], training=False).numpy()[0])
    return unit_length(np.stack(rows))[0]


def pixels_of(pictures: list[Path]) -> NDArray[np.uint8]:
    """By our decoder at full scale; what a JPEG's draft mode changes is the picture tests' matter."""
    limits = config.ImageSettings(resize="stretch")
    return np.stack([decode(path.read_bytes(), SIZE, limits, draft=False).pixels for path in pictures])


def cosine_distances(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float64]:
    return 1 - np.einsum("ij,ij->i", left.astype(np.float64), right.astype(np.float64))


def test_float32_vectors_are_those_of_keras(
    engine: Engine, pictures: list[Path], reference: NDArray[np.float32]
) -> None:
    ours, norms = unit_length(engine.embed(pixels_of(pictures)))
    assert ours.shape == (len(PICTURES), 2048)
    assert (norms > 0).all()
    assert cosine_distances(ours, reference).max() < 1e-4


def test_tolerance_is_finer_than_what_swapped_channels_or_another_picture_change(
    engine: Engine, pictures: list[Path], reference: NDArray[np.float32]
) -> None:
    pixels = pixels_of(pictures)
    coloured = [row for row, (_, width, _, mode) in enumerate(PICTURES) if mode == "RGB" and width > 1]
    swapped, _ = unit_length(engine.embed(pixels[..., ::-1]))
    assert cosine_distances(swapped, reference)[coloured].min() > 1e-3
    others = reference @ np.roll(reference, 1, axis=0).T
    assert np.diag(others).max() < 1 - 1e-3


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 17])
def test_vector_does_not_depend_on_what_shares_the_batch(engine: Engine, pictures: list[Path], count: int) -> None:
    pixels = pixels_of(pictures)[np.arange(count) % len(pictures)]
    together = engine.embed(pixels)
    assert together.shape == (count, 2048)
    alone = [engine.embed(row[None])[0] for row in pixels]
    np.testing.assert_allclose(together, np.reshape(alone, together.shape), rtol=1e-4, atol=1e-4)


# --- weights files


def save_keras3(model: keras.Model, path: Path) -> None:
    named = path.with_name(f"saving-{path.stem}.weights.h5")
    model.save_weights(named)
    named.rename(path)


def save_whole(model: keras.Model, path: Path) -> None:
    named = path.with_name(f"saving-{path.stem}.h5")
    model.save(named)
    named.rename(path)


def save_legacy(model: keras.Model, path: Path) -> None:
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


def random_arrays(model: keras.Model) -> Arrays:
    """Every array its own: a layer left at its initial values, or swapped with another, is seen."""
    rng = np.random.default_rng(5)
    return [rng.normal(size=array.shape).astype(np.float32) for array in model.get_weights()]


@functools.lru_cache(maxsize=1)
def right_arrays() -> Arrays:
    return random_arrays(application("ResNet50", include_top=False))


def application(name: str, **options: object) -> keras.Model:
    shape = options.pop("input_shape", (SMALL, SMALL, 3))
    return getattr(keras.applications, name)(weights=None, input_shape=shape, **options)


def network_of(source: str) -> keras.Model:
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
    built: dict[str, keras.Model] = {}

    def copy(source: str, layout: str, name: str = "w.weights.h5") -> Path:
        kept = shelf / f"{source}-{layout}"
        if not kept.exists():
            built[source] = built.get(source) or network_of(source)
            LAYOUTS[layout](built[source], kept)
        return Path(shutil.copyfile(kept, folder / name))

    return copy


def loaded(path: Path) -> Arrays:
    return resnet50.build(path, SMALL).get_weights()


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


# --- the bundled layout


def numbered(arrays: Arrays) -> dict[str, NDArray[np.float32]]:
    return {str(number): array for number, array in enumerate(arrays)}


def test_arrays_load_exactly(folder: Path) -> None:
    np.savez(folder / "w.npz", **numbered(right_arrays()))
    assert_loads_exactly(folder / "w.npz")


def test_int8_arrays_are_multiplied_by_their_scales(folder: Path) -> None:
    arrays = numbered(right_arrays())
    kernel = arrays.pop("0")
    scales = np.linspace(0.01, 0.02, kernel.shape[-1], dtype=np.float32)
    levels = np.random.default_rng(0).integers(-127, 128, kernel.shape).astype(np.int8)
    np.savez(folder / "w.npz", **arrays, **{"0.q": levels, "0.s": scales})
    found = loaded(folder / "w.npz")
    np.testing.assert_array_equal(found[0], levels.astype(np.float32) * scales)
    np.testing.assert_array_equal(found[1], arrays["1"])


WRONG_ARRAYS: dict[str, Callable[[], dict[str, np.ndarray]]] = {
    "one too few": lambda: numbered(right_arrays()[:-1]),
    "another order": lambda: numbered(right_arrays()[::-1]),
    "of ResNet101": lambda: numbered(random_arrays(application("ResNet101", include_top=False, pooling="avg"))),
    "int8 without scales": lambda: {
        f"{name}.q": np.zeros(array.shape, np.int8) for name, array in numbered(right_arrays()).items()
    },
    "objects": lambda: dict.fromkeys(numbered(right_arrays()), np.array([{}], object)),
    "other names": lambda: {f"w{name}": array for name, array in numbered(right_arrays()).items()},
}


@pytest.mark.parametrize("case", WRONG_ARRAYS)
def test_npz_with_wrong_arrays_is_refused(case: str, folder: Path) -> None:
    np.savez(folder / "w.npz", **WRONG_ARRAYS[case]())
    assert "arrays of a ResNet50" in refusal(folder / "w.npz")


def test_npz_of_garbage_is_refused(folder: Path) -> None:
    (folder / "w.npz").write_bytes(b"PK\x03\x04" + bytes(64))
    refusal(folder / "w.npz")


def test_npz_with_a_flipped_bit_is_refused(folder: Path) -> None:
    np.savez(folder / "w.npz", **numbered(right_arrays()))
    with (folder / "w.npz").open("r+b") as file:
        file.seek(30_000_000)
        byte = file.read(1)[0]
        file.seek(30_000_000)
        file.write(bytes([byte ^ 1]))
    refusal(folder / "w.npz")


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
