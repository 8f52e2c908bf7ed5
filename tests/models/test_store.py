"""Compiled models in their folder: found as they were written, refused when a file is damaged."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from lookalike.errors import ModelError
from lookalike.models import network
from lookalike.models import store as model_store
from lookalike.models.network import CompiledModel, Fidelity


def compiled(artefact: bytes = b"any bytes at all", **fields: object) -> CompiledModel:
    """A model that nothing can run."""
    made = CompiledModel(
        artefact=artefact,
        model_id=network.model_id(artefact, 32, "litert", "as ever"),
        weights="bundled",
        precision="int8",
        engine="litert",
        input_size=32,
        preprocessing="as ever",
        pictures=24,
        fidelity=Fidelity(16, 0.99, 0.98, 0.9),
        compiled=True,
    )
    return dataclasses.replace(made, **fields)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """The record of a model in a folder that was not there."""
    path = tmp_path / "not" / "yet" / "there" / "one.json"
    model_store.write(compiled(), path)
    return path


def refusal(action: Callable[[], object]) -> str:
    """The one line of the ModelError that `action` raises."""
    with pytest.raises(ModelError) as raised:
        action()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_was_written_is_read(record: Path) -> None:
    assert model_store.read(record) == compiled(compiled=False)


def test_record_with_the_id_of_other_vectors_is_refused(record: Path) -> None:
    model_store.write(compiled(model_id="0" * 16), record)
    assert "does not match one.json" in refusal(lambda: model_store.read(record))


def test_float32_has_no_fidelity(tmp_path: Path) -> None:
    model_store.write(compiled(fidelity=None), tmp_path / "one.json")
    assert model_store.read(tmp_path / "one.json").fidelity is None


def test_folder_that_cannot_be_written_is_a_named_error(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file in the folder's place")
    message = refusal(lambda: model_store.write(compiled(), tmp_path / "models" / "one.json"))
    assert f"cannot be written to {tmp_path / 'models'} (" in message


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("damage", [cut, flip, lambda data: b"", lambda data: data + b"\0", lambda data: b"another's"])
def test_damaged_artefact_is_refused_by_name(record: Path, damage: Callable[[bytes], bytes]) -> None:
    artefact = record.with_suffix(".tflite")
    artefact.write_bytes(damage(artefact.read_bytes()))
    assert refusal(lambda: model_store.read(record)).startswith(f"{artefact} is damaged")


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", "null"])
def test_damaged_record_is_refused_by_name(record: Path, text: str) -> None:
    record.write_text(text)
    assert "delete both files" in refusal(lambda: model_store.read(record))


def test_record_without_its_artefact_is_refused_by_name(record: Path) -> None:
    record.with_suffix(".tflite").unlink()
    assert "delete both files" in refusal(lambda: model_store.read(record))


def test_model_is_found_by_its_id_among_others_and_torn_records(record: Path) -> None:
    other = compiled(b"another")
    model_store.write(other, record.with_name("two.json"))
    record.with_name("a foreign.json").write_text("[]")
    record.with_name("a torn.json").write_text("{")
    for wanted in (compiled(), other):
        assert model_store.find(record.parent, wanted.model_id).artefact == wanted.artefact


def test_damaged_models_are_removed_and_sound_and_foreign_ones_stay(tmp_path: Path) -> None:
    for name in ("sound", "flipped", "torn", "gone"):
        model_store.write(compiled(name.encode()), tmp_path / f"{network.NAME}-{name}.json")
    for name, change in (("flipped.tflite", flip), ("torn.json", cut)):
        path = tmp_path / f"{network.NAME}-{name}"
        path.write_bytes(change(path.read_bytes()))
    (tmp_path / f"{network.NAME}-gone.tflite").unlink()
    (tmp_path / "a foreign.json").write_text("[]")
    removed = model_store.remove_damaged(tmp_path)
    assert [path.stem.rpartition("-")[2] for path in removed] == ["flipped", "gone", "torn"]
    assert {path.stem.rpartition("-")[2] for path in tmp_path.iterdir()} == {"sound", "a foreign"}


def test_flipped_bits_of_a_record_are_noticed(record: Path) -> None:
    sound, known = record.read_bytes(), model_store.read(record)
    for at in range(len(sound)):
        record.write_bytes(sound[:at] + bytes([sound[at] ^ 4]) + sound[at + 1 :])
        with suppress(ModelError):
            assert model_store.read(record) == known  # another key of the checksum: all else is as it was


@pytest.mark.parametrize("folder", [".", "nothing"])
def test_model_that_is_not_there_is_refused_by_its_id(tmp_path: Path, folder: str) -> None:
    assert "the compiled model 0123456789abcdef is not there" in refusal(
        lambda: model_store.find(tmp_path / folder, "0123456789abcdef")
    )
