"""index.json, the manifest of an index: what each Annoy file holds, and how to check that it is complete."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lookalike.errors import ManifestError
from lookalike.index.annoy import METRIC, GoldenQuery, ShardFile
from lookalike.storage import files

NAME = "index.json"

# It rises when a reader of the version before would misread the manifest.
VERSION: Final = 1


# A file in the folder of the manifest: a name that leads nowhere else.
FileName = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]


class ManifestSection(BaseModel):
    """Base of both: immutable; keys that this version does not know are ignored."""

    model_config = ConfigDict(frozen=True, strict=True)


class ManifestShard(ManifestSection):
    """One Annoy file, and the file of its item ids."""

    file: FileName
    items_file: FileName
    group: str | None
    items: int = Field(ge=1)
    bytes: int = Field(ge=1)
    sha256: str
    content: str  # SHA-256 of the ids and vectors
    ids_sha256: str  # of the ids by position, see ids_digest
    golden: GoldenQuery

    @model_validator(mode="after")
    def _golden_fits(self) -> ManifestShard:
        if not 0 <= self.golden.position < self.items or len(self.golden.neighbours) != len(self.golden.distances):
            raise ValueError("the golden query does not fit the shard")
        return self


class Manifest(ManifestSection):
    """All shards, and what they have in common."""

    version: Literal[1] = VERSION
    metric: Literal["angular"] = METRIC
    dimensions: int | None = Field(ge=1)
    trees: int
    seed: int
    group_by: str | None
    shards: tuple[ManifestShard, ...]

    @model_validator(mode="after")
    def _is_whole(self) -> Manifest:
        names = [name for shard in self.shards for name in (shard.file, shard.items_file)]
        if len(set(names)) < len(names):
            raise ValueError("two shards have the same file")
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
    if version != VERSION:
        raise ManifestError(
            f"{path} is of version {version}, this lookalike reads version {VERSION}; run the job again, or read the "
            "release with the lookalike that wrote it"
        )
    try:
        return Manifest.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        said = " ".join(first["msg"].split())
        raise ManifestError(f"{path} is damaged: {where}{where and ': '}{said}; restore it from a copy") from None
