"""Where the weights are: every kind of place, the right digest, and nothing that can hold code."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lookalike import config
from lookalike.errors import ModelError
from lookalike.models.compile import find_or_compile
from lookalike.models.weights_file import BUNDLED, IMAGENET_DIGEST, digest, local_file
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
