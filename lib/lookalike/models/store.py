"""The folder `models` of a warehouse: it keeps compiled models.

<warehouse>/models/<recipe>.tflite   the artefact
<warehouse>/models/<recipe>.json     all else that is known of it; written last, it makes the pair valid
"""

from __future__ import annotations

import json
from pathlib import Path

from lookalike.errors import ModelError
from lookalike.models.network import CompiledModel, Fidelity, model_id
from lookalike.storage import files


def write(model: CompiledModel, record: Path) -> None:
    """Write the artefact and its `record` (a .json file); raise ModelError."""
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(_artefact(record), model.artefact)
        files.write_atomic(record, json.dumps(model.record(), indent=2).encode())
    except OSError as error:
        raise ModelError(
            f"the compiled model cannot be written to {record.parent} ({error.strerror}); repair the folder"
        ) from None


def read(record: Path) -> CompiledModel:
    """Return the model of a `record`; raise ModelError when its two files do not belong together."""
    artefact = _artefact(record)
    damaged = ModelError(f"{artefact} is damaged: its content does not match {record.name}; delete both files")
    try:
        known = json.loads(record.read_text())
        fidelity = Fidelity(**known["fidelity"]) if known["fidelity"] else None
        model = CompiledModel(**{**known, "artefact": artefact.read_bytes(), "fidelity": fidelity, "compiled": False})
    except (OSError, ValueError, KeyError, TypeError):
        raise damaged from None
    if model_id(model.artefact, model.input_size, model.engine, model.preprocessing) != model.model_id:
        raise damaged
    return model


def find(store: Path, wanted: str) -> CompiledModel:
    """Return the model with the id `wanted` of the folder `store`; raise ModelError when it is missing or damaged."""
    for record in sorted(store.glob("*.json")):
        try:
            known = json.loads(record.read_text())
        except (OSError, ValueError):  # another model's, or one that is just being replaced
            continue
        if isinstance(known, dict) and known.get("model_id") == wanted:
            return read(record)
    raise ModelError(f"{store}: the compiled model {wanted} is not there; restore the folder from a copy")


def _artefact(record: Path) -> Path:
    return record.with_suffix(".tflite")
