"""Compiled models: made once, kept under what went into them, refused when damaged or unfaithful."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lookalike import config
from lookalike.errors import GateError, ModelError
from lookalike.images.decode import preprocessing
from lookalike.models import compile as models
from lookalike.models.compile import CompiledModel
from lookalike.models.litert import Engine
from lookalike.topk.items import unit_length
from support.drawn import Drawn

SIZE = 32  # compiling costs least here, and what is tested does not depend on the size
FLOAT32 = config.ModelSettings(weights="bundled", precision="float32", input_size=SIZE)
INT8 = config.ModelSettings(weights="bundled", input_size=SIZE, calibration_pictures=8, fidelity_pictures=16)

Sample = Callable[[int], NDArray[np.uint8]]


def never(wanted: int) -> NDArray[np.uint8]:
    """A sample that nothing should ask for."""
    raise AssertionError(f"asked for {wanted} pictures")


@pytest.fixture(scope="module")
def pixels(drawn: Drawn) -> NDArray[np.uint8]:
    paths = drawn.table["image_path"].to_pylist()[:72]
    pictures = (Image.open(drawn.folder / path).resize((SIZE, SIZE)) for path in paths)
    return np.stack([np.asarray(picture) for picture in pictures])


@dataclasses.dataclass(frozen=True)
class Shelf:
    """A store and the float32 model that was compiled into it."""

    store: Path
    model: CompiledModel
    facts: Path
    artefact: Path


@pytest.fixture(scope="module")
def shelf() -> Iterator[Shelf]:
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "not" / "yet" / "there"
        model = models.prepare(FLOAT32, store, never)
        (facts,) = store.glob("*.json")
        yield Shelf(store, model, facts, facts.with_suffix(".tflite"))


@pytest.fixture
def untouched(shelf: Shelf) -> Iterator[Shelf]:
    """The shelf, put back afterwards as it was."""
    kept = {path: path.read_bytes() for path in (shelf.facts, shelf.artefact)}
    yield shelf
    for path in shelf.store.iterdir():
        path.unlink()
    for path, data in kept.items():
        path.write_bytes(data)


def refusal(action: Callable[[], object]) -> str:
    """The one line of the ModelError that `action` raises."""
    with pytest.raises(ModelError) as raised:
        action()
    assert raised.value.exit_code == 2
    assert "\n" not in str(raised.value)
    return str(raised.value)


# --- made once


def test_first_run_compiles_without_pictures_in_float32(shelf: Shelf) -> None:
    assert shelf.model.compiled
    assert shelf.model.fidelity is None
    assert (shelf.model.weights, shelf.model.precision, shelf.model.input_size) == ("bundled", "float32", SIZE)
    assert sorted(path.suffix for path in shelf.store.iterdir()) == [".json", ".tflite"]


def test_second_run_reuses_the_same_bytes(shelf: Shelf) -> None:
    again = models.prepare(FLOAT32, shelf.store, never)
    assert again == dataclasses.replace(shelf.model, compiled=False)


def test_facts_are_json_and_leave_the_bytes_out(shelf: Shelf) -> None:
    assert json.loads(json.dumps(shelf.model.facts())) == {
        "model_id": shelf.model.model_id,
        "weights": "bundled",
        "precision": "float32",
        "engine": "litert",
        "pictures": 0,
        "input_size": SIZE,
        "preprocessing": preprocessing(config.ImageSettings()),
        "fidelity": None,
        "compiled": True,
    }


REUSE = """
import sys
from pathlib import Path
from lookalike import config, models
settings = config.ModelSettings(weights="bundled", precision="float32", input_size=int(sys.argv[2]))
model = models.prepare(settings, Path(sys.argv[1]), lambda wanted: 1 / 0)
print(model.model_id, [name for name in sys.modules if name.split(".")[0] in ("tensorflow", "keras", "pyspark")])
"""


def test_reuse_in_a_fresh_interpreter_imports_no_tensorflow(shelf: Shelf) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", REUSE, str(shelf.store), str(SIZE)], capture_output=True, text=True, check=True
    )
    assert ended.stdout.split(maxsplit=1) == [shelf.model.model_id, "[]\n"]


def test_half_written_pair_is_compiled_again_to_the_same_bytes(untouched: Shelf) -> None:
    untouched.facts.unlink()
    untouched.artefact.write_bytes(b"half of it")
    again = models.prepare(FLOAT32, untouched.store, never)
    assert again == untouched.model  # `compiled` and every byte
    assert models.prepare(FLOAT32, untouched.store, never) == dataclasses.replace(again, compiled=False)


# --- kept under what went into it

CHANGES: list[dict[str, object]] = [
    {"precision": "float32"},
    {"input_size": 64},
    {"weights": "imagenet"},
    {"weights": "other.npz"},
    {"calibration_pictures": 9},
    {"fidelity_pictures": 17},
    {"seed": 8},
]


@pytest.fixture(scope="module")
def other_weights() -> Iterator[Path]:
    """The bundled weights in all but their last byte."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "other.npz"
        path.write_bytes(models.BUNDLED.read_bytes()[:-1] + b"x")
        yield path


