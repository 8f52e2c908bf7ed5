"""index.json, the manifest of an index: what each Annoy file holds, and how to check that it is complete."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lookalike.errors import ManifestError, WarehouseError
from lookalike.index.annoy import METRIC, GoldenQuery, ShardFile
from lookalike.index.layout import shard_number
from lookalike.storage import files
from lookalike.warehouse.release import ReleaseFolder

NAME = "index.json"

# It rises when a reader of the version before would misread the manifest.
VERSION: Final = 2


# A file in the folder of the manifest: a name that leads nowhere else.
FileName = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
ShardFileName = Annotated[str, Field(pattern=r"^shard-[0-9]{5,9}\.ann$")]


class ManifestSection(BaseModel):
    """Base of both: immutable; keys that this version does not know are ignored."""

    model_config = ConfigDict(frozen=True, strict=True)


class ManifestShard(ManifestSection):
    """One Annoy file, and the file of its items.

    `live` of the `items` are no tombstones, and `candidates` of these may be recommended.
    """

    file: ShardFileName
    items_file: FileName
    group: str | None
    delta: bool  # what came since the base shards of the group were built
    items: int = Field(ge=1)
    live: int = Field(ge=0)
    candidates: int = Field(ge=0)
    bytes: int = Field(ge=1)
    sha256: str
    ids_sha256: str  # of the ids by position, see ids_digest
    golden: GoldenQuery

    @model_validator(mode="after")
    def _golden_fits(self) -> ManifestShard:
        if not 0 <= self.golden.position < self.items or len(self.golden.neighbours) != len(self.golden.distances):
            raise ValueError("the golden query does not fit the shard")
        if not self.candidates <= self.live <= self.items:
            raise ValueError("more items are live than there are")
        return self

    @property
    def name(self) -> str:
        """The stem of its files."""
        return self.file.removesuffix(".ann")

    @property
    def number(self) -> int:
        """The number of the shard, of which no two of an index's history are the same."""
        return shard_number(self.file)


class ManifestGroup(ManifestSection):
    """The inverted file of a group; without centroids it has one list."""

    group: str | None
    centroids_file: FileName | None
    lists: int = Field(ge=1)


class Manifest(ManifestSection):
    """All shards, and what they have in common. A refresh numbers its shards from `next_shard` on."""

    version: Literal[1, 2] = VERSION
    metric: Literal["angular"] = METRIC
    dimensions: int | None = Field(ge=1)
    trees: int
    seed: int
    group_by: str | None
    next_shard: int = Field(ge=0)
    groups: tuple[ManifestGroup, ...]
    shards: tuple[ManifestShard, ...]

    @model_validator(mode="after")
    def _is_whole(self) -> Manifest:
        names = [name for shard in self.shards for name in (shard.file, shard.items_file)]
        if len(set(names)) < len(names):
            raise ValueError("two shards have the same file")
        if {shard.group for shard in self.shards} != {group.group for group in self.groups}:
            raise ValueError("the groups are not those of the shards")
        if self.shards and self.dimensions is None:
            raise ValueError("dimensions are missing")
        return self

    def file(self, shard: ManifestShard) -> ShardFile:
        """Return what the shard's `.ann` file must be."""
        assert self.dimensions is not None  # there is a shard
        return ShardFile(shard.items, self.dimensions, shard.bytes, shard.sha256, shard.golden)


def ids_digest(ids: Sequence[str]) -> str:
    """Return the SHA-256 of the item ids by position; an id contains no NUL."""
    return hashlib.sha256("\0".join(ids).encode()).hexdigest()


def write(manifest: Manifest, folder: Path) -> None:
    """Write index.json into the index's folder, in one step."""
    body = json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False)
    files.write_atomic(folder / NAME, body.encode())


def of(release: ReleaseFolder) -> Manifest:
    """Return the manifest of the index of a release, wherever its files are; raises ManifestError."""
    try:
        return read(release.shared.fetch(release.index / NAME).parent)
    except (OSError, WarehouseError) as error:
        raise ManifestError(f"{release.index / NAME} cannot be read ({error}); roll back to another release") from None


def read(folder: Path) -> Manifest:
    """Return the manifest of the index in `folder`; raises ManifestError."""
    path = folder / NAME
    try:
        raw = path.read_bytes()
        version = json.loads(raw)["version"]
    except OSError as error:
        raise ManifestError(f"{path} cannot be read ({error.strerror}); roll back to another release") from None
    except (ValueError, TypeError, RecursionError):
        raise ManifestError(f"{path} is not the manifest of an index; restore it from a copy") from None
    except KeyError:
        version = None
    if version not in (1, VERSION):
        raise ManifestError(
            f"{path} is of version {version}, this lookalike reads version {VERSION}; run the job again, or read the "
            "release with the lookalike that wrote it"
        )
    try:
        return Manifest.model_validate_json(raw if version == VERSION else _from_version_1(raw))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        said = " ".join(first["msg"].split())
        raise ManifestError(f"{path} is damaged: {where}{where and ': '}{said}; restore it from a copy") from None


def _from_version_1(raw: bytes) -> str:
    """Add what the manifests of releases before 0.4.0 do not say: they have no tombstones, deltas or lists."""
    known = json.loads(raw)
    shards = known.get("shards")
    if isinstance(shards, list) and all(isinstance(shard, dict) for shard in shards):
        for shard in shards:
            shard.update(delta=False, live=shard.get("items"), candidates=shard.get("items"))
        names = dict.fromkeys(name for shard in shards if isinstance(name := shard.get("group"), str | None))
        groups = [{"group": name, "centroids_file": None, "lists": 1} for name in names]
        known.update(groups=groups, next_shard=len(shards))
    return json.dumps(known)
