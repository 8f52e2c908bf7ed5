"""Compiled models: made once, found again by what went into them, refused when they are unfaithful."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lookalike import config
from lookalike.errors import GateError, ModelError
from lookalike.models import network, resnet50, weights_file
from lookalike.models.compile import check_fidelity, find_or_compile, recipe_name
from lookalike.models.litert import LiteRtEngine
from lookalike.models.network import CompiledModel, Fidelity
from lookalike.models.weights_file import BUNDLED
from lookalike.topk.items import unit_length
from support.drawn import Drawn

SIZE = 32  # compiling costs least here, and what is tested does not depend on the size
FLOAT32 = config.ModelSettings(weights="bundled", precision="float32", input_size=SIZE, engine="litert")
INT8 = FLOAT32.model_copy(update={"precision": "int8", "calibration_pictures": 8, "fidelity_pictures": 16})


def never(wanted: int) -> NDArray[np.uint8]:
    """A sample that nothing should ask for."""
    raise AssertionError(f"asked for {wanted} pictures")


def late(wanted: int) -> NDArray[np.uint8]:
    """A sample of which too little arrives in time."""
    raise ModelError(f"no {wanted} pictures")


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
    record: Path
    artefact: Path


@pytest.fixture(scope="module")
def shelf() -> Iterator[Shelf]:
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "not" / "yet" / "there"
        model = find_or_compile(FLOAT32, store, never)
        (record,) = store.glob("*.json")
        yield Shelf(store, model, record, record.with_suffix(".tflite"))


@pytest.fixture
def untouched(shelf: Shelf) -> Iterator[Shelf]:
    """The shelf, put back afterwards as it was."""
    kept = {path: path.read_bytes() for path in (shelf.record, shelf.artefact)}
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
    again = find_or_compile(FLOAT32, shelf.store, never)
    assert again == dataclasses.replace(shelf.model, compiled=False)


def test_record_is_json_and_leaves_the_bytes_out(shelf: Shelf) -> None:
    assert json.loads(json.dumps(shelf.model.record())) == {
        "model_id": shelf.model.model_id,
        "weights": "bundled",
        "precision": "float32",
        "engine": "litert",
        "pictures": 0,
        "input_size": SIZE,
        "preprocessing": network.preprocessing(config.ImageSettings()),
        "fidelity": None,
        "compiled": True,
        "engine_speeds": {},
    }


REUSE = """
import sys
from pathlib import Path
from lookalike import config
from lookalike.models.compile import find_or_compile
settings = config.ModelSettings(weights="bundled", precision="float32", input_size=int(sys.argv[2]), engine="litert")
model = find_or_compile(settings, Path(sys.argv[1]), lambda wanted: 1 / 0)
print(model.model_id, [name for name in sys.modules if name.split(".")[0] in ("tensorflow", "keras", "pyspark")])
"""


def test_reuse_in_a_fresh_interpreter_imports_no_tensorflow(shelf: Shelf) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", REUSE, str(shelf.store), str(SIZE)], capture_output=True, text=True, check=True
    )
    assert ended.stdout.split(maxsplit=1) == [shelf.model.model_id, "[]\n"]


def test_half_written_pair_is_compiled_again_to_the_same_bytes(untouched: Shelf) -> None:
    untouched.record.unlink()
    untouched.artefact.write_bytes(b"half of it")
    again = find_or_compile(FLOAT32, untouched.store, never)
    assert again == untouched.model  # `compiled` and every byte
    assert find_or_compile(FLOAT32, untouched.store, never) == dataclasses.replace(again, compiled=False)


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
        path.write_bytes(BUNDLED.read_bytes()[:-1] + b"x")
        yield path


def name_of(settings: config.ModelSettings, other: Path | None = None) -> str:
    """The name alone: telling two by what they compile would take a compilation each."""
    weights = str(other) if settings.weights == "other.npz" else settings.weights
    with weights_file.local_file(settings.model_copy(update={"weights": weights}), config.StoreSettings()) as path:
        return recipe_name(settings, weights_file.digest(path))


@pytest.mark.parametrize("change", CHANGES, ids=repr)
def test_other_settings_have_another_artefact(change: dict[str, object], other_weights: Path) -> None:
    assert name_of(INT8.model_copy(update=change), other_weights) != name_of(INT8)


def test_all_artefacts_have_names_of_their_own(other_weights: Path) -> None:
    names = {name_of(INT8.model_copy(update=change), other_weights) for change in [{}, *CHANGES]}
    assert len(names) == len(CHANGES) + 1


@pytest.mark.parametrize(
    "change",
    [{"min_fidelity": 0.5}, {"weights": str(BUNDLED)}, {"weights": BUNDLED.as_uri()}],
    ids=["floor", "path", "uri"],
)
def test_what_does_not_change_the_bytes_does_not_change_the_name(change: dict[str, object]) -> None:
    assert name_of(INT8.model_copy(update=change)) == name_of(INT8)


@pytest.mark.parametrize("change", [{"calibration_pictures": 9}, {"fidelity_pictures": 17}, {"seed": 8}], ids=repr)
def test_calibration_does_not_matter_to_float32(change: dict[str, object]) -> None:
    assert name_of(FLOAT32.model_copy(update=change)) == name_of(FLOAT32)


def test_how_pictures_are_decoded_is_a_part_of_the_name() -> None:
    digest = weights_file.digest(BUNDLED)
    assert recipe_name(FLOAT32, digest, config.ImageSettings(resize="pad")) != recipe_name(
        FLOAT32, digest, config.ImageSettings(resize="stretch")
    )


def test_names_are_those_that_warehouses_know() -> None:
    """Another name would compile every warehouse's model again."""
    bundled = config.ModelSettings(weights="bundled")
    known = {"auto": "67ca8a0b74cd3dc0", "litert": "8571958765e45805"}
    for engine, key in known.items():
        name = recipe_name(bundled.model_copy(update={"engine": engine}), weights_file.digest(BUNDLED))
        assert name == f"resnet50-int8-112-{key}"