def recipe_name(settings: config.ModelSettings, other: Path | None = None) -> str:
    """The name alone: telling two by what they compile would take a compilation each."""
    weights = str(other) if settings.weights == "other.npz" else settings.weights
    with models._weights_file(weights, config.StoreSettings()) as path:
        return models._recipe_name(settings, path)


@pytest.mark.parametrize("change", CHANGES, ids=repr)
def test_other_settings_have_another_artefact(change: dict[str, object], other_weights: Path) -> None:
    assert recipe_name(INT8.model_copy(update=change), other_weights) != recipe_name(INT8)


def test_all_artefacts_have_names_of_their_own(other_weights: Path) -> None:
    names = {recipe_name(INT8.model_copy(update=change), other_weights) for change in [{}, *CHANGES]}
    assert len(names) == len(CHANGES) + 1


@pytest.mark.parametrize(
    "change",
    [{"min_fidelity": 0.5}, {"weights": str(models.BUNDLED)}, {"weights": models.BUNDLED.as_uri()}],
    ids=["floor", "path", "uri"],
)
def test_what_does_not_change_the_bytes_does_not_change_the_name(change: dict[str, object]) -> None:
    assert recipe_name(INT8.model_copy(update=change)) == recipe_name(INT8)


@pytest.mark.parametrize("change", [{"calibration_pictures": 9}, {"fidelity_pictures": 17}, {"seed": 8}], ids=repr)
def test_calibration_does_not_matter_to_float32(change: dict[str, object]) -> None:
    assert recipe_name(FLOAT32.model_copy(update=change)) == recipe_name(FLOAT32)


def test_model_id_changes_with_the_artefact_and_the_input_size_and_nothing_else() -> None:
    cases = [(b"artefact", 224), (b"artefacu", 224), (b"artefact", 22), (b"", 224), (b"4artefact", 22)]
    ids = [models.model_id(*case) for case in cases]
    assert len(set(ids)) == len(cases)
    assert ids == [models.model_id(*case) for case in cases]
    assert all(len(model_id) == 16 and int(model_id, 16) >= 0 for model_id in ids)


# --- damaged


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("damage", [cut, flip, lambda data: b"", lambda data: data + b"\0"])
def test_damaged_artefact_is_refused_by_name(untouched: Shelf, damage: Callable[[bytes], bytes]) -> None:
    untouched.artefact.write_bytes(damage(untouched.artefact.read_bytes()))
    assert str(untouched.artefact) in refusal(lambda: models.prepare(FLOAT32, untouched.store, never))


@pytest.mark.parametrize("facts", ["", "{", "{}", "[]", "null"])
def test_damaged_facts_are_refused_by_name(untouched: Shelf, facts: str) -> None:
    untouched.facts.write_text(facts)
    assert "delete both files" in refusal(lambda: models.prepare(FLOAT32, untouched.store, never))


def test_facts_without_their_artefact_are_refused_by_name(untouched: Shelf) -> None:
    untouched.artefact.unlink()
    assert "delete both files" in refusal(lambda: models.prepare(FLOAT32, untouched.store, never))


def test_fidelity_that_is_no_number_is_refused(model: CompiledModel) -> None:
    broken = dataclasses.replace(model, fidelity=models.Fidelity(10, float("nan"), 1.0, 1.0))
    with pytest.raises(GateError):
        models.check_fidelity(broken, -1.0)


