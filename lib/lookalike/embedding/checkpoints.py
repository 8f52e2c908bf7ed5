"""Checkpoints: what a run has embedded, kept by model and image hash until a release holds it.

    <warehouse>/checkpoints/<release_id>/<model_id>-<version>-<limits>/<checkpoint>/   Parquet, columns OUTCOMES

Each task writes a file of its own, which appears when the task ends: a run that is killed loses only its running tasks.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lookalike import config
from lookalike.version import VERSION
from lookalike.warehouse.shared_files import SharedFiles, names_in


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one model under one set of limits; `left` are files of runs that were stopped."""

    folder: Path
    shared: SharedFiles
    left: tuple[Path, ...]

    @classmethod
    def open(cls, root: Path, model_id: str, images: config.ImageSettings, shared: SharedFiles) -> Checkpoints:
        """Open the checkpoints below `root` for everything that decides the outcome of a picture's bytes.

        Lists what runs before this one have left; the caller holds the warehouse's lock. What an executor adds that
        survives its stopped run for a moment is not in the list.
        """
        limits = hashlib.sha256(json.dumps(images.refusal_limits(), sort_keys=True).encode()).hexdigest()[:16]
        folder = root / f"{model_id}-{VERSION}-{limits}"
        return cls(folder, shared, tuple(names_in(shared.sizes(folder))))

    def begin(self) -> Path:
        """Return the folder of a new checkpoint, which tasks write to."""
        return self.folder / f"checkpoint-{secrets.token_hex(8)}"

    def remove_if_empty(self, checkpoint: Path) -> None:
        """Remove the folder of a pass that embedded nothing, and those above it that only it was in."""
        with suppress(OSError):
            for folder in (checkpoint, self.folder, self.folder.parent):
                folder.rmdir()

    def files_of(self, checkpoint: Path) -> list[Path]:
        """Return the files of a checkpoint of this run."""
        return names_in(self.shared.sizes(checkpoint))

    def files(self) -> list[Path]:
        """Return the files of all checkpoints, of this run and of those before it."""
        return names_in(self.shared.sizes(self.folder))
