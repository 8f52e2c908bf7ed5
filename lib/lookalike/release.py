"""The only module that makes data live: stage a release, publish it, point to it.

    <warehouse>/releases/<release_id>/   embeddings, failures, index, similar_items, report.html, release.json
    <warehouse>/CURRENT                  {"release_id": …}, replaced in one step
    <warehouse>/current                  a symlink to the release, swapped by rename

`release.json` is written last: a folder without it is not a release.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

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
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise WarehouseError(f"{pointer} cannot be read ({error}); restore it or name the release in it") from None
        if not isinstance(release_id, str) or not _RELEASE_ID.fullmatch(release_id):
            raise WarehouseError(
                f"{pointer} names no release but {release_id!r}; name one of {pointer.parent}/releases"
            )
        if not (self.path / "releases" / release_id / "release.json").is_file():
            raise WarehouseError(f"{pointer} names the release {release_id}, which is gone; name another in it")
        return release_id

    def current_root(self) -> Path:
        """Folder of the current release; raises WarehouseError when there is none."""
        release_id = self.current()
        if release_id is None:
            raise WarehouseError(f"warehouse.path: {self.path} holds no release yet; run jobs/embed.py first")
        return self.path / "releases" / release_id

    @contextmanager
    def stage(self) -> Iterator[Staged]:
        """Folders for a new release. What was not published when the context ends is removed."""
        release_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(3)}"
        root, work = (self.path / kind / release_id for kind in ("releases", "work"))
        staged = Staged(release_id, root, work, parent=self.current())
        link = self.path / "current"
        if link.exists() and not link.is_symlink():
            raise WarehouseError(f"{link} is not the symlink that releases swap; move it away")
        try:
            self._make(root, work)
            yield staged
        finally:
            shutil.rmtree(work, ignore_errors=True)
            if not self._is_current(release_id):
                shutil.rmtree(root, ignore_errors=True)

    def publish(self, staged: Staged, facts: dict[str, Any]) -> None:
        """Write `facts` as release.json, then make the release the current one; raises WarehouseError."""
        ids = {"release_id": staged.release_id, "parent": staged.parent}
        record = {**ids, **facts, **ids}  # first in the file, and not to be overridden
        body = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False).encode()
        try:
            write_atomic(staged.root / "release.json", body)
            # The pointer first, which is the truth; the symlink, for people and SQL, after it.
            write_atomic(self.path / "CURRENT", json.dumps({"release_id": staged.release_id}).encode())
            fresh = staged.work / "current"
            fresh.symlink_to(Path("releases") / staged.release_id)
            os.replace(fresh, self.path / "current")
        except OSError as error:
            raise WarehouseError(f"warehouse.path: {error.filename} cannot be written ({error.strerror})") from None

    def _make(self, *folders: Path) -> None:
        try:
            for folder in folders:
                folder.mkdir(parents=True)
        except OSError as error:
            raise WarehouseError(
                f"warehouse.path: {self.path} cannot be written ({error.strerror}); give a folder that can"
            ) from None

    def _is_current(self, release_id: str) -> bool:
        """True also when nobody can tell: what may be live is not removed."""
        try:
            return self.current() == release_id
        except WarehouseError:
            return True


# `20261122T171423.482913Z-129f42`: sorts by time, and two runs of one instant differ.
_RELEASE_ID = re.compile(r"[0-9A-Za-z][\w.-]*")

# A scheme: `hdfs:/x` is no folder named "hdfs:". One letter is a drive.
_SCHEME = re.compile(r"([A-Za-z][\w+.-]+):/")


def _local(path: str) -> Path:
    scheme = _SCHEME.match(path)
    if scheme is None:
        return Path(path).expanduser().absolute()
    parts = urlsplit(path)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise WarehouseError(f"warehouse.path: {path} is not on a local or mounted file system; give a folder")
    return Path(unquote(parts.path))
