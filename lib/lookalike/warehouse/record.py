"""The type of release.json: what is known of a release, written once by its run and read by everything else."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, Field

from lookalike.config import Settings
from lookalike.safe_text import without_secrets
from lookalike.storage import json_file
from lookalike.version import VERSION
from lookalike.warehouse.stored import SCHEMA_VERSION, ReleaseId, Stored
from lookalike.warehouse.stored_config import StoredConfig


class GroupRecall(Stored):
    """The recall of one group, estimated on `sampled` of its `items`; the interval is of that group alone."""

    group: str | None
    sampled: int
    items: int
    estimate: float
    low: float
    high: float


class LabelPrecision(Stored):
    """How often the first `k` neighbours have the value of a column that their item has, on a sample of `items`."""

    column: str
    k: int
    precision: float
    chance: float  # of two items drawn at random
    items: int


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
    without_neighbours: int = 0  # embedded items with an empty list
    short_lists: int = 0  # of the recall sample: items with fewer neighbours than the rules allow, up to k
    hub_item: str | None = None  # the item that most lists recommend
    hub_recommended: int = 0  # how many lists do
    churn_checked: int = 0
    churn_moved: int = 0
    labels: tuple[LabelPrecision, ...] = ()  # of report.labels; measured for the page


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
    """How near the int8 vectors are to those of float32."""

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
    engine_speeds: dict[str, float] = Field(default_factory=dict)  # pictures/s that made `auto` choose it
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


class ChangesTableRecord(Stored):
    """What the table `changes` holds: rows of each kind and change."""

    since: ReleaseId | None = None  # the release that it tells the changes from; None where it has all of this one
    item_upserts: int = 0
    item_deletes: int = 0
    list_upserts: int = 0
    list_deletes: int = 0

    @property
    def rows(self) -> int:
        """The rows of the table."""
        return self.item_upserts + self.item_deletes + self.list_upserts + self.list_deletes


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
    mode: str = "search"  # or "repair", or "keep": what became of the lists of the release before
    seconds: float | None = None  # as expected
    task_bytes: int | None = None
    why: str = ""


class NeighboursRecord(Stored):
    """How the neighbours were found; nothing is known of a release that has no such section."""

    searched: int = 0  # items whose list was computed from nothing
    since_full: int | None = None  # releases since all lists were
    plans: tuple[PlanRecord, ...] = ()


class FilesRecord(Stored):
    """The files of the release, which files.json lists: how many, their bytes, and the SHA-256 of files.json."""

    count: int
    bytes: int
    sha256: str


class ReleaseRecord(Stored):
    """All that release.json says."""

    schema_version: int = SCHEMA_VERSION
    release_id: ReleaseId
    parent: ReleaseId | None = None  # the release that was current when this one was made
    created_at: AwareDatetime
    lookalike: str  # the version that made it
    counts: Figures
    gates: tuple[Gate, ...] = ()
    model: ModelRecord
    changes: ChangesRecord | None = None
    changes_table: ChangesTableRecord | None = None  # None of version 0.5.0 and older ones
    pictures: PicturesRecord | None = None
    shards: ShardsRecord = ShardsRecord()
    seconds: dict[str, float] = Field(default_factory=dict)  # of every step
    config: StoredConfig
    neighbours: NeighboursRecord = NeighboursRecord()
    files: FilesRecord | None = None  # None before 0.3.0

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
        stored = self.config.as_stored()
        limits = {"images": settings.images.refusal_limits(), "stores": settings.stores.refusal_limits()}
        same = all(
            stored.get(section, {}).get(key) == value for section in limits for key, value in limits[section].items()
        )
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
        """Return the content of release.json; raises ValueError for a figure that is not finite.

        What it says of items is without secrets. The settings are kept as they were: the next run compares them.
        """
        body = self.model_dump(mode="json")
        return json_file.sealed({**without_secrets(body), "config": body["config"]})
