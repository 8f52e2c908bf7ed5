"""How the warehouse's JSON files are read, of this version of lookalike and of older ones.

`schema_version` rises when an older lookalike would read a file wrongly. Version 1 is what lookalike 0.1.0 wrote,
without that key: its names are translated here, and what it lacks has defaults in the types.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lookalike.errors import NewerVersionError, WarehouseError
from lookalike.storage import json_file

SCHEMA_VERSION = 2

# As `20261122T171423.482913Z-129f42`: no path, and no longer than a file's name can be.
ReleaseId = Annotated[str, Field(pattern=r"^[0-9A-Za-z][\w.-]{0,200}$")]


class Stored(BaseModel):
    """Base of what the warehouse keeps as JSON: immutable; keys that this version does not know are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def as_json(self) -> bytes:
        """Return the content of the file, with its checksum; raises ValueError for a figure that is not finite."""
        return json_file.sealed(self.model_dump(mode="json"))


Kind = TypeVar("Kind", bound=BaseModel)


def parse(kind: type[Kind], data: bytes, path: Path | str, advice: str) -> Kind:
    """Return the content of a JSON file of the warehouse; raises WarehouseError that ends with `advice`.

    Of a newer schema version it raises NewerVersionError.
    """
    try:
        raw = json_file.unsealed(data)
    except ValueError as error:
        raise WarehouseError(f"{path} cannot be read ({error}); {advice}") from None
    version = raw.setdefault("schema_version", 1)
    if not isinstance(version, int):
        raise WarehouseError(f"{path} cannot be read (schema_version: {version!r} is no whole number); {advice}")
    if version > SCHEMA_VERSION:
        raise NewerVersionError(
            f"{path} was written by a newer lookalike (schema version {version}, this one reads up to "
            f"{SCHEMA_VERSION}); upgrade lookalike"
        )
    if version == 1:
        raw = _from_version_1(raw)
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise WarehouseError(f"{path} {_problem(error)}; {advice}") from None


def _problem(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"lacks '{key}'"
    return f"cannot be read ({key}: {first['msg'][0].lower()}{first['msg'][1:]})"


def _from_version_1(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the record of lookalike 0.1.0 with today's names."""
    renamed: dict[str, Any] = {"schema_version": SCHEMA_VERSION}
    if isinstance(gates := raw.get("gates"), list):
        renamed["gates"] = [_gate_of_version_1(gate) if isinstance(gate, dict) else gate for gate in gates]
    if isinstance(shards := raw.get("shards"), dict):
        renamed["shards"] = {"built": shards.get("built", 0), "reused": shards.get("taken_over", 0)}
    neighbours = raw.get("neighbours")
    if isinstance(neighbours, dict) and isinstance(plans := neighbours.get("plans"), list):
        plans = [_plan_of_version_1(plan) if isinstance(plan, dict) else plan for plan in plans]
        renamed["neighbours"] = {**neighbours, "plans": plans}
    return {**raw, **renamed}


def _plan_of_version_1(plan: dict[str, Any]) -> dict[str, Any]:
    kind, effort = plan.get("kind"), plan.get("effort")
    if kind == "partition":
        return {**plan, "kind": "ivf", "nprobe": plan.get("probes", 0), "radius": effort}
    return {**plan, "search_k": effort}


def _gate_of_version_1(gate: dict[str, Any]) -> dict[str, Any]:
    key = gate.get("name")
    direction = "at_least" if key == "similar.recall_floor" else "at_most"
    return {**gate, "key": key, "bound": gate.get("threshold"), "direction": direction}
