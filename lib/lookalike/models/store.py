"""The folder `models` of a warehouse: it keeps compiled models.

<warehouse>/models/<recipe>.tflite   the artefact
<warehouse>/models/<recipe>.json     all else that is known of it; written last, it makes the pair valid
"""

from __future__ import annotations

from pathlib import Path

from lookalike.errors import ModelError
from lookalike.models.network import NAME, CompiledModel, Fidelity, model_id
from lookalike.storage import files, json_file


def write(model: CompiledModel, record: Path) -> None:
    """Write the artefact and its `record` (a .json file); raise ModelError."""
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(_artefact(record), model.artefact)
        files.write_atomic(record, json_file.sealed(model.record()))
    except OSError as error:
        raise ModelError(
            f"the compiled model cannot be written to {record.parent} ({error.strerror}); repair the folder"
        ) from None


def read(record: Path) -> CompiledModel:
    """Return the model of a `record`; raise ModelError when its two files do not belong together."""
    artefact = _artefact(record)
    damaged = ModelError(f"{artefact} is damaged: its content does not match {record.name}; delete both files")
    try:
        known = json_file.unsealed(json_file.read(record))
        fidelity = Fidelity(**known["fidelity"]) if known["fidelity"] else None
        model = CompiledModel(**{**known, "artefact": artefact.read_bytes(), "fidelity": fidelity, "compiled": False})
    except (OSError, ValueError, KeyError, TypeError):
        raise damaged from None
    if model_id(model.artefact, model.input_size, model.engine, model.preprocessing) != model.model_id:
        raise damaged
    return model


def remove_damaged(store: Path) -> list[Path]:
    """Remove the models of the folder `store` that are damaged, so that they are found elsewhere or compiled again.

    Return their records. The caller holds the warehouse's lock.
    """
    removed = []
    for record in sorted(store.glob(f"{NAME}-*.json")):
        try:
            read(record)
        except ModelError:
            removed.append(record)
            record.unlink(missing_ok=True)  # first: without it the artefact counts for nothing
            _artefact(record).unlink(missing_ok=True)
    return removed


def find(store: Path, wanted: str) -> CompiledModel:
    """Return the model with the id `wanted` of the folder `store`; raise ModelError when it is missing or damaged."""
    for record in sorted(store.glob("*.json")):
        try:
            known = json_file.unsealed(json_file.read(record))
        except (OSError, ValueError):  # another model's, or one that is just being replaced
            continue
        if known.get("model_id") == wanted:
            return read(record)
    raise ModelError(f"{store}: the compiled model {wanted} is not there; restore the folder from a copy")


def _artefact(record: Path) -> Path:
    return record.with_suffix(".tflite")
