"""A compiled model and its identity, and how the warehouse's `models` folder keeps it. No Spark, no TensorFlow.

<warehouse>/models/<recipe>.tflite   the artefact
<warehouse>/models/<recipe>.json     all else that is known of it; written last, it makes the pair valid
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lookalike import config
from lookalike.errors import ModelError
from lookalike.images.decode import preprocessing
from lookalike.storage import files

# Of pictures, as the default settings have it.
DEFAULT_PREPARATION = preprocessing(config.ImageSettings())


@dataclass(frozen=True)
class Fidelity:
    """How near the int8 vectors are to Keras's float32, on pictures that calibration has not seen."""

    pictures: int
    mean_cosine: float
    p1_cosine: float
    top10_overlap: float


@dataclass(frozen=True)
class CompiledModel:
    """An artefact and the identity of the vectors it gives."""

    artefact: bytes
    model_id: str
    weights: str
    precision: str
    engine: str
    input_size: int
    preprocessing: str  # what `images` settings and code make of a picture
    pictures: int  # that int8 was calibrated and checked on
    fidelity: Fidelity | None
    compiled: bool  # in this run, rather than found in the warehouse

    def facts(self) -> dict[str, Any]:
        """All but the bytes, for release.json."""
        return {name: value for name, value in asdict(self).items() if name != "artefact"}


def model_id(artefact: bytes, input_size: int, engine: str = "litert", preparation: str = DEFAULT_PREPARATION) -> str:
    """Two runs with the same id give the same vectors: it covers the artefact, the preprocessing and the engine."""
    recipe = f"{preparation}/{input_size}/{engine}/".encode()
    return hashlib.sha256(recipe + artefact).hexdigest()[:16]


def keep(model: CompiledModel, facts: Path) -> None:
    """Write the pair under the name of `facts`; raises ModelError."""
    try:
        facts.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(_artefact(facts), model.artefact)
        files.write_atomic(facts, json.dumps(model.facts(), indent=2).encode())
    except OSError as error:
        raise ModelError(
            f"the compiled model cannot be kept in {facts.parent} ({error.strerror}); mend the folder"
        ) from None


def load(facts: Path) -> CompiledModel:
    """The pair under the name of `facts`; raises ModelError when its halves do not belong together."""
    artefact = _artefact(facts)
    damaged = ModelError(f"{artefact} is damaged: its content does not match {facts.name}; delete both files")
    try:
        known = json.loads(facts.read_text())
        fidelity = Fidelity(**known["fidelity"]) if known["fidelity"] else None
        kept = {"artefact": artefact.read_bytes(), "fidelity": fidelity, "compiled": False}
        model = CompiledModel(**{**known, **kept})
    except (OSError, ValueError, KeyError, TypeError):
        raise damaged from None
    if model_id(model.artefact, model.input_size, model.engine, model.preprocessing) != model.model_id:
        raise damaged
    return model


def find(store: Path, wanted: str) -> CompiledModel:
    """The model of the id `wanted` in the folder `store`; raises ModelError when it is not there, or damaged."""
    for facts in sorted(store.glob("*.json")):
        try:
            known = json.loads(facts.read_text())
        except (OSError, ValueError):  # another model's, or one that is just being replaced
            continue
        if isinstance(known, dict) and known.get("model_id") == wanted:
            return load(facts)
    raise ModelError(f"{store}: the compiled model {wanted} is not there; restore the folder from a copy")


def _artefact(facts: Path) -> Path:
    return facts.with_suffix(".tflite")
