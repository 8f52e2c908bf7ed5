"""Where the weights are, the right digest, nothing that can hold code; and the arrays of `.npz` files."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lookalike import config
from lookalike.errors import ModelError
from lookalike.models import resnet50
from lookalike.models.compile import find_or_compile
from lookalike.models.resnet50 import Array
from lookalike.models.weights_file import BUNDLED, IMAGENET_DIGEST, digest, local_file, read
from lookalike.safe_text import escaped

FLOAT32 = config.ModelSettings(weights="bundled", precision="float32", input_size=32)


def never(wanted: int) -> NDArray[np.uint8]:
    """A sample that nothing should ask for."""
    raise AssertionError(f"asked for {wanted} pictures")


def digest_of(weights: str, **fields: object) -> str:
    """The digest of the local file that the weights become."""
    settings = FLOAT32.model_copy(update={"weights": weights, **fields})
    with local_file(settings, config.StoreSettings()) as path:
        return digest(path)


def refusal(action: Callable[[], object]) -> str:
    """The one line of the ModelError that `action` raises."""
    with pytest.raises(ModelError) as raised:
        action()
    assert raised.value.exit_code == 2
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_weights_by_path_and_by_uri_are_the_bundled_ones(tmp_path: Path) -> None:
    copy = tmp_path / "weights with blanks.npz"
    copy.write_bytes(BUNDLED.read_bytes())
    assert digest_of(str(copy)) == digest_of(copy.as_uri()) == digest_of("bundled")


def test_imagenet_is_kept_by_keras() -> None:
    assert digest_of("imagenet") == IMAGENET_DIGEST


@pytest.mark.parametrize(
    "weights",
    ["{folder}/gone.h5", "{folder}", "file://{folder}/gone.h5", "file://{folder}", "", "Imagenet", "a\0b"],
)
def test_weights_that_are_no_file_are_refused(weights: str, tmp_path: Path) -> None:
    named = weights.format(folder=tmp_path)
    message = refusal(lambda: digest_of(named))
    assert message.startswith(f"model.weights: no file {escaped(named)};")
    assert "'bundled'" in message


@pytest.mark.parametrize(
    "weights", ["nope://host/w.h5", "https://127.0.0.1:9/w.h5", "file://relative/w.h5", "file:///a b/w.h5", "://"]
)
def test_weights_at_an_unknown_scheme_are_refused(weights: str) -> None:
    assert refusal(lambda: digest_of(weights)).startswith(f"model.weights: {weights} cannot be read: ")


def test_weights_of_garbage_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "w.h5").write_bytes(b"garbage")
    settings = FLOAT32.model_copy(update={"weights": str(tmp_path / "w.h5")})
    assert "does not hold Keras weights" in refusal(lambda: find_or_compile(settings, tmp_path / "models", never))
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("name", ["w.keras", "w.pkl", "w.PT", "w.joblib"])
def test_weights_that_can_hold_code_are_refused_unopened(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)  # to open it would wait for ever
    assert "can hold code" in refusal(lambda: digest_of(str(tmp_path / name)))


def test_pickle_under_another_name_is_no_weights_and_is_not_run(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "harmed",))

    (tmp_path / "w.h5").write_bytes(pickle.dumps(Harm()))
    settings = FLOAT32.model_copy(update={"weights": str(tmp_path / "w.h5")})
    assert "does not hold Keras weights" in refusal(lambda: find_or_compile(settings, tmp_path / "models", never))
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("bundled", [False, True], ids=["a file", "bundled"])
def test_weights_with_another_digest_are_refused_before_they_are_opened(bundled: bool, tmp_path: Path) -> None:
    (tmp_path / "w.h5").write_bytes(b"garbage")
    weights = "bundled" if bundled else str(tmp_path / "w.h5")
    assert "not that of model.weights_sha256" in refusal(lambda: digest_of(weights, weights_sha256="0" * 64))
    right = hashlib.sha256(BUNDLED.read_bytes() if bundled else b"garbage").hexdigest()
    assert digest_of(weights, weights_sha256=right) == right


def test_secret_of_the_weights_uri_is_not_said() -> None:
    assert "hunter2" not in refusal(lambda: digest_of("https://user:hunter2@127.0.0.1:9/w.h5?sig=hunter2"))


# --- the arrays of an .npz file


@pytest.fixture
def npz() -> Iterator[Path]:
    """A file to write; removed at once, as it takes 94 MB."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "w.npz"


@pytest.fixture(scope="module")
def arrays() -> dict[str, Array]:
    """Every array its own: one left out, or in the place of another, is seen."""
    rng = np.random.default_rng(5)
    return {str(number): rng.random(shape, dtype=np.float32) for number, shape in enumerate(resnet50.shapes())}