def test_artefact_of_another_model_is_refused(untouched: Shelf, model: CompiledModel) -> None:
    untouched.artefact.write_bytes(model.artefact)
    assert "damaged" in refusal(lambda: models.prepare(FLOAT32, untouched.store, never))


# --- calibration and fidelity


def test_int8_without_pictures_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    asked: list[int] = []

    def nothing(wanted: int) -> NDArray[np.uint8]:
        asked.append(wanted)
        return np.empty((0, SIZE, SIZE, 3), dtype=np.uint8)

    message = refusal(lambda: models.prepare(INT8, tmp_path / "models", nothing))
    assert "catalogue.image_root" in message
    assert "float32" in message
    assert asked == [8 + 16]
    assert not (tmp_path / "models").exists()


def compile_with(pictures: NDArray[np.uint8], settings: config.ModelSettings = INT8) -> CompiledModel:
    with tempfile.TemporaryDirectory() as store:
        model = models.prepare(settings, Path(store), lambda wanted: pictures[:wanted])
        assert model.compiled
        again = models.prepare(settings, Path(store), lambda wanted: pictures[:wanted])
        assert again == dataclasses.replace(model, compiled=False)
    return model


@pytest.mark.parametrize("pictures", [1, 5])
def test_few_pictures_are_enough_for_int8_but_not_for_its_fidelity(
    pixels: NDArray[np.uint8], shelf: Shelf, pictures: int
) -> None:
    few = compile_with(pixels[:pictures])
    assert len(few.artefact) < len(shelf.model.artefact) / 3  # int8 indeed
    assert few.fidelity is None
    models.check_fidelity(few, 1.0)
    vectors, norms = unit_length(Engine(few.artefact).embed(pixels))
    assert (norms > 0).all()
    assert np.isfinite(vectors).all()


def test_model_of_a_small_catalogue_is_made_anew_when_there_are_more_pictures(
    pixels: NDArray[np.uint8], tmp_path: Path
) -> None:
    pilot = models.prepare(INT8, tmp_path, lambda wanted: pixels[:2])
    whole = models.prepare(INT8, tmp_path, lambda wanted: pixels[:wanted])
    assert (pilot.pictures, pilot.fidelity) == (2, None)
    assert (whole.compiled, whole.pictures) == (True, 24)
    assert whole.fidelity is not None
    assert models.prepare(INT8, tmp_path, never) == dataclasses.replace(whole, compiled=False)


def test_a_short_sample_is_shared_out_between_calibration_and_fidelity(pixels: NDArray[np.uint8]) -> None:
    even = INT8.model_copy(update={"calibration_pictures": 16, "fidelity_pictures": 24})
    model = compile_with(pixels[:20], even)
    assert model.fidelity is not None
    assert model.fidelity.pictures == 12


def test_int8_of_the_drawn_pictures_is_faithful(model: CompiledModel) -> None:
    assert model.fidelity is not None
    assert model.fidelity.pictures == 32
    assert config.ModelSettings().min_fidelity <= model.fidelity.mean_cosine <= 1
    assert 0.98 <= model.fidelity.p1_cosine <= model.fidelity.mean_cosine
    assert 0.8 <= model.fidelity.top10_overlap <= 1
    models.check_fidelity(model, config.ModelSettings().min_fidelity)


@pytest.mark.parametrize(
    ("mean_cosine", "floor", "refused"),
    [(0.99, 0.99, False), (0.98999, 0.99, True), (0.5, 0.99, True), (-1.0, -1.0, False), (1.0, 1.0, False)],
)
def test_floor_of_the_fidelity(model: CompiledModel, mean_cosine: float, floor: float, refused: bool) -> None:
    figures = models.Fidelity(32, mean_cosine, 0.1, 0.1)
    judged = dataclasses.replace(model, fidelity=figures)
    if not refused:
        models.check_fidelity(judged, floor)
        return
    with pytest.raises(GateError) as raised:
        models.check_fidelity(judged, floor)
    message = str(raised.value)
    assert "model.min_fidelity" in message
    assert "\n" not in message
    assert f"{mean_cosine:.4f}" in message
    assert str(floor) in message
    assert raised.value.exit_code == 3


def test_model_without_fidelity_passes_any_floor(shelf: Shelf) -> None:
    models.check_fidelity(shelf.model, 1.0)


