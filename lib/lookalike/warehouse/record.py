"""The type of release.json: what is known of a release, written once by its run and read by everything else.

`schema_version` rises when an older lookalike would read the file wrongly. Version 1 is what lookalike 0.1.0 wrote,
without that key; its names are translated here, and what it lacks has defaults.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from lookalike.config import Settings
from lookalike.errors import NewerVersionError, WarehouseError
from lookalike.version import VERSION

SCHEMA_VERSION = 2


class Stored(BaseModel):
    """Base of what the warehouse keeps as JSON: immutable; keys that this version does not know are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class GroupRecall(Stored):
    """The recall of one group, estimated on `sampled` of its `items`; the interval is of that group alone."""

    group: str | None
    sampled: int
    items: int
    estimate: float
    low: float
    high: float


class Figures(Stored):
    """What a release holds, and how good it is: the section `counts`."""

    items: int
    embedded: int
    failed: int
    failed_by_reason: dict[str, int]
    failed_example: str | None = None
    similar_items: int
    recall: float  # estimated on `recall_sample` items
    recall_sample: int
    recall_low: float = 0.0  # of the 95 % interval
    recall_high: float = 1.0
    recall_pairs: int = 0  # neighbours that the sampled items should have
    recall_missed: int = 0  # of these
    recall_groups: tuple[GroupRecall, ...] = ()  # the worst ones
    items_before: int | None = None  # in the release that was current
    unusable_vectors: int = 0  # zero, or not finite
    duplicate_vectors: int = 0  # equal to another item's, all but the first of each kind
    hub_item: str | None = None  # the item that most lists recommend
    hub_recommended: int = 0  # how many lists do
    churn_checked: int = 0
    churn_moved: int = 0


class Gate(Stored):
    """One check of a release: a figure, the bound that it must keep, and what to do when it does not."""

    key: str  # the setting that holds the bound
    figure: float
    bound: float
    direction: Literal["at_most", "at_least"]
    passed: bool
    detail: str = ""
    advice: str = ""

    def line(self) -> str:
        """Return the gate as a line for a person."""
        check = f"{self.key}: {self.figure:.4f}, {self.direction.replace('_', ' ')} {self.bound:g}"
        verdict = "passed" if self.passed else "REFUSED"
        detail = f" ({self.detail})" if self.detail else ""
        advice = f"; {self.advice}" if self.advice and not self.passed else ""
        return f"{check}: {verdict}{detail}{advice}"


class FidelityRecord(Stored):
    """How near the int8 vectors are to Keras's float32."""

    pictures: int
    mean_cosine: float
    p1_cosine: float
    top10_overlap: float


class ModelRecord(Stored):
    """The model that made the vectors."""

    model_id: str
    weights: str = ""
    precision: str = ""
    engine: str = ""
    input_size: int = 0
    preprocessing: str = ""
    pictures: int = 0  # that int8 was calibrated and checked on
    fidelity: FidelityRecord | None = None
    compiled: bool = False  # in this run, rather than found in the warehouse


class ChangesRecord(Stored):
    """Items of the catalogue by what became of them since the release before."""

    new: int
    changed: int
    unchanged: int
    removed: int
    failed: int  # before, too


class PicturesRecord(Stored):
    """Pictures that the run read and embedded."""

    read: int
    embedded: int


class ShardsRecord(Stored):
    """Shards of the index that the run built, and those that it reused from the release before."""

    built: int = 0
    reused: int = 0


class PlanRecord(Stored):
    """How one group was searched, or how many `groups` were of the smaller ones."""

    kind: str
    items: int
    group: str | None = None
    groups: int | None = None
    lists: int = 0
    nprobe: float = 0.0  # lists that a query looks into on average
    radius: float | None = None  # of an IVF search
    search_k: int | None = None  # of Annoy's
    sample_recall: float | None = None
    seconds: float | None = None  # as expected
    task_bytes: int | None = None
    why: str = ""


class NeighboursRecord(Stored):
    """How the neighbours were found; nothing is known of a release that has no such section."""

    searched: int = 0  # items whose list was computed from nothing
    since_full: int | None = None  # releases since all lists were
    plans: tuple[PlanRecord, ...] = ()