def read_refusal(path: Path) -> str:
    message = refusal(lambda: read(path))
    assert message.startswith(f"model.weights: {path} ")
    return message


def test_arrays_are_read_exactly(npz: Path, arrays: dict[str, Array]) -> None:
    np.savez(npz, **arrays)
    for found, expected in zip(read(npz), arrays.values(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_int8_arrays_are_multiplied_by_their_scales(npz: Path, arrays: dict[str, Array]) -> None:
    kernel = arrays["0"]
    scales = np.linspace(0.01, 0.02, kernel.shape[-1], dtype=np.float32)
    levels = np.random.default_rng(0).integers(-127, 128, kernel.shape).astype(np.int8)
    others = {name: array for name, array in arrays.items() if name != "0"}
    np.savez(npz, **others, **{"0.q": levels, "0.s": scales})
    found = read(npz)
    assert found[0].dtype == np.float32
    np.testing.assert_array_equal(found[0], levels.astype(np.float32) * scales)
    np.testing.assert_array_equal(found[1], arrays["1"])


WRONG_ARRAYS: dict[str, Callable[[dict[str, Array]], dict[str, np.ndarray]]] = {
    "one too few": lambda arrays: {name: array for name, array in arrays.items() if name != "317"},
    "another order": lambda arrays: dict(zip(arrays, [*arrays.values()][::-1], strict=True)),
    "another size": lambda arrays: arrays | {"312": np.zeros((1, 1, 512, 1024), np.float32)},
    "int8 without scales": lambda arrays: {
        f"{name}.q": np.zeros(array.shape, np.int8) for name, array in arrays.items()
    },
    "objects": lambda arrays: dict.fromkeys(arrays, np.array([{}], object)),
    "texts": lambda arrays: {name: np.full(array.shape, "x") for name, array in arrays.items()},
    "complex numbers": lambda arrays: arrays | {"1": arrays["1"] * 1j},
    "other names": lambda arrays: {f"w{name}": array for name, array in arrays.items()},
}


@pytest.mark.parametrize("case", WRONG_ARRAYS)
def test_npz_with_wrong_arrays_is_refused(case: str, npz: Path, arrays: dict[str, Array]) -> None:
    np.savez(npz, **WRONG_ARRAYS[case](arrays))
    assert "does not hold the arrays of a ResNet50" in read_refusal(npz)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_numbers_are_refused(value: float, npz: Path, arrays: dict[str, Array]) -> None:
    np.savez(npz, **arrays | {"1": np.full_like(arrays["1"], value)})
    assert "values that are not numbers" in read_refusal(npz)


def test_npz_of_garbage_is_refused(npz: Path) -> None:
    npz.write_bytes(b"PK\x03\x04" + bytes(64))
    read_refusal(npz)


def write_entry(path: Path, content: bytes, method: int = zipfile.ZIP_STORED) -> None:
    """A zip file with what should be the first array."""
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("0.npy", content)


def as_npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


NPY = as_npy(np.random.default_rng(0).random((7, 7, 3, 64), dtype=np.float32))


# What is written, how, and where it is overwritten then
DAMAGED: dict[str, tuple[bytes, int, slice]] = {
    "deflate": (NPY, zipfile.ZIP_DEFLATED, slice(45, 60)),
    "lzma": (NPY, zipfile.ZIP_LZMA, slice(500, 540)),
    "unknown compression": (NPY, zipfile.ZIP_STORED, slice(-len("0.npy") - 22 - 36, -len("0.npy") - 22 - 34)),
    "header without an end": (NPY.replace(b"(7, 7, 3, 64), }", b"(" * 16), zipfile.ZIP_STORED, slice(0)),
    "more than the memory": (NPY.replace(b"(7, 7, 3, 64)", b"(77777777777,)"), zipfile.ZIP_STORED, slice(0)),
    "no array": (b"hello", zipfile.ZIP_STORED, slice(0)),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_npz_that_cannot_be_unpacked_is_refused(case: str, npz: Path) -> None:
    content, method, damaged = DAMAGED[case]
    write_entry(npz, content, method)
    data = bytearray(npz.read_bytes())
    data[damaged] = b"\xff" * len(data[damaged])
    npz.write_bytes(data)
    assert "does not hold the arrays of a ResNet50" in read_refusal(npz)


def test_npz_with_a_flipped_bit_is_refused(npz: Path, arrays: dict[str, Array]) -> None:
    np.savez(npz, **arrays)
    with npz.open("r+b") as file:
        file.seek(30_000_000)
        byte = file.read(1)[0]
        file.seek(30_000_000)
        file.write(bytes([byte ^ 1]))
    read_refusal(npz)
