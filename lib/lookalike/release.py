"""The only module that makes data live: stage a release, publish it, point to it.

    <warehouse>/releases/<release_id>/   embeddings, failures, index, similar_items, report.html, release.json
    <warehouse>/CURRENT                  {"release_id": …}, replaced in one step
    <warehouse>/current                  a symlink to the release, swapped by rename

`release.json` is written last: a folder without it is not a release.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lookalike.errors import WarehouseError
from lookalike.files import write_atomic


@dataclass(frozen=True)
class Staged:
    """A release in the making; `work` holds what the run needs and the release does not."""

    release_id: str
    root: Path
    work: Path
    parent: str | None

    @property
    def embeddings(self) -> Path:
        """The embeddings table."""
        return self.root / "embeddings"

    @property
    def failures(self) -> Path:
        """The failures table."""
        return self.root / "failures"

    @property
    def index(self) -> Path:
        """The Annoy shards and their manifest."""
        return self.root / "index"

    @property
    def similar_items(self) -> Path:
        """The similar-items table."""
        return self.root / "similar_items"


class Warehouse:
    """The folder that holds the releases and the pointer to the current one."""

    def __init__(self, path: str) -> None:
        self.path = _local(path)

    @property
    def models(self) -> Path:
        """Compiled models, shared by all releases."""
        return self.path / "models"

    def current(self) -> str | None:
        """Id of the current release, None in a new warehouse; raises WarehouseError when the pointer is damaged."""
        pointer = self.path / "CURRENT"
        try:
            release_id = json.loads(pointer.read_text())["release_id"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WarehouseError(f"{pointer} cannot be read ({error}); restore it or name the release in it") from None
        return str(release_id)

    def current_root(self) -> Path:
        """Folder of the current release; raises WarehouseError when there is none."""
        release_id = self.current()
        if release_id is None:
            raise WarehouseError(f"warehouse.path: {self.path} holds no release yet; run jobs/embed.py first")
        return self.path / "releases" / release_id

    @contextmanager
    def stage(self) -> Iterator[Staged]:
        """Folders for a new release. What was not published when the context ends is removed."""
        release_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        root, work = (self.path / kind / release_id for kind in ("releases", "work"))
        try:
            root.mkdir(parents=True)
            work.mkdir(parents=True)
        except OSError as error:
            raise WarehouseError(
                f"warehouse.path: {self.path} cannot be written ({error.strerror}); give a folder that can"
            ) from None
        staged = Staged(release_id, root, work, self.current())
        try:
            yield staged
        finally:
            shutil.rmtree(staged.work, ignore_errors=True)
            if not (staged.root / "release.json").exists():
                shutil.rmtree(staged.root, ignore_errors=True)

    def publish(self, staged: Staged, facts: dict[str, Any]) -> None:
        """Write `facts` as release.json, then make the release the current one."""
        record = {"release_id": staged.release_id, "parent": staged.parent, **facts}
        write_atomic(staged.root / "release.json", json.dumps(record, indent=1, ensure_ascii=False).encode())
        self._point_to(staged.release_id)

    def _point_to(self, release_id: str) -> None:
        """The pointer first, which is the truth; the symlink, for people and SQL, after it."""
        write_atomic(self.path / "CURRENT", json.dumps({"release_id": release_id}).encode())
        fresh = self.path / f".current.{release_id}"
        fresh.symlink_to(Path("releases") / release_id)
        os.replace(fresh, self.path / "current")


def _local(path: str) -> Path:
    if path.startswith("file://"):
        return Path(path.removeprefix("file://"))
    if "://" in path:
        raise WarehouseError(f"warehouse.path: {path} is not on a local or mounted file system; give a folder")
    return Path(path).absolute()