class StoredSection(BaseModel):
    """A section of the settings as they were stored: keys that a reader asks for have a type, all others are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")


class StoredCatalogue(StoredSection):
    """The section `catalogue`."""

    path: str = ""
    item_id_column: str = "item_id"
    image_path_column: str = "image_path"
    image_root: str | None = None
    keep_columns: tuple[str, ...] = ()


class StoredImages(StoredSection):
    """The section `images`."""

    max_bytes: int | None = None


class StoredSimilar(StoredSection):
    """The section `similar`."""

    k: int = 20
    group_by: str | None = None
    eligible: str | None = None
    duplicate_cosine: float | None = None


class StoredConfig(BaseModel):
    """The settings that a release was made with, as its version of lookalike stored them.

    Not config.Settings: an older version lacks keys that came later, and may hold keys and values that are gone.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    catalogue: StoredCatalogue = StoredCatalogue()
    images: StoredImages = StoredImages()
    similar: StoredSimilar = StoredSimilar()

    @classmethod
    def of(cls, settings: Settings) -> StoredConfig:
        """Return the settings of a run in the form in which they are stored."""
        return cls.model_validate(settings.model_dump(mode="json"))

    def as_stored(self) -> dict[str, Any]:
        """Return the sections with just the keys that were stored."""
        return self.model_dump(mode="json", exclude_unset=True)

    def same(self, settings: Settings, *sections: str) -> bool:
        """Return whether these sections were stored with every value that `settings` has."""
        then, now = self.as_stored(), settings.model_dump(mode="json")
        return all(then.get(name) == now[name] for name in sections)


class ReleaseRecord(Stored):
    """All that release.json says."""

    schema_version: int = SCHEMA_VERSION
    release_id: str
    parent: str | None = None  # the release that was current when this one was made
    created_at: AwareDatetime
    lookalike: str  # the version that made it
    counts: Figures
    gates: tuple[Gate, ...] = ()
    model: ModelRecord
    changes: ChangesRecord | None = None
    pictures: PicturesRecord | None = None
    shards: ShardsRecord = ShardsRecord()
    seconds: dict[str, float] = {}  # of every step
    config: StoredConfig
    neighbours: NeighboursRecord = NeighboursRecord()

    @property
    def refusals(self) -> list[str]:
        """A line for each gate that was not passed."""
        return [gate.line() for gate in self.gates if not gate.passed]

    @property
    def of_this_version(self) -> bool:
        """Whether the lookalike that runs made the release: another version may do anything otherwise."""
        return self.lookalike == VERSION

    def same_limits(self, settings: Settings) -> bool:
        """Return whether a picture that was refused then would be refused now."""
        images = self.config.as_stored().get("images", {})
        same = all(images.get(key) == value for key, value in settings.images.refusal_limits().items())
        return same and self.of_this_version

    def made_like(self, settings: Settings) -> bool:
        """Return whether the same pictures would give the same release again."""
        same = self.config.same(settings, "index", "similar", "gates", "report")
        return (
            same
            and self.config.catalogue.keep_columns == settings.catalogue.keep_columns
            and self.same_limits(settings)
        )

    def after(self, seconds: dict[str, float]) -> ReleaseRecord:
        """Return the record with the seconds of the steps so far."""
        return self.model_copy(update={"seconds": dict(seconds)})

    def as_json(self) -> bytes:
        """Return the content of release.json; raises ValueError for a figure that is not finite."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False).encode()


Kind = TypeVar("Kind", bound=BaseModel)


def parse(kind: type[Kind], data: bytes, path: Path | str, advice: str) -> Kind:
    """Return the content of a JSON file of the warehouse; raises WarehouseError that ends with `advice`.

    Of a newer schema version it raises NewerVersionError.
    """
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise WarehouseError(f"{path} cannot be read ({error}); {advice}") from None
    if not isinstance(raw, dict):
        raise WarehouseError(f"{path} cannot be read (it holds no object); {advice}")
    version = raw.setdefault("schema_version", 1)
    if isinstance(version, int) and version > SCHEMA_VERSION:
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
    return {**raw, **renamed}


def _gate_of_version_1(gate: dict[str, Any]) -> dict[str, Any]:
    key = gate.get("name")
    direction = "at_least" if key == "similar.recall_floor" else "at_most"
    return {**gate, "key": key, "bound": gate.get("threshold"), "direction": direction}