# --- where the weights are


def test_weights_by_path_and_by_uri_are_the_same_model(shelf: Shelf, tmp_path: Path) -> None:
    copy = tmp_path / "weights with blanks.npz"
    copy.write_bytes(models.BUNDLED.read_bytes())
    for weights in (str(copy), copy.as_uri()):
        settings = FLOAT32.model_copy(update={"weights": weights})
        found = models.prepare(settings, shelf.store, never)
        assert (found.model_id, found.compiled) == (shelf.model.model_id, False)
    copy.unlink()


@pytest.mark.parametrize(
    "weights",
    ["{folder}/gone.h5", "{folder}", "file://{folder}/gone.h5", "file://{folder}", "", "Imagenet", "a\0b"],
)
def test_weights_that_are_no_file_are_refused(weights: str, tmp_path: Path) -> None:
    named = weights.format(folder=tmp_path)
    settings = FLOAT32.model_copy(update={"weights": named})
    message = refusal(lambda: models.prepare(settings, tmp_path / "models", never))
    assert message.startswith(f"model.weights: no file {named};")
    assert "'bundled'" in message


@pytest.mark.parametrize(
    "weights", ["nope://host/w.h5", "https://127.0.0.1:9/w.h5", "file://relative/w.h5", "file:///a b/w.h5", "://"]
)
def test_weights_at_an_unknown_scheme_are_refused(weights: str, tmp_path: Path) -> None:
    settings = FLOAT32.model_copy(update={"weights": weights})
    message = refusal(lambda: models.prepare(settings, tmp_path / "models", never))
    assert message.startswith(f"model.weights: {weights} cannot be read: ")


def test_weights_of_garbage_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "w.h5").write_bytes(b"garbage")
    settings = FLOAT32.model_copy(update={"weights": str(tmp_path / "w.h5")})
    assert "does not hold Keras weights" in refusal(lambda: models.prepare(settings, tmp_path / "models", never))
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("name", ["w.keras", "w.pkl", "w.PT", "w.joblib"])
def test_weights_that_can_hold_code_are_refused_unopened(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)  # whoever opens it waits for ever
    settings = FLOAT32.model_copy(update={"weights": str(tmp_path / name)})
    assert "can hold code" in refusal(lambda: models.prepare(settings, tmp_path / "models", never))


def test_pickle_under_another_name_is_no_weights_and_is_not_run(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "harmed",))

    (tmp_path / "w.h5").write_bytes(pickle.dumps(Harm()))
    settings = FLOAT32.model_copy(update={"weights": str(tmp_path / "w.h5")})
    assert "does not hold Keras weights" in refusal(lambda: models.prepare(settings, tmp_path / "models", never))
    assert not (tmp_path / "harmed").exists()


def test_weights_with_another_digest_are_refused_before_they_are_opened(tmp_path: Path) -> None:
    (tmp_path / "w.h5").write_bytes(b"garbage")
    wrong = FLOAT32.model_copy(update={"weights": str(tmp_path / "w.h5"), "weights_sha256": "0" * 64})
    assert "not that of model.weights_sha256" in refusal(lambda: models.prepare(wrong, tmp_path / "models", never))
    right = wrong.model_copy(update={"weights_sha256": hashlib.sha256(b"garbage").hexdigest()})
    assert "does not hold Keras weights" in refusal(lambda: models.prepare(right, tmp_path / "models", never))


def test_secret_of_the_weights_uri_is_not_said(tmp_path: Path) -> None:
    settings = FLOAT32.model_copy(update={"weights": "https://user:hunter2@127.0.0.1:9/w.h5?sig=hunter2"})
    assert "hunter2" not in refusal(lambda: models.prepare(settings, tmp_path / "models", never))


def test_preparation_of_pictures_is_part_of_the_model_and_of_its_name(tmp_path: Path) -> None:
    padded, stretched = (preprocessing(config.ImageSettings(resize=how)) for how in ("pad", "stretch"))
    assert models.model_id(b"x", 112, "litert", padded) != models.model_id(b"x", 112, "litert", stretched)
    names = {models._recipe_name(FLOAT32, models.BUNDLED, how) for how in (padded, stretched)}
    assert len(names) == 2