def test_damaged_model_is_refused_and_not_compiled_again(untouched: Shelf, model: CompiledModel) -> None:
    untouched.artefact.write_bytes(model.artefact)
    assert str(untouched.artefact) in refusal(lambda: find_or_compile(FLOAT32, untouched.store, never))


# --- calibration and fidelity


def test_int8_without_pictures_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    asked: list[int] = []

    def nothing(wanted: int) -> NDArray[np.uint8]:
        asked.append(wanted)
        return np.empty((0, SIZE, SIZE, 3), dtype=np.uint8)

    message = refusal(lambda: find_or_compile(INT8, tmp_path / "models", nothing))
    assert "catalogue.image_root" in message
    assert "float32" in message
    assert asked == [8 + 16]
    assert not (tmp_path / "models").exists()


def compile_with(pictures: NDArray[np.uint8], settings: config.ModelSettings = INT8) -> CompiledModel:
    with tempfile.TemporaryDirectory() as store:
        model = find_or_compile(settings, Path(store), lambda wanted: pictures[:wanted])
        assert model.compiled
        again = find_or_compile(settings, Path(store), lambda wanted: pictures[:wanted])
        assert again == dataclasses.replace(model, compiled=False)
    return model


@pytest.mark.parametrize("pictures", [1, 5])
def test_few_pictures_are_enough_for_int8_but_not_for_its_fidelity(
    pixels: NDArray[np.uint8], shelf: Shelf, pictures: int
) -> None:
    few = compile_with(pixels[:pictures])
    assert len(few.artefact) < len(shelf.model.artefact) / 3  # int8 indeed
    assert few.fidelity is None
    check_fidelity(few, 1.0)
    vectors, norms = unit_length(LiteRtEngine(few.artefact).embed(pixels))
    assert (norms > 0).all()
    assert np.isfinite(vectors).all()


def test_model_of_a_small_catalogue_is_compiled_again_when_there_are_more_pictures(
    pixels: NDArray[np.uint8], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pilot = find_or_compile(INT8, tmp_path, lambda wanted: pixels[:2])
    assert find_or_compile(INT8, tmp_path, late) == dataclasses.replace(pilot, compiled=False)
    capsys.readouterr()
    whole = find_or_compile(INT8, tmp_path, lambda wanted: pixels[:wanted])
    said = [line.split(":")[0].strip() for line in capsys.readouterr().err.splitlines()]
    assert said == [
        "int8 was calibrated and compared on 2 pictures of 24",
        "the model is compiled again, with 24 pictures",
        "calibrating int8 on 8 pictures",
        "comparing int8 with float32 on 16 others",
    ]
    assert (pilot.pictures, pilot.fidelity) == (2, None)
    assert (whole.compiled, whole.pictures) == (True, 24)
    assert whole.fidelity is not None
    assert find_or_compile(INT8, tmp_path, never) == dataclasses.replace(whole, compiled=False)
    assert capsys.readouterr().err == ""


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
    check_fidelity(model, config.ModelSettings().min_fidelity)


@pytest.mark.parametrize(
    ("mean_cosine", "floor", "refused"),
    [(0.99, 0.99, False), (0.98999, 0.99, True), (0.5, 0.99, True), (-1.0, -1.0, False), (1.0, 1.0, False)],
)
def test_floor_of_the_fidelity(model: CompiledModel, mean_cosine: float, floor: float, refused: bool) -> None:
    figures = Fidelity(32, mean_cosine, 0.1, 0.1)
    judged = dataclasses.replace(model, fidelity=figures)
    if not refused:
        check_fidelity(judged, floor)
        return
    with pytest.raises(GateError) as raised:
        check_fidelity(judged, floor)
    message = str(raised.value)
    assert "model.min_fidelity" in message
    assert "\n" not in message
    assert f"{mean_cosine:.4f}" in message
    assert str(floor) in message
    assert raised.value.exit_code == 3


def test_model_without_fidelity_passes_any_floor(shelf: Shelf) -> None:
    assert shelf.model.fidelity is None
    check_fidelity(shelf.model, 1.0)


def test_fidelity_that_is_no_number_is_refused(model: CompiledModel) -> None:
    broken = dataclasses.replace(model, fidelity=Fidelity(10, float("nan"), 1.0, 1.0))
    with pytest.raises(GateError):
        check_fidelity(broken, -1.0)


def test_weights_by_uri_find_the_model_of_the_same_weights(shelf: Shelf) -> None:
    settings = FLOAT32.model_copy(update={"weights": BUNDLED.as_uri()})
    found = find_or_compile(settings, shelf.store, never)
    assert (found.model_id, found.compiled, found.weights) == (shelf.model.model_id, False, BUNDLED.as_uri())


def test_weights_with_a_variance_below_zero_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = [np.ones(shape, np.float32) for shape in resnet50.shapes()]
    arrays[5] = -arrays[5]
    monkeypatch.setattr(weights_file, "read", lambda _: arrays)
    message = refusal(lambda: find_or_compile(FLOAT32, tmp_path, never))
    assert message.startswith("model.weights: ")
    assert "a variance below zero" in message
